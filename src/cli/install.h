/* A set of files that are written together: none if one of them is there with other content and
 * nobody said that it may be replaced, each of them atomically, and those that are there already
 * with the same content not at all. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct _KvgInstall KvgInstall;

KvgInstall *kvg_install_new(const char *folder);
void kvg_install_free(KvgInstall *install); /* overwrites the contents */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgInstall, kvg_install_free)
/* @name: below the folder. @may_replace: this file is ours to change. */
void kvg_install_add(KvgInstall *install,
                     const char *name,
                     const char *text,
                     size_t len,
                     unsigned mode,
                     bool may_replace);
/* The names of the files, in the order they were added (container). */
GPtrArray *kvg_install_names(const KvgInstall *install);
/* Says of each what would happen: "new", "changed", "unchanged" (static). */
const char *kvg_install_fate(const KvgInstall *install, const char *name);
/* Whether all may be written; the error names all that may not. */
bool
kvg_install_check(const KvgInstall *install, bool force, GError **error) G_GNUC_WARN_UNUSED_RESULT;
typedef enum { KVG_INSTALL_ALL, KVG_INSTALL_ALL_BUT_LAST } KvgInstallPart;
/* Writes in the order added. */
bool kvg_install_write(const KvgInstall *install,
                       KvgInstallPart part,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
