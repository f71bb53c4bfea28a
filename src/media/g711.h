/* G.711 in Matroska: A_MS/ACM with a WAVEFORMATEX. No I/O. */
#pragma once

#include <glib.h>
#include <stdint.h>

typedef enum { KVG_G711_ALAW = 6, KVG_G711_MULAW = 7 } KvgG711Law;

/* WAVEFORMATEX, 18 bytes. */
GBytes *kvg_g711_build_config(KvgG711Law law, uint8_t channels, uint32_t rate_hz);
/* The byte that is a sample of value zero. */
uint8_t kvg_g711_silence(KvgG711Law law);
