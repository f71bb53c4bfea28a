/* Starting, stopping, flushing and ending at any moment, and what the element says meanwhile. */
#include "plugin/kvssink.h"
#include "sink.h"

#include <gst/check/gstharness.h>
#include <kvg/kvssink.h>
#include <string.h>

static void
put_frames(Sink *sink, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        g_autoptr(GBytes) unit = avc_unit(i % 25 == 0, i);
        g_assert_cmpint(sink_push(sink, 0, i * 40, i * 40, i % 25 == 0, unit), ==, GST_FLOW_OK);
    }
}

static unsigned
count_entries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;
    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

/* A thread that was joined may be listed a moment longer. */
static void
expect_entries_at_most(const char *path, unsigned most)
{
    for (unsigned i = 0; i < 500 && count_entries(path) > most; i++)
        g_usleep(10 * 1000);
    g_assert_cmpuint(count_entries(path), <=, most);
}

/* A pad that is asked for while the element runs works like one from the beginning. */
static void
test_late_pad(void)
{
    g_autoptr(Sink) sink = sink_new(TRUE);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_play(sink);
    sink_open(sink, 0);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 5);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 5);
}

/* Let go of, the stream has what was put; what comes is refused, and another writes. */
static void
test_let_go(void)
{
    g_autoptr(Sink) sink = sink_new(TRUE);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 5);
    kvg_sink_let_go(sink->element);
    g_autoptr(GBytes) unit = avc_unit(true, 99);
    g_assert_cmpint(sink_push(sink, 0, 400, 400, true, unit), ==, GST_FLOW_FLUSHING);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 5);
}

/* 200 times up and down while nothing answers: no hang, no thread, no descriptor left behind. */
static void
test_cycles(void)
{
    g_autoptr(Sink) sink = sink_new(TRUE);
    g_autoptr(GBytes) avcc = avcc_720p();
    unsigned n_threads = 0, n_fds = 0;
    sink->is_restarted = true;
    sink_open(sink, 0);
    for (unsigned i = 0; i < 200; i++) {
        sink_play(sink);
        sink_caps(sink, 0, VIDEO_AVC, avcc);
        put_frames(sink, i * 5, i % 4 == 3 ? 0 : 5);
        sink_stop(sink);
        if (i == 20) {
            n_threads = count_entries("/proc/self/task");
            n_fds = count_entries("/proc/self/fd");
        }
    }
    expect_entries_at_most("/proc/self/task", n_threads);
    expect_entries_at_most("/proc/self/fd", n_fds);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_ERROR), ==, 0);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, >, 0);
}

static gpointer
push_for_ever(gpointer data)
{
    Sink *sink = data;
    g_autoptr(GBytes) large = g_bytes_new_take(g_malloc0(64 * 1024), 64 * 1024);
    GstFlowReturn result = GST_FLOW_OK;
    for (unsigned i = 0; result == GST_FLOW_OK; i++)
        result = sink_push(sink, 0, i * 40, i * 40, i % 25 == 0, large);
    return GINT_TO_POINTER(result);
}

/* Offline and nobody to take it: the source is held back before anything is dropped, and let go at
 * once when the pipeline is stopped. */
static void
test_offline_holds_back(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) avcc = avcc_720p();
    gst_util_set_object_arg(G_OBJECT(sink->element), "streaming-type", "offline");
    g_object_set(sink->element, "spool-limit", G_GUINT64_CONSTANT(16 << 20), "file-start-time",
                 G_GUINT64_CONSTANT(1600000000), NULL);
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    GThread *thread = g_thread_new("source", push_for_ever, sink);
    uint64_t frames = 0;
    /* Until it is full and nothing moves any more. */
    for (unsigned same = 0, n = 0;
         same < 4 || (sink_stat(sink, "spool-bytes") <= 11 << 20 && n < 200); n++) {
        g_usleep(100 * 1000);
        const uint64_t now = sink_stat(sink, "frames");
        same = now > 0 && now == frames ? same + 1 : 0;
        frames = now;
    }
    g_assert_cmpuint(sink_stat(sink, "fragments-dropped"), ==, 0);
    g_assert_cmpuint(sink_stat(sink, "spool-bytes"), >, 11 << 20);
    sink_stop(sink);
    g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(thread)), ==, GST_FLOW_FLUSHING);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, frames);
    g_assert_cmpint(STORED(stored, 0).pts_ms, ==, 1600000000000);
}

