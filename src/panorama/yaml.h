/* kvg.yaml from a plan. The cameras of an instance stand between two comment lines, so that they
 * can be put into a file that people have written, changed, and taken out again. */
#pragma once

#include "panorama/plan.h"

typedef struct {
    const char *region;
    const char *role_alias;           /* NULL: the default */
    const char *endpoint, *ca_bundle; /* NULL */
} KvgYamlSite;

/* A whole file without cameras; ends with the line "cameras:" (g_free). */
char *kvg_yaml_site(const KvgYamlSite *site, const char *instance);
/* @existing with the cameras of @instance, in place of those it had. KVG_ERROR_INVALID: `cameras:`
 * stands on no line of its own (g_free). Passwords are not written: password_file is
 * secrets/NAME. */
char *
kvg_yaml_insert(const char *existing, const char *instance, const KvgPlan *plan, GError **error);
/* @existing without the cameras of @instance (g_free); NULL: it has none. */
char *kvg_yaml_remove(const char *existing, const char *instance);
