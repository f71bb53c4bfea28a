/* Cameras from the command line: through the agent on this machine, or through their shadows with
 * an operator's AWS keys. */
#pragma once

#include "base/json.h"
#include "cli/target.h"

typedef struct {
    KvgTarget target;
    /* options; filled by GOption, see KVG_REACH_OPTIONS */
    char *agent;
    gboolean is_remote;
} KvgReach;
void kvg_reach_clear(KvgReach *reach);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgReach, kvg_reach_clear)

#define KVG_REACH_OPTIONS(reach)                                                                   \
    KVG_TARGET_OPTIONS((reach).target),                                                            \
        {"remote",                                                                                 \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_NONE,                                                                        \
         &(reach).is_remote,                                                                       \
         "through the device shadow instead of the agent on this "                                 \
         "machine",                                                                                \
         NULL},                                                                                    \
    {                                                                                              \
        "agent", 0, 0, G_OPTION_ARG_STRING, &(reach).agent,                                        \
            "URL of the agent (from the configuration)", "URL"                                     \
    }

/* The configuration, and with --remote the credentials. */
bool kvg_reach_open(KvgReach *reach, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A request to the agent's API: @path "/api/...", @body NULL: none. */
json_t *kvg_reach_call(const KvgReach *reach,
                       const char *method,
                       const char *path,
                       const json_t *body,
                       GError **error);
/* The answer of the agent's API. @name NULL: all cameras; @change NULL: only look. */
json_t *
kvg_reach_agent(const KvgReach *reach, const char *name, const json_t *change, GError **error);
/* The shadow document, or with @change the answer to the update. */
json_t *
kvg_reach_shadow(const KvgReach *reach, const char *name, const json_t *change, GError **error);
/* Whichever --remote asks for. */
json_t *
kvg_reach_camera(const KvgReach *reach, const char *name, const json_t *change, GError **error);
/* Tells the agent that its file has changed. False: it does not answer. */
bool kvg_reach_reload(const KvgReach *reach);