/* Sound that is not live waits for pictures that do not come; a flush lets it go. */
static gpointer
push_sound(gpointer data)
{
    Sink *sink = data;
    g_autoptr(GBytes) samples = bytes_of("0123456789abcdef", 16);
    GstFlowReturn result = GST_FLOW_OK;
    for (unsigned i = 0; result == GST_FLOW_OK && i < 1000; i++)
        result = sink_push(sink, 1, i * 20, -1, true, samples);
    return GINT_TO_POINTER(result);
}

static void
test_flush(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    sink_open(sink, 0);
    sink_open(sink, 1);
    sink_play(sink);
    sink_caps(sink, 1, AUDIO_MULAW, NULL);
    GThread *thread = g_thread_new("sound", push_sound, sink);
    g_usleep(200 * 1000);
    gst_pad_push_event(sink->feeds[1], gst_event_new_flush_start());
    g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(thread)), ==, GST_FLOW_FLUSHING);
    gst_pad_push_event(sink->feeds[1], gst_event_new_flush_stop(TRUE));

    g_autoptr(GBytes) avcc = avcc_720p();
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 50);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored_count(stored, 1), ==, 50);
}

/* After a seek back the frames follow the ones before. */
static void
test_seek_back(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 50);
    sink_eos(sink, 0);
    gst_pad_push_event(sink->feeds[0], gst_event_new_flush_start());
    gst_pad_push_event(sink->feeds[0], gst_event_new_flush_stop(TRUE));
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    gst_pad_push_event(sink->feeds[0], gst_event_new_segment(&segment));
    put_frames(sink, 0, 50);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 100);
    for (guint i = 1; i < 100; i++)
        g_assert_cmpint(STORED(stored, i).pts_ms - STORED(stored, i - 1).pts_ms, ==, 40);
}

static GstEvent *
metadata(const char *name, const char *value, gboolean persist)
{
    return gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM,
                                gst_structure_new("kvs-add-metadata", "name", G_TYPE_STRING, name,
                                                  "value", G_TYPE_STRING, value, "persist",
                                                  G_TYPE_BOOLEAN, persist, NULL));
}

static void
test_metadata(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) avcc = avcc_720p();
    g_autofree char *long_name = g_strnfill(129, 'x');
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 10);
    g_assert_true(gst_pad_push_event(sink->feeds[0], metadata("door", "open", FALSE)));
    g_assert_true(gst_element_send_event(sink->element, metadata("site", "north", TRUE)));
    put_frames(sink, 10, 60);
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_WARNING), ==, 0);

    g_assert_false(gst_pad_push_event(sink->feeds[0], metadata(long_name, "1", FALSE)));
    g_assert_false(gst_pad_push_event(sink->feeds[0], metadata("AWS_MINE", "1", FALSE)));
    g_assert_false(gst_pad_push_event(
        sink->feeds[0], gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM,
                                             gst_structure_new("kvs-add-metadata", "name",
                                                               G_TYPE_STRING, "a", NULL))));
    g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_WARNING), ==, 3);
    sink_stop(sink);

    g_autoptr(Stored) stored = stored_read(sink);
    static const char *const expected[] = {"0 door=open", "0 site=north", "1 site=north",
                                           "2 site=north"};
    g_assert_cmpuint(stored->tags->len, ==, G_N_ELEMENTS(expected));
    for (guint i = 0; i < stored->tags->len; i++)
        g_assert_cmpstr(g_ptr_array_index(stored->tags, i), ==, expected[i]);
}

/* Nothing can be decoded before a key frame, so one is asked for; and again in a GOP that goes on.
 */
