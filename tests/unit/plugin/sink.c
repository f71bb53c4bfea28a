#include "sink.h"

#include "media/h264.h"
#include "plugin/kvssink.h"
#include "spool/spool.h"
#include <glib/gstdio.h>
#include <string.h>

/* ---- the element ---- */

static gboolean
feed_query(GstPad *pad, GstObject *parent, GstQuery *query)
{
    const Sink *sink = gst_pad_get_element_private(pad);
    if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY)
        return gst_pad_query_default(pad, parent, query);
    gst_query_set_latency(query, sink->is_live, 0, GST_CLOCK_TIME_NONE);
    return TRUE;
}

static gboolean
feed_event(GstPad *pad, GstObject *parent, GstEvent *event)
{
    Sink *sink = gst_pad_get_element_private(pad);
    if (gst_event_has_name(event, "GstForceKeyUnit"))
        g_atomic_int_inc(&sink->n_asked_keys);
    gst_event_unref(event);
    return TRUE;
}

Sink *
sink_new(gboolean is_live)
{
    Sink *sink = g_new0(Sink, 1);
    sink->folder = g_dir_make_tmp("kvg-sink-XXXXXX", NULL);
    sink->is_live = is_live;
    sink->element = gst_object_ref_sink(gst_element_factory_make("kvssink", NULL));
    sink->bus = gst_bus_new();
    gst_element_set_bus(sink->element, sink->bus);
    /* Port 9 of loopback refuses. */
    g_object_set(sink->element, "stream-name", "gate", "access-key", "AKIDEXAMPLE", "secret-key",
                 "a-secret-of-the-test", "endpoint", "https://127.0.0.1:9", "spool-path",
                 sink->folder, "stop-stream-timeout", 0, NULL);
    gst_util_set_object_arg(G_OBJECT(sink->element), "spool-tier", "disk");
    return sink;
}

static void
remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

void
sink_free(Sink *sink)
{
    sink_stop(sink);
    for (unsigned i = 0; i < 2; i++)
        gst_clear_object(&sink->feeds[i]);
    gst_element_set_bus(sink->element, NULL);
    gst_object_unref(sink->bus);
    gst_object_unref(sink->element);
    remove_tree(sink->folder);
    g_free(sink->folder);
    g_free(sink);
}

void
sink_open(Sink *sink, unsigned track)
{
    GstPad *pad =
        gst_element_request_pad_simple(sink->element, track == 0 ? "video_%u" : "audio_%u");
    g_assert_nonnull(pad);
    GstPad *feed = gst_object_ref_sink(gst_pad_new(NULL, GST_PAD_SRC));
    gst_pad_set_element_private(feed, sink);
    gst_pad_set_query_function(feed, feed_query);
    gst_pad_set_event_function(feed, feed_event);
    gst_pad_set_active(feed, TRUE);
    g_assert_cmpint(gst_pad_link(feed, pad), ==, GST_PAD_LINK_OK);
    gst_object_unref(pad);
    sink->feeds[track] = feed;
}

void
sink_play(Sink *sink)
{
    g_assert_cmpint(gst_element_set_state(sink->element, GST_STATE_PLAYING), ==,
                    GST_STATE_CHANGE_SUCCESS);
    for (unsigned i = 0; i < 2; i++) {
        if (sink->feeds[i] == NULL)
            continue;
        g_autofree char *id = g_strdup_printf("stream-%u", i);
        gst_pad_push_event(sink->feeds[i], gst_event_new_stream_start(id));
    }
}

void
sink_stop(Sink *sink)
{
    g_assert_cmpint(gst_element_set_state(sink->element, GST_STATE_NULL), ==,
                    GST_STATE_CHANGE_SUCCESS);
}

