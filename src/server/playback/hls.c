/* HLS playlists in the shape of the real service's. */
#include "server/playback/hls.h"

#include "base/text.h"

char *
kvg_hls_write_master(const KvgHlsMaster *master)
{
    GString *out = g_string_new("#EXTM3U\n#EXT-X-VERSION:7\n");
    const bool has_both = master->video_track != 0 && master->audio_track != 0;
    const bool has_group = has_both && !master->is_ts;
    if (has_group)
        g_string_append_printf(out,
                               "#EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,"
                               "URI=\"getHLSMediaPlaylist.m3u8?SessionToken=%s&TrackNumber=%u\","
                               "GROUP-ID=\"audio\",DEFAULT=YES,NAME=\"audio\"\n",
                               master->token, master->audio_track);
    g_string_append(out, "#EXT-X-STREAM-INF:CODECS=\"");
    if (master->video_track != 0)
        g_string_append(out, master->video_codec);
    if (has_both)
        g_string_append_c(out, ',');
    if (master->audio_track != 0)
        g_string_append(out, master->audio_codec);
    g_string_append_c(out, '"');
    if (master->video_track != 0 && master->width != 0)
        g_string_append_printf(out, ",RESOLUTION=%ux%u", master->width, master->height);
    if (master->video_track != 0 && master->frame_rate > 0) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_formatd(number, sizeof number, "%.3f", master->frame_rate);
        g_string_append_printf(out, ",FRAME-RATE=%s", number);
    }
    g_string_append_printf(out, ",BANDWIDTH=%" G_GUINT64_FORMAT, master->bandwidth);
    if (has_group)
        g_string_append(out, ",AUDIO=\"audio\"");
    g_string_append_printf(out, "\ngetHLSMediaPlaylist.m3u8?SessionToken=%s", master->token);
    if (!master->is_ts)
        g_string_append_printf(out, "&TrackNumber=%u",
                               master->video_track != 0 ? master->video_track
                                                        : master->audio_track);
    g_string_append_c(out, '\n');
    return g_string_free(out, FALSE);
}

void
kvg_hls_write_segment_head(GString *out,
                           const KvgPlaybackSession *session,
                           const char *token,
                           unsigned track,
                           const KvgTimelineEntry *entry,
                           bool needs_map)
{
    const KvgFragmentInfo *info = &entry->info;
    if (entry->is_discontinuity)
        g_string_append(out, "#EXT-X-DISCONTINUITY\n");
    if (needs_map && !session->is_ts)
        g_string_append_printf(out,
                               "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken=%s"
                               "&TrackNumber=%u&SequenceNumber=%u\"\n",
                               token, track, entry->init_id);
    if (session->shows_timestamps) {
        g_autofree char *time = kvg_format_iso8601(
            session->order == KVG_STORE_BY_SERVER_TIME ? info->server_ms : info->producer_ms, true);
        g_string_append_printf(out, "#EXT-X-PROGRAM-DATE-TIME:%s\n", time);
    }
}

void
kvg_hls_write_segment(GString *out,
                      const KvgPlaybackSession *session,
                      const char *token,
                      unsigned track,
                      const KvgTimelineEntry *entry)
{
    const KvgFragmentInfo *info = &entry->info;
    const int64_t length_ms = MAX(info->length_ms, 1);
    g_string_append_printf(out, "#EXTINF:%" G_GINT64_FORMAT ".%03d,\n", length_ms / 1000,
                           (int)(length_ms % 1000));
    if (session->is_ts)
        g_string_append_printf(out, "getTSFragment.ts?FragmentNumber=%s&SessionToken=%s\n",
                               info->number, token);
    else
        g_string_append_printf(out,
                               "getMP4MediaFragment.mp4?FragmentNumber=%s&SessionToken=%s"
                               "&TrackNumber=%u\n",
                               info->number, token, track);
}

char *
kvg_hls_write_media(const KvgPlaybackSession *session,
                    const char *token,
                    unsigned track,
                    int64_t longest_ms,
                    const KvgTimelineEntry *entries,
                    size_t n)
{
    const bool is_static = session->mode == KVG_PLAYBACK_ON_DEMAND;
    /* Rounded to nearest as RFC 8216 4.3.3.1 asks, not up: a player stays three of these behind. */
    const int64_t target_s = MAX((longest_ms + 500) / 1000, 1);
    GString *out = g_string_new("#EXTM3U\n#EXT-X-VERSION:7\n");
    if (is_static)
        g_string_append(out, "#EXT-X-PLAYLIST-TYPE:VOD\n");
    g_string_append_printf(out, "#EXT-X-TARGETDURATION:%" G_GINT64_FORMAT "\n", target_s);
    const uint64_t first = n > 0 ? entries[0].sequence : 0;
    g_string_append_printf(out, "#EXT-X-MEDIA-SEQUENCE:%" G_GUINT64_FORMAT "\n", first);
    if (!is_static && n > 0 && session->discontinuity != KVG_DISCONTINUITY_NEVER)
        g_string_append_printf(out, "#EXT-X-DISCONTINUITY-SEQUENCE:%" G_GUINT64_FORMAT "\n",
                               entries[0].discontinuities - entries[0].is_discontinuity);
    g_string_append(out, "#EXT-X-INDEPENDENT-SEGMENTS\n");
    for (size_t i = 0; i < n; i++) {
        const bool needs_map = i == 0 || entries[i].init_id != entries[i - 1].init_id;
        kvg_hls_write_segment_head(out, session, token, track, &entries[i], needs_map);
        kvg_hls_write_segment(out, session, token, track, &entries[i]);
    }
    if (is_static)
        g_string_append(out, "#EXT-X-ENDLIST\n");
    return g_string_free(out, FALSE);
}
