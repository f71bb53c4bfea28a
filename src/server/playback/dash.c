/* A period for each run of fragments that one init segment serves, an adaptation set for each track
 * in it. The timeline of a set is known only when its period ends; until then it is gathered. */
#include "server/playback/dash.h"

#include "base/text.h"

/* Where the first fragment of a session stands, see session_url.c. */
#define HEADROOM_MS 10000
#define MAX_TRACKS 2

typedef struct {
    uint8_t number;
    bool is_audio;
    char *codec;
    uint32_t timescale, width, height, channels;
    double frame_rate;
    uint64_t bandwidth;
} Set;

struct _KvgDash {
    const KvgPlaybackSession *session;
    const char *token;
    int64_t head_ms, now_ms;
    GString *periods;
    Set sets[MAX_TRACKS];
    size_t n_sets;
    GArray *entries; /* of the present period */
    int64_t first_ms, end_ms, longest_ms;
    int64_t window_ms;
    bool has_first;
};

KvgDash *
kvg_dash_new(const KvgPlaybackSession *session, const char *token, int64_t head_ms, int64_t now_ms)
{
    KvgDash *dash = g_new0(KvgDash, 1);
    dash->session = session;
    dash->token = token;
    dash->head_ms = head_ms;
    dash->now_ms = now_ms;
    dash->periods = g_string_new(NULL);
    dash->entries = g_array_new(FALSE, FALSE, sizeof(KvgTimelineEntry));
    return dash;
}

static void
clear_sets(KvgDash *dash)
{
    for (size_t i = 0; i < dash->n_sets; i++)
        g_free(dash->sets[i].codec);
    dash->n_sets = 0;
}

void
kvg_dash_free(KvgDash *dash)
{
    if (dash == NULL)
        return;
    clear_sets(dash);
    g_string_free(dash->periods, TRUE);
    g_array_unref(dash->entries);
    g_free(dash);
}

static const KvgTimelineEntry *
entry_at(const KvgDash *dash, guint i)
{
    return &g_array_index(dash->entries, KvgTimelineEntry, i);
}

bool
kvg_dash_needs_tracks(const KvgDash *dash, const KvgTimelineEntry *entry)
{
    return dash->entries->len == 0 ||
           entry_at(dash, 0)->period_start_ms != entry->period_start_ms ||
           entry_at(dash, 0)->init_id != entry->init_id;
}

/* ---- text ---- */

static int64_t
media_ms(const KvgDash *dash, const KvgTimelineEntry *entry)
{
    return entry->info.producer_ms - dash->session->origin_ms;
}

/* When the entry is shown. */
static int64_t
shown_ms(const KvgDash *dash, const KvgTimelineEntry *entry)
{
    return entry->period_start_ms + media_ms(dash, entry) - entry->period_media_ms;
}

static void
put_duration(GString *out, const char *name, int64_t ms)
{
    g_string_append_printf(out, " %s=\"PT%" G_GINT64_FORMAT ".%03dS\"", name, MAX(ms, 0) / 1000,
                           (int)(MAX(ms, 0) % 1000));
}

/* A fragment that overlaps the next one is cut in the list, for its times must not go back. */
static int64_t
listed_ms(const KvgDash *dash, guint i)
{
    const int64_t length_ms = MAX(entry_at(dash, i)->info.length_ms, 1);
    if (i + 1 == dash->entries->len)
        return length_ms;
    return MIN(length_ms,
               media_ms(dash, entry_at(dash, i + 1)) - media_ms(dash, entry_at(dash, i)));
}

