/* The two framings of NAL units: start codes (Annex B of H.264 and H.265, "byte-stream") and length
 * prefixes ("avc", "hvc1"). No I/O. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finds the next Annex-B NAL unit at or after *at: false at the end. */
bool
kvg_annexb_next(const uint8_t *data, size_t len, size_t *at, const uint8_t **nal, size_t *nal_len);
/* Start codes to 4-byte lengths. NULL if there is no start code. */
GBytes *kvg_annexb_to_lengths(const uint8_t *data, size_t len);

/* The same for NAL units with lengths of @length_size bytes (1, 2 or 4); false also where a length
 * reaches beyond the end. */
bool kvg_lengths_next(const uint8_t *data,
                      size_t len,
                      unsigned length_size,
                      size_t *at,
                      const uint8_t **nal,
                      size_t *nal_len);
/* Lengths of @length_size bytes to lengths of 4. NULL if they do not add up. */
GBytes *kvg_lengths_widen(const uint8_t *data, size_t len, unsigned length_size);
