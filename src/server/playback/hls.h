/* Text of HLS playlists. No I/O. Source: RFC 8216. */
#pragma once

#include "server/playback/session.h"
#include "server/playback/timeline.h"

typedef struct {
    const char *token;
    bool is_ts;                        /* all tracks in one playlist */
    unsigned video_track, audio_track; /* 0: none */
    const char *video_codec, *audio_codec;
    uint32_t width, height;
    double frame_rate;  /* 0: unknown */
    uint64_t bandwidth; /* bits per second */
} KvgHlsMaster;

char *kvg_hls_write_master(const KvgHlsMaster *master);
/* One track's playlist (MPEG-TS: of all tracks, @track unused); @entries are those of
 * kvg_timeline_window(). */
char *kvg_hls_write_media(const KvgPlaybackSession *session,
                          const char *token,
                          unsigned track,
                          int64_t longest_ms,
                          const KvgTimelineEntry *entries,
                          size_t n);
/* Lines of one fragment: tags that stand before its parts, if it has any, and the rest. */
void kvg_hls_write_segment_head(GString *out,
                                const KvgPlaybackSession *session,
                                const char *token,
                                unsigned track,
                                const KvgTimelineEntry *entry,
                                bool needs_map);
void kvg_hls_write_segment(GString *out,
                           const KvgPlaybackSession *session,
                           const char *token,
                           unsigned track,
                           const KvgTimelineEntry *entry);