static void
test_force_key(void)
{
    g_autoptr(Sink) sink = sink_new(FALSE);
    g_autoptr(GBytes) avcc = avcc_720p();
    g_autoptr(GBytes) unit = avc_unit(false, 1);
    g_autoptr(GBytes) key = avc_unit(true, 2);
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    sink_push(sink, 0, 0, 0, false, unit);
    sink_push(sink, 0, 40, 40, false, unit);
    g_assert_cmpint(sink->n_asked_keys, ==, 1); /* not for each frame */
    g_assert_cmpuint(sink_stat(sink, "frames-left-out"), ==, 2);
    sink_push(sink, 0, 80, 80, true, key);
    g_usleep(2100 * 1000);
    for (int i = 1; i < 12; i++)
        sink_push(sink, 0, i * 1000, i * 1000, false, unit);
    g_assert_cmpint(sink->n_asked_keys, ==, 2);
}

/* The states of the stream come as element messages with a reason, and no secret in them. */
static void
test_messages(void)
{
    g_autoptr(Sink) sink = sink_new(TRUE);
    g_autoptr(GBytes) avcc = avcc_720p();
    sink_open(sink, 0);
    sink_play(sink);
    sink_caps(sink, 0, VIDEO_AVC, avcc);
    put_frames(sink, 0, 5);
    bool is_waiting = false;
    while (!is_waiting) {
        g_autoptr(GstMessage) message =
            gst_bus_timed_pop_filtered(sink->bus, 20 * GST_SECOND, GST_MESSAGE_ELEMENT);
        g_assert_nonnull(message);
        const GstStructure *structure = gst_message_get_structure(message);
        g_assert_true(gst_structure_has_name(structure, "kvg-stream-state"));
        const char *reason = gst_structure_get_string(structure, "reason");
        g_assert_null(strstr(reason, "a-secret-of-the-test"));
        is_waiting = g_str_equal(gst_structure_get_string(structure, "state"), "waiting");
        if (is_waiting)
            g_assert_nonnull(strstr(reason, "127.0.0.1"));
    }
    /* Stopping does not wait for a service that cannot be reached. */
    const gint64 before_us = g_get_monotonic_time();
    g_object_set(sink->element, "stop-stream-timeout", 120, NULL);
    sink_stop(sink);
    g_assert_cmpint(g_get_monotonic_time() - before_us, <, 20 * G_USEC_PER_SEC);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 5);
}

/* A pad without a peer, and one that is taken away, do not hold up the end. */
static void
test_unlinked(void)
{
    for (unsigned released = 0; released < 2; released++) {
        g_autoptr(Sink) sink = sink_new(FALSE);
        g_autoptr(GBytes) avcc = avcc_720p();
        sink_open(sink, 0);
        if (released == 1)
            sink_open(sink, 1);
        else
            gst_object_unref(gst_element_request_pad_simple(sink->element, "audio_%u"));
        sink_play(sink);
        sink_caps(sink, 0, VIDEO_AVC, avcc);
        put_frames(sink, 0, 25);
        sink_eos(sink, 0);
        g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1 - released);
        if (released == 1) {
            g_autoptr(GstPad) audio = gst_pad_get_peer(sink->feeds[1]);
            gst_element_release_request_pad(sink->element, audio);
            g_assert_cmpuint(sink_messages(sink, GST_MESSAGE_EOS), ==, 1);
        }
        sink_stop(sink);
        g_autoptr(Stored) stored = stored_read(sink);
        g_assert_cmpuint(stored->frames->len, ==, 25);
    }
}

/* A second element cannot write into the same stream; it says so. */
static void
test_busy(void)
{
    g_autoptr(Sink) first = sink_new(TRUE);
    g_autoptr(Sink) second = sink_new(TRUE);
    sink_open(first, 0);
    sink_play(first);
    g_object_set(second->element, "spool-path", first->folder, NULL);
    g_assert_cmpint(gst_element_set_state(second->element, GST_STATE_PAUSED), ==,
                    GST_STATE_CHANGE_FAILURE);
    g_assert_cmpuint(sink_messages(second, GST_MESSAGE_ERROR), ==, 1);
}

static void
on_metric(GstElement *element, gpointer pointer, gpointer user_data)
{
    const KvgSinkMetric *metric = pointer;
    unsigned *n = user_data;
    g_assert_cmpint(metric->is_first, ==, *n == 0);
    g_assert_cmpuint(metric->frames, ==, *n * 25 + 1);
    g_assert_cmpuint(metric->spool_bytes, >, 0);
    (*n)++;
}

