/* What may be changed of a running camera: on or off, and how it is encoded. Read from a shadow's
 * desired state, from the API, from disk; laid over the configuration. No I/O. */
#pragma once

#include "base/json.h"
#include "config/config.h"

/* 0, or "not set": as the configuration says. */
typedef struct {
    bool has_streaming, streaming;
    uint32_t bitrate_kbps, width, height, fps, fragment_ms;
} KvgSettings;

/**
 * kvg_settings_merge:
 * @settings: changed on success only
 * @change: members of these names; null: as the configuration says; others are left alone
 * @ignored: (out) (optional): names of unknown members, sorted, JSON array; NULL if there are none
 *
 * False and KVG_ERROR_INVALID naming the member, its value and what is possible.
 */
bool kvg_settings_merge(KvgSettings *settings,
                        const json_t *change,
                        json_t **ignored,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Only what is set (a new reference). */
json_t *kvg_settings_to_json(const KvgSettings *settings);
bool kvg_settings_equal(const KvgSettings *a, const KvgSettings *b);
/* Lays @settings over @camera, which is the caller's copy; its strings are not touched. Any of
 * bitrate, width, height or fps means encoding. */
void kvg_settings_apply(const KvgSettings *settings, KvgConfigCamera *camera);
