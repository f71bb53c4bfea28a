/* The words of the former service for what cameras do here: node status, health, signals. */
#pragma once

#include "base/json.h"

/* RUNNING, ERROR, NOT_AVAILABLE or PAUSED, from a camera's report: an object with `state` (and
 * `streaming`) of the agent's API or of a shadow's reported state. NULL: nobody knows. */
const char *kvg_panorama_node_status(const json_t *report);

/* RUNNING, ERROR or NOT_AVAILABLE of an application whose camera nodes have these statuses; one
 * that is paused is no trouble. */
const char *kvg_panorama_health(const char *const *statuses, size_t n);

/* PAUSE or RESUME as the desired `streaming` of a camera. False: another word. */
bool kvg_panorama_signal_parse(const char *word, bool *streaming);
