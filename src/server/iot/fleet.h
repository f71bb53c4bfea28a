/* Fleet provisioning by claim: what a device asks over MQTT when it has only a claim certificate. A
 * certificate made here stays PENDING_ACTIVATION until a template has been carried out with its
 * ownership token, and is forgotten with the token after an hour. Without MQTT in it. */
#pragma once

#include "base/json.h"
#include "server/server.h"

/* Whether @topic is one of these requests. */
bool kvg_fleet_is_request(const char *topic);
/* Performs it. *@accepted tells which of TOPIC/accepted and TOPIC/rejected the answer is for; the
 * answer is a new reference. */
json_t *kvg_fleet_perform(KvgServer *server,
                          const char *topic,
                          const void *payload,
                          size_t len,
                          int64_t now_ms,
                          bool *accepted);
