/* What each camera shall do: the configuration, changed by the local API or through the camera's
 * device shadow, and kept on disk (identity.directory/control.json) for a start without a network.
 * Hides MQTT: one connection a camera, with the camera's own certificate.
 *
 *   shadow desired --delta, get--> settings in force --> on_change --> worker
 *   API            --set-------/         \--> control.json
 *   status of the camera --> shadow reported
 */
#pragma once

#include "agent/settings.h"

typedef struct _KvgControl KvgControl;

/* On the main context: the settings of @camera have changed. */
typedef void (*KvgControlChanged)(const char *camera, void *user_data);

/* Reads what is on disk; keeps a reference to @config. */
KvgControl *kvg_control_new(KvgConfig *config, KvgControlChanged changed, void *user_data);
/* Takes a new configuration: connections of cameras that stay are kept, unless all shall be made
 * anew. Settings are kept, also of a camera that is gone, for its return. Thread: main. */
void kvg_control_reload(KvgControl *control, KvgConfig *config, bool reconnects);
void kvg_control_free(KvgControl *control); /* NULL is fine */
/* Connects those cameras that have a certificate; called again it connects those that have one now.
 * Does not wait for the network. Thread: main. */
void kvg_control_connect(KvgControl *control);

/* Thread: any. */
void kvg_control_get(KvgControl *control, const char *camera, KvgSettings *settings);
/* What a worker must know: the settings, and under "wishes" what the shadow asks for and nobody has
 * confirmed (a new reference). Thread: any. */
json_t *kvg_control_brief(KvgControl *control, const char *camera);
/* A worker's packet {"wished": id, "camera", "problem"}; false: it is another. Thread: main. */
bool kvg_control_confirm(KvgControl *control, const json_t *packet);
/* A change made here: in force at once, and put into the shadow's desired state as soon as there is
 * a connection. False: KVG_ERROR_INVALID, or KVG_ERROR_NOT_FOUND. Thread: any. */
bool kvg_control_set(KvgControl *control, const char *camera, const json_t *change, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* The camera's state for the shadow's reported state; sent when it has changed. Thread: main. */
void
kvg_control_report(KvgControl *control, const char *camera, const char *state, const char *reason);
/* For the API: {"connected", "reason", "settings", "problem"} (a new reference). Thread: any. */
json_t *kvg_control_describe(KvgControl *control, const char *camera);