void
sink_caps(Sink *sink, unsigned track, const char *text, GBytes *codec_data)
{
    g_autoptr(GstCaps) caps = gst_caps_from_string(text);
    g_assert_nonnull(caps);
    if (codec_data != NULL) {
        g_autoptr(GstBuffer) buffer = gst_buffer_new_wrapped_bytes(codec_data);
        gst_caps_set_simple(caps, "codec_data", GST_TYPE_BUFFER, buffer, NULL);
    }
    g_assert_true(gst_pad_push_event(sink->feeds[track], gst_event_new_caps(caps)));
    g_autoptr(GstEvent) has = gst_pad_get_sticky_event(sink->feeds[track], GST_EVENT_SEGMENT, 0);
    if (has != NULL)
        return;
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    gst_pad_push_event(sink->feeds[track], gst_event_new_segment(&segment));
}

GstFlowReturn
sink_push(Sink *sink, unsigned track, int64_t pts_ms, int64_t dts_ms, bool key, GBytes *data)
{
    GstBuffer *buffer = gst_buffer_new_wrapped_bytes(data);
    GST_BUFFER_PTS(buffer) = pts_ms < 0 ? GST_CLOCK_TIME_NONE : (GstClockTime)pts_ms * GST_MSECOND;
    GST_BUFFER_DTS(buffer) = dts_ms < 0 ? GST_CLOCK_TIME_NONE : (GstClockTime)dts_ms * GST_MSECOND;
    if (!key)
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    return gst_pad_push(sink->feeds[track], buffer);
}

void
sink_eos(Sink *sink, unsigned track)
{
    g_assert_true(gst_pad_push_event(sink->feeds[track], gst_event_new_eos()));
}

unsigned
sink_messages(Sink *sink, GstMessageType type)
{
    unsigned n = 0;
    GstMessage *message;
    while ((message = gst_bus_pop_filtered(sink->bus, type)) != NULL) {
        gst_message_unref(message);
        n++;
    }
    return n;
}

uint64_t
sink_stat(Sink *sink, const char *name)
{
    g_autoptr(GstStructure) stats = NULL;
    guint64 value = 0;
    g_object_get(sink->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_uint64(stats, name, &value));
    return value;
}

/* ---- what is stored ---- */

static void
clear_frame(gpointer data)
{
    g_bytes_unref(((StoredFrame *)data)->data);
}

static void
clear_tracks(gpointer data)
{
    g_free(((StoredTracks *)data)->codec_id);
}

static void
take_tracks(Stored *stored, const KvgSpoolEvent *event)
{
    StoredTracks tracks = {.n = event->n_tracks,
                           .codec_id = g_strdup(event->tracks[0].codec_id),
                           .width = event->tracks[0].width,
                           .height = event->tracks[0].height};
    g_assert_cmpuint(event->n_tracks, <=, 2);
    for (size_t i = 0; i < event->n_tracks; i++) {
        tracks.types[i] = event->tracks[i].type;
        g_assert_nonnull(event->tracks[i].codec_private);
    }
    g_array_append_val(stored->tracks, tracks);
}

/* Every described track is in the fragment, and it is no longer than the service takes. */
static void
check_fragment(const Stored *stored, guint first, bool follows)
{
    const StoredTracks *tracks =
        &g_array_index(stored->tracks, StoredTracks, stored->tracks->len - 1);
    int64_t earliest_ms = INT64_MAX, latest_ms = INT64_MIN, before_ms = INT64_MIN;
    bool has[3] = {false};
    g_assert_cmpuint(stored->frames->len, >, first);
    for (guint i = 0; i < stored->frames->len; i++) {
        const StoredFrame *frame = &STORED(stored, i);
        if (i < first) {
            before_ms = MAX(before_ms, frame->pts_ms);
            continue;
        }
        earliest_ms = MIN(earliest_ms, frame->pts_ms);
        latest_ms = MAX(latest_ms, frame->pts_ms);
        has[frame->track] = true;
    }
    g_assert_true(!follows || earliest_ms > before_ms);
    g_assert_cmpint(latest_ms - earliest_ms, <=, 20000);
    for (size_t i = 0; i < tracks->n; i++)
        g_assert_true(has[tracks->types[i]]);
}

