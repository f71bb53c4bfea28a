/* One stored fragment, taken apart for players. */
#pragma once

#include "media/fmp4.h"
#include "server/store/store.h"
#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _KvgFragmentReader KvgFragmentReader;

/* @header and @media as the store gives them. @with_samples false: only the tracks.
 * KVG_ERROR_CORRUPT. */
KvgFragmentReader *
kvg_fragment_reader_new(GBytes *header, GBytes *media, bool with_samples, GError **error);
/* The same out of the store. KVG_ERROR_NOT_FOUND, KVG_ERROR_CORRUPT. */
KvgFragmentReader *kvg_fragment_read(
    KvgStore *store, const char *stream_arn, const char *number, bool with_samples, GError **error);
void kvg_fragment_reader_free(KvgFragmentReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgFragmentReader, kvg_fragment_reader_free)
/* The track numbered @number; NULL if there is none. */
const KvgTrack *kvg_fragment_reader_track(const KvgFragmentReader *reader, unsigned number);
/* First track of @type that an MP4 player can take; NULL. */
const KvgTrack *kvg_fragment_reader_playable(const KvgFragmentReader *reader, KvgTrackType type);
const KvgTrack *kvg_fragment_reader_tracks(const KvgFragmentReader *reader, size_t *n);
/* Changes whenever a player needs another init segment. */
uint32_t kvg_fragment_reader_init_id(const KvgFragmentReader *reader);
/* The track's frames in order (KvgMp4Sample); they point into @reader. */
GArray *kvg_fragment_reader_samples(const KvgFragmentReader *reader, unsigned number);
size_t kvg_fragment_reader_n_samples(const KvgFragmentReader *reader, unsigned number);
/* Media segment of one track. */
GBytes *kvg_fragment_reader_write(const KvgFragmentReader *reader,
                                  unsigned number,
                                  uint32_t sequence,
                                  int64_t base_ms,
                                  int64_t length_ms,
                                  GError **error);