/* At each key frame, if asked for. */
static void
test_metrics(void)
{
    for (int wanted = 0; wanted < 2; wanted++) {
        g_autoptr(Sink) sink = sink_new(FALSE);
        g_autoptr(GBytes) avcc = avcc_720p();
        unsigned n = 0;
        g_object_set(sink->element, "get-kvs-metrics", wanted == 1, NULL);
        g_signal_connect(sink->element, "stream-client-metric", G_CALLBACK(on_metric), &n);
        sink_open(sink, 0);
        sink_play(sink);
        sink_caps(sink, 0, VIDEO_AVC, avcc);
        put_frames(sink, 0, 100);
        g_assert_cmpuint(n, ==, wanted == 1 ? 4 : 0);
    }
}

/* Many sinks of one program share what can be shared, and leave nothing. */
static void
test_many(void)
{
    enum { N = 30 };
    g_autoptr(GBytes) avcc = avcc_720p();
    Sink *sinks[N];
    const unsigned n_threads = count_entries("/proc/self/task");
    for (unsigned i = 0; i < N; i++) {
        g_autofree char *name = g_strdup_printf("gate-%u", i);
        sinks[i] = sink_new(TRUE);
        g_object_set(sinks[i]->element, "stream-name", name, "spool-path", sinks[0]->folder, NULL);
        sink_open(sinks[i], 0);
        sink_play(sinks[i]);
        sink_caps(sinks[i], 0, VIDEO_AVC, avcc);
        put_frames(sinks[i], 0, 30);
    }
    g_assert_cmpuint(count_entries("/proc/self/task"), <=, n_threads + 3);
    for (unsigned i = N; i > 0; i--) {
        g_assert_cmpuint(sink_stat(sinks[i - 1], "frames"), ==, 30);
        sink_free(sinks[i - 1]);
    }
    g_assert_cmpuint(count_entries("/proc/self/task"), <=, n_threads);
}

/* The element as GStreamer's own tools for tests see it. */
static void
test_harness(void)
{
    g_autoptr(Sink) sink = sink_new(TRUE);
    GstHarness *harness = gst_harness_new_with_element(sink->element, "video_0", NULL);
    g_autoptr(GBytes) avcc = avcc_720p();
    g_autoptr(GstCaps) caps = gst_caps_from_string(VIDEO_AVC);
    g_autoptr(GstBuffer) codec_data = gst_buffer_new_wrapped_bytes(avcc);
    gst_caps_set_simple(caps, "codec_data", GST_TYPE_BUFFER, codec_data, NULL);
    gst_harness_set_src_caps(harness, g_steal_pointer(&caps));
    for (unsigned i = 0; i < 30; i++) {
        g_autoptr(GBytes) unit = avc_unit(i == 0, i);
        GstBuffer *buffer = gst_buffer_new_wrapped_bytes(unit);
        GST_BUFFER_PTS(buffer) = i * 33 * GST_MSECOND;
        if (i > 0)
            GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
        g_assert_cmpint(gst_harness_push(harness, buffer), ==, GST_FLOW_OK);
    }
    g_assert_true(gst_harness_push_event(harness, gst_event_new_eos()));
    g_assert_cmpuint(sink_stat(sink, "frames"), ==, 30);
    gst_harness_teardown(harness);
    sink_stop(sink);
    g_autoptr(Stored) stored = stored_read(sink);
    g_assert_cmpuint(stored->frames->len, ==, 30);
}

int
main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_assert_true(kvg_plugin_register_static());
    g_test_add_func("/states/late-pad", test_late_pad);
    g_test_add_func("/states/let-go", test_let_go);
    g_test_add_func("/states/cycles", test_cycles);
    g_test_add_func("/states/offline-holds-back", test_offline_holds_back);
    g_test_add_func("/states/flush", test_flush);
    g_test_add_func("/states/seek-back", test_seek_back);
    g_test_add_func("/states/metadata", test_metadata);
    g_test_add_func("/states/force-key", test_force_key);
    g_test_add_func("/states/messages", test_messages);
    g_test_add_func("/states/unlinked", test_unlinked);
    g_test_add_func("/states/busy", test_busy);
    g_test_add_func("/states/harness", test_harness);
    g_test_add_func("/states/metrics", test_metrics);
    g_test_add_func("/states/many", test_many);
    return g_test_run();
}