static void
read_all(Stored *stored, KvgSpoolReader *reader, bool follows)
{
    guint first = 0;
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        g_autoptr(GError) error = NULL;
        g_assert_true(kvg_spool_read(reader, &event, &error));
        if (event.kind == KVG_SPOOL_NONE)
            return;
        if (event.kind == KVG_SPOOL_TRACKS) {
            take_tracks(stored, &event);
        } else if (event.kind == KVG_SPOOL_BEGIN) {
            first = stored->frames->len;
        } else if (event.kind == KVG_SPOOL_FRAME) {
            const StoredFrame frame = {stored->n_fragments, event.frame.track, event.frame.key,
                                       event.frame.pts_us / 1000, g_bytes_ref(event.frame.data)};
            g_array_append_val(stored->frames, frame);
        } else if (event.kind == KVG_SPOOL_TAG) {
            g_ptr_array_add(stored->tags, g_strdup_printf("%u %s=%s", stored->n_fragments,
                                                          event.tag_name, event.tag_value));
        } else if (event.kind == KVG_SPOOL_END) {
            check_fragment(stored, first, follows);
            stored->n_fragments++;
        } else {
            g_assert_not_reached();
        }
    }
}

Stored *
stored_read(Sink *sink)
{
    Stored *stored = g_new0(Stored, 1);
    stored->frames = g_array_new(FALSE, FALSE, sizeof(StoredFrame));
    g_array_set_clear_func(stored->frames, clear_frame);
    stored->tracks = g_array_new(FALSE, FALSE, sizeof(StoredTracks));
    g_array_set_clear_func(stored->tracks, clear_tracks);
    stored->tags = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = g_build_filename(sink->folder, "gate", NULL);
    const KvgSpoolOptions options = {.path = path, .tier = KVG_SPOOL_TIER_DISK};
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgSpool) spool = kvg_spool_open(&options, &error);
    g_assert_no_error(error);
    KvgSpoolReader *reader = kvg_spool_reader_new(spool);
    read_all(stored, reader, !sink->is_restarted);
    kvg_spool_reader_free(reader);
    return stored;
}

void
stored_free(Stored *stored)
{
    g_array_unref(stored->frames);
    g_array_unref(stored->tracks);
    g_ptr_array_unref(stored->tags);
    g_free(stored);
}

unsigned
stored_count(const Stored *stored, uint8_t track)
{
    unsigned n = 0;
    for (guint i = 0; i < stored->frames->len; i++)
        n += STORED(stored, i).track == track;
    return n;
}

/* ---- media ---- */

GBytes *
bytes_of(const void *data, size_t len)
{
    return g_bytes_new(data, len);
}

GBytes *
join(GBytes *a, GBytes *b)
{
    GByteArray *out = g_byte_array_new();
    g_byte_array_append(out, g_bytes_get_data(a, NULL), (guint)g_bytes_get_size(a));
    g_byte_array_append(out, g_bytes_get_data(b, NULL), (guint)g_bytes_get_size(b));
    g_bytes_unref(a);
    g_bytes_unref(b);
    return g_byte_array_free_to_bytes(out);
}

static const uint8_t pps[] = {0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0};

GBytes *
avcc_720p(void)
{
    static const uint8_t sps[] = {0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05,
                                  0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
                                  0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60};
    return kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
}

GBytes *
avcc_vga(void)
{
    static const uint8_t sps[] = {0x67, 0x42, 0x00, 0x1e, 0xf4, 0x05, 0x01, 0xec, 0x80};
    return kvg_h264_build_avcc(sps, sizeof sps, pps, sizeof pps);
}

GBytes *
avc_unit(bool key, unsigned i)
{
    const uint8_t unit[] = {0,          0,   0,   7, key ? 0x65 : 0x41, 0x88, (uint8_t)(i >> 8),
                            (uint8_t)i, 'a', 'b', 1};
    return g_bytes_new(unit, sizeof unit);
}