static void
put_segment(GString *out, const KvgDash *dash, guint i, uint32_t timescale)
{
    const KvgFragmentInfo *info = &entry_at(dash, i)->info;
    g_string_append_printf(out, "<S t=\"%" G_GINT64_FORMAT "\" d=\"%" G_GINT64_FORMAT "\"",
                           kvg_mp4_to_units(media_ms(dash, entry_at(dash, i)), timescale),
                           kvg_mp4_to_units(listed_ms(dash, i), timescale));
    if (dash->session->shows_timestamps) {
        const int64_t time_ms =
            dash->session->order == KVG_STORE_BY_SERVER_TIME ? info->server_ms : info->producer_ms;
        g_string_append_printf(out, " kvs:ts=\"%" G_GINT64_FORMAT ".%03d\"", time_ms / 1000,
                               (int)(time_ms % 1000));
    }
    if (dash->session->shows_numbers)
        g_string_append_printf(out, " kvs:fn=\"%s\"", info->number);
    g_string_append(out, "/>\n");
}

static void
put_template(GString *out, const KvgDash *dash, const Set *set)
{
    const KvgTimelineEntry *first = entry_at(dash, 0);
    g_string_append_printf(
        out,
        "<SegmentTemplate timescale=\"%u\" presentationTimeOffset=\"%" G_GINT64_FORMAT
        "\" startNumber=\"%" G_GUINT64_FORMAT "\" "
        "initialization=\"getMP4InitFragment.mp4?SessionToken=%s&amp;TrackNumber=%u"
        "&amp;SequenceNumber=%u\" "
        "media=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;SessionToken=%s"
        "&amp;TrackNumber=%u\">\n<SegmentTimeline>\n",
        set->timescale, kvg_mp4_to_units(first->period_media_ms, set->timescale), first->sequence,
        dash->token, set->number, first->init_id, dash->token, set->number);
    for (guint i = 0; i < dash->entries->len; i++)
        put_segment(out, dash, i, set->timescale);
    g_string_append(out, "</SegmentTimeline>\n</SegmentTemplate>\n");
}

static void
put_set(GString *out, const KvgDash *dash, const Set *set)
{
    const char *kind = set->is_audio ? "audio" : "video";
    g_string_append_printf(out,
                           "<AdaptationSet id=\"%u\" contentType=\"%s\" mimeType=\"%s/mp4\" "
                           "segmentAlignment=\"true\" startWithSAP=\"1\">\n"
                           "<Representation id=\"%u\" codecs=\"%s\" bandwidth=\"%" G_GUINT64_FORMAT
                           "\"",
                           set->number, kind, kind, set->number, set->codec, set->bandwidth);
    if (set->is_audio) {
        g_string_append_printf(out, " audioSamplingRate=\"%u\"", set->timescale);
    } else {
        g_string_append_printf(out, " width=\"%u\" height=\"%u\"", set->width, set->height);
        if (set->frame_rate > 0)
            g_string_append_printf(out, " frameRate=\"%d/1000\"", (int)(set->frame_rate * 1000));
    }
    g_string_append(out, ">\n");
    put_template(out, dash, set);
    g_string_append(out, "</Representation>\n</AdaptationSet>\n");
}

static void
end_period(KvgDash *dash)
{
    if (dash->entries->len == 0)
        return;
    const KvgTimelineEntry *first = entry_at(dash, 0);
    /* A recording begins at zero; what is live, at the start of the session. */
    const bool is_static = dash->session->mode == KVG_PLAYBACK_ON_DEMAND;
    g_string_append_printf(dash->periods, "<Period id=\"p%" G_GINT64_FORMAT "\"",
                           first->period_start_ms);
    put_duration(dash->periods, "start", first->period_start_ms - (is_static ? dash->first_ms : 0));
    g_string_append(dash->periods, ">\n");
    for (size_t i = 0; i < dash->n_sets; i++)
        put_set(dash->periods, dash, &dash->sets[i]);
    g_string_append(dash->periods, "</Period>\n");
    g_array_set_size(dash->entries, 0);
    clear_sets(dash);
}

/* ---- building ---- */

