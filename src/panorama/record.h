/* panorama/NAME.json beside kvg.yaml: an instance of an application, as the former service would
 * have described it. Holds the documents it was made of and no secret. */
#pragma once

#include "panorama/plan.h"

typedef struct {
    const char *name;
    const char *owner; /* written into the manifests in place of the account they name; NULL */
    char **files;      /* secrets that the import wrote, relative to kvg.yaml's folder */
    const char *now;   /* ISO 8601 */
} KvgRecordOptions;

/* The name of the record of @instance below the folder of kvg.yaml (g_free). */
char *kvg_record_name(const char *instance);
bool kvg_record_is_name(const char *name);
/* @former: the record there was, or NULL; its times count on if nothing else changes. */
json_t *kvg_record_new(const KvgGraph *graph,
                       const KvgPlan *plan,
                       const KvgRecordOptions *options,
                       const json_t *former);
/* Owners of packages and interfaces but `panorama` become @owner. A new reference. */
json_t *kvg_record_rewrite_owner(const json_t *document, const char *owner);

/* Status and its description of the former service; @now: ISO 8601. */
void kvg_record_set_status(json_t *record, const char *status, const char *why, const char *now);
/* The camera of the node @node of @record; NULL: it has no such node. */
const char *kvg_record_camera(const json_t *record, const char *node);
