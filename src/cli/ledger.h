/* identity.directory/provision.json: what provisioning made, so that a later run goes on where a
 * killed one stopped and kvg destroy removes that and nothing else. A thing to be made is marked
 * before the call that makes it; a certificate, whose name is only known afterwards, leaves the
 * time at which it was asked for. Any number of threads; what one of them wrote is on disk when the
 * function returns. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct _KvgLedger KvgLedger;

/* Makes @directory (0700) if necessary and locks it against other runs. A directory without a file
 * gives an empty ledger. @read_only: no directory is made, nothing is locked or written. */
KvgLedger *kvg_ledger_open(const char *directory, bool read_only, GError **error);
void kvg_ledger_close(KvgLedger *ledger);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgLedger, kvg_ledger_close)

/* @camera: NULL for what all cameras share. */
char *kvg_ledger_get(KvgLedger *ledger, const char *camera, const char *key);
/* NULL takes it away. Not saved before the next kvg_ledger_save(). */
void kvg_ledger_set(KvgLedger *ledger, const char *camera, const char *key, const char *value);
bool kvg_ledger_is_made(KvgLedger *ledger, const char *camera, const char *what);
void kvg_ledger_set_made(KvgLedger *ledger, const char *camera, const char *what, bool made);
/* Certificates that were replaced and are not deleted yet: a set of ids. */
GStrv kvg_ledger_retired(KvgLedger *ledger, const char *camera);
void kvg_ledger_retire(KvgLedger *ledger, const char *camera, const char *certificate_id);
void kvg_ledger_forget_retired(KvgLedger *ledger, const char *camera, const char *certificate_id);
GStrv kvg_ledger_cameras(KvgLedger *ledger);
void kvg_ledger_forget_camera(KvgLedger *ledger, const char *camera);
/* Whether @id is a certificate of any camera. */
bool kvg_ledger_knows_certificate(KvgLedger *ledger, const char *id);

/* What was set before the call is on disk afterwards; threads that call at the same time share the
 * writing. */
bool kvg_ledger_save(KvgLedger *ledger, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool kvg_ledger_remove_file(KvgLedger *ledger, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The whole as JSON (g_free). Holds no secret. */
char *kvg_ledger_to_text(KvgLedger *ledger);