static void
add_set(KvgDash *dash, const KvgFragmentReader *reader, KvgTrackType type, int64_t length_ms)
{
    const KvgTrack *track = kvg_fragment_reader_playable(reader, type);
    KvgMp4Track description;
    if (track == NULL || !kvg_mp4_track_init(&description, track, NULL))
        return;
    Set *set = &dash->sets[dash->n_sets++];
    *set = (Set){.number = track->number,
                 .is_audio = description.is_audio,
                 .codec = kvg_mp4_track_codec_string(&description),
                 .timescale = description.timescale,
                 .width = description.width,
                 .height = description.height};
    g_autoptr(GArray) samples = kvg_fragment_reader_samples(reader, track->number);
    uint64_t bytes = 0;
    for (guint i = 0; i < samples->len; i++)
        bytes += g_array_index(samples, KvgMp4Sample, i).len;
    set->bandwidth = bytes * 8000 / (uint64_t)MAX(length_ms, 1) + 1;
    set->frame_rate = (double)samples->len * 1000 / (double)MAX(length_ms, 1);
}

void
kvg_dash_add(KvgDash *dash, const KvgTimelineEntry *entry, const KvgFragmentReader *reader)
{
    if (reader != NULL) {
        end_period(dash);
        if (!dash->has_first)
            dash->first_ms = shown_ms(dash, entry);
        dash->has_first = true;
        add_set(dash, reader, KVG_TRACK_VIDEO, entry->info.length_ms);
        add_set(dash, reader, KVG_TRACK_AUDIO, entry->info.length_ms);
    }
    g_array_append_val(dash->entries, *entry);
    const int64_t length_ms = MAX(entry->info.length_ms, 1);
    dash->end_ms = shown_ms(dash, entry) + length_ms;
    dash->longest_ms = MAX(dash->longest_ms, length_ms);
    dash->window_ms += length_ms;
}

/* Presentation time zero by the clock: a live fragment is there when the server has it, those
 * of a replay's first window at once, the others as time passes. */
static int64_t
availability_start_ms(const KvgDash *dash)
{
    const KvgPlaybackSession *session = dash->session;
    if (session->mode == KVG_PLAYBACK_LIVE)
        return session->from_ms - HEADROOM_MS;
    return session->created_ms - dash->head_ms;
}

static void
put_dynamic(GString *out, const KvgDash *dash)
{
    g_autofree char *start = kvg_format_iso8601(availability_start_ms(dash), true);
    g_autofree char *now = kvg_format_iso8601(dash->now_ms, true);
    g_string_append_printf(out, " type=\"dynamic\" availabilityStartTime=\"%s\" publishTime=\"%s\"",
                           start, now);
    put_duration(out, "minimumUpdatePeriod", 1000);
    put_duration(out, "timeShiftBufferDepth", dash->window_ms);
    put_duration(out, "suggestedPresentationDelay", MIN(2 * dash->longest_ms, dash->window_ms));
}

char *
kvg_dash_finish(KvgDash *dash)
{
    end_period(dash);
    GString *out = g_string_new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" "
                                "xmlns:kvs=\"urn:amazon:kinesisvideo\" "
                                "profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"");
    if (dash->session->mode == KVG_PLAYBACK_ON_DEMAND) {
        g_string_append(out, " type=\"static\"");
        put_duration(out, "mediaPresentationDuration", dash->end_ms - dash->first_ms);
    } else {
        put_dynamic(out, dash);
    }
    put_duration(out, "minBufferTime", dash->longest_ms);
    put_duration(out, "maxSegmentDuration", dash->longest_ms);
    g_string_append_printf(out, ">\n%s", dash->periods->str);
    if (dash->session->mode != KVG_PLAYBACK_ON_DEMAND) {
        g_autofree char *now = kvg_format_iso8601(dash->now_ms, true);
        g_string_append_printf(
            out, "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"%s\"/>\n", now);
    }
    g_string_append(out, "</MPD>\n");
    return g_string_free(out, FALSE);
}
