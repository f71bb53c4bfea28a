/* AAC: AudioSpecificConfig and ADTS headers. No I/O. Source: ISO/IEC 14496-3 sections 1.6.2
 * and 1.A.2. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t object_type; /* 2: AAC-LC */
    uint32_t rate_hz;
    uint8_t channels; /* 0: described in the stream itself */
} KvgAacConfig;

/* Two bytes. NULL if the rate is none of the thirteen or there are more than 7 channels. */
GBytes *kvg_aac_build_config(const KvgAacConfig *config);
/* KVG_ERROR_CORRUPT. */
bool kvg_aac_parse_config(const uint8_t *data, size_t len, KvgAacConfig *config, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* The first ADTS frame of @data: its raw access unit lies at @data + *payload_at and has
 * *payload_len bytes. KVG_ERROR_CORRUPT; KVG_ERROR_UNSUPPORTED for several raw data blocks in one.
 */
bool kvg_adts_parse(const uint8_t *data,
                    size_t len,
                    KvgAacConfig *config,
                    size_t *payload_at,
                    size_t *payload_len,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Silence of one frame for AAC-LC with one or two channels; NULL for others. Static. */
GBytes *kvg_aac_silence(const KvgAacConfig *config);
