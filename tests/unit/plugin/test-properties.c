/* The face of the element: whatever a pipeline written for AWS's own kvssink sets, asks or listens
 * to. */
#include "plugin/kvssink.h"
#include "plugin/report.h"
#include "plugin/settings.h"
#include "sink.h"

#include <kvg/kvssink.h>
#include <string.h>

typedef struct {
    const char *name;
    const char *type;
    const char *value; /* default, as text; NULL: none, or not to be compared */
} Row;

/* From an inspection of version 3.6.0 of the element; user-agent and file-start-time differ by
 * nature. */
static const Row rows[] = {
    {"absolute-fragment-times", "gboolean", "true"},
    {"access-key", "gchararray", "access_key"},
    {"allow-create-stream", "gboolean", "true"},
    {"avg-bandwidth-bps", "guint", "4194304"},
    {"aws-region", "gchararray", "us-west-2"},
    {"buffer-duration", "guint", "120"},
    {"codec-id", "gchararray", "V_MPEG4/ISO/AVC"},
    {"completion-timeout", "guint", "10"},
    {"connection-staleness", "guint", "60"},
    {"connection-timeout", "guint", "5"},
    {"content-type", "gchararray", NULL},
    {"credential-path", "gchararray", ".kvs/credential"},
    {"disable-buffer-clipping", "gboolean", "false"},
    {"file-start-time", "guint64", NULL},
    {"fragment-acks", "gboolean", "true"},
    {"fragment-duration", "guint", "2000"},
    {"frame-timecodes", "gboolean", "true"},
    {"framerate", "guint", "25"},
    {"get-kvs-metrics", "gboolean", "false"},
    {"iot-certificate", "GstStructure", NULL},
    {"key-frame-fragmentation", "gboolean", "true"},
    {"log-config", "gchararray", "../kvs_log_configuration"},
    {"max-latency", "guint", "60"},
    {"recalculate-metrics", "gboolean", "true"},
    {"replay-duration", "guint", "40"},
    {"restart-on-error", "gboolean", "true"},
    {"retention-period", "guint", "2"},
    {"rotation-period", "guint", "3600"},
    {"secret-key", "gchararray", "secret_key"},
    {"session-token", "gchararray", "session_token"},
    {"stop-stream-timeout", "guint", "120"},
    {"storage-size", "guint", "128"},
    {"stream-name", "gchararray", "DEFAULT_STREAM"},
    {"stream-tags", "GstStructure", NULL},
    {"streaming-type", "GstKvsSinkStreamingType", "realtime"},
    {"timecode-scale", "guint", "1"},
    {"track-name", "gchararray", "kinesis_video"},
    {"use-original-pts", "gboolean", "false"},
    {"user-agent", "gchararray", NULL},
};
G_STATIC_ASSERT(G_N_ELEMENTS(rows) == 39);

static void
check_range(GParamSpec *spec)
{
    if (G_IS_PARAM_SPEC_UINT(spec)) {
        g_assert_cmpuint(G_PARAM_SPEC_UINT(spec)->minimum, ==, 0);
        g_assert_cmpuint(G_PARAM_SPEC_UINT(spec)->maximum, ==, G_MAXUINT);
    } else if (G_IS_PARAM_SPEC_UINT64(spec)) {
        g_assert_cmpuint(G_PARAM_SPEC_UINT64(spec)->minimum, ==, 0);
        g_assert_cmpuint(G_PARAM_SPEC_UINT64(spec)->maximum, ==, G_MAXUINT64);
    }
}

static void
test_properties(void)
{
    g_autoptr(GstElement) element = gst_object_ref_sink(gst_element_factory_make("kvssink", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(element), rows[i].name);
        g_test_message("%s", rows[i].name);
        g_assert_nonnull(spec);
        g_assert_cmpstr(g_type_name(spec->value_type), ==, rows[i].type);
        g_assert_cmpint(spec->flags & G_PARAM_READWRITE, ==, G_PARAM_READWRITE);
        g_assert_cmpuint(strlen(g_param_spec_get_blurb(spec)), >=, 20);
        check_range(spec);
        g_auto(GValue) value = G_VALUE_INIT;
        g_value_init(&value, spec->value_type);
        g_object_get_property(G_OBJECT(element), rows[i].name, &value);
        if (rows[i].value == NULL)
            continue;
        g_auto(GValue) expected = G_VALUE_INIT;
        g_value_init(&expected, spec->value_type);
        g_assert_true(gst_value_deserialize(&expected, rows[i].value));
        g_assert_cmpint(gst_value_compare(&value, &expected), ==, GST_VALUE_EQUAL);
        g_assert_true(g_param_value_defaults(spec, &value));
    }
    guint64 start_s = 0;
    g_object_get(element, "file-start-time", &start_s, NULL);
    g_assert_cmpint(ABS((gint64)start_s - g_get_real_time() / G_USEC_PER_SEC), <=, 60);
}

static void
test_streaming_type(void)
{
    g_autoptr(GEnumClass) class = g_type_class_ref(g_type_from_name("GstKvsSinkStreamingType"));
    static const char *const nicks[] = {"realtime", "near-realtime", "offline"};
    g_assert_cmpuint(class->n_values, ==, 3);
    for (int i = 0; i < 3; i++)
        g_assert_cmpstr(g_enum_get_value(class, i)->value_nick, ==, nicks[i]);
}

static void
test_secrets(void)
{
    g_autoptr(GstElement) element = gst_object_ref_sink(gst_element_factory_make("kvssink", NULL));
    g_autofree char *secret = NULL;
    g_autofree char *token = NULL;
    g_object_set(element, "secret-key", "wJalrXUtnFEMI", "session-token", "FwoGZXIvYXdz", NULL);
    g_object_get(element, "secret-key", &secret, "session-token", &token, NULL);
    g_assert_cmpstr(secret, ==, "(set)");
    g_assert_cmpstr(token, ==, "(set)");
}

static void
test_pads(void)
{
    static const char *const taken[][2] = {
        {"video_%u", "video/x-h264,stream-format=avc,alignment=au,width=16,height=16"},
        {"video_%u", "video/x-h264,stream-format=avc3,alignment=au,width=640,height=480"},
        {"video_%u", "video/x-h264,stream-format=byte-stream,alignment=au,width=640,height=480"},
        {"video_%u", "video/x-h265,stream-format=hvc1,alignment=au,width=640,height=480"},
        {"video_%u", "video/x-h265,stream-format=hev1,alignment=au,width=640,height=480"},
        {"video_%u", "video/x-h265,stream-format=byte-stream,alignment=au,width=64,height=64"},
        {"video_%u", "video/x-h265,alignment=au,width=640,height=480"},
        {"audio_%u", "audio/mpeg,mpegversion=4,stream-format=raw,channels=6,rate=96000"},
        {"audio_%u", "audio/mpeg,mpegversion=2,stream-format=raw,channels=1,rate=8000"},
        {"audio_%u", "audio/mpeg,mpegversion=4,stream-format=adts,framed=true,channels=2,rate=1"},
        {"audio_%u", "audio/x-alaw,channels=2,rate=192000"},
        {"audio_%u", "audio/x-mulaw,channels=1,rate=8000"},
    };
    static const char *const refused[][2] = {
        {"video_%u", "video/x-h264,stream-format=avc,alignment=nal,width=640,height=480"},
        {"video_%u", "video/x-raw,width=640,height=480"},
        {"audio_%u", "audio/mpeg,mpegversion=1,layer=3,channels=1,rate=8000"},
        {"audio_%u", "audio/x-mulaw,channels=3,rate=8000"},
    };
    g_autoptr(GstElementFactory) factory = gst_element_factory_find("kvssink");
    const GList *templates = gst_element_factory_get_static_pad_templates(factory);
    g_assert_cmpuint(g_list_length((GList *)(uintptr_t)templates), ==, 2);
    g_assert_cmpstr(((GstStaticPadTemplate *)templates->data)->name_template, ==, "audio_%u");
    g_autoptr(GstElement) element = gst_object_ref_sink(gst_element_factory_create(factory, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(taken) + G_N_ELEMENTS(refused); i++) {
        const bool is_taken = i < G_N_ELEMENTS(taken);
        const char *const *row = is_taken ? taken[i] : refused[i - G_N_ELEMENTS(taken)];
        GstPadTemplate *template = gst_element_get_pad_template(element, row[0]);
        g_autoptr(GstCaps) caps = gst_caps_from_string(row[1]);
        g_autoptr(GstCaps) may = gst_pad_template_get_caps(template);
        g_test_message("%s", row[1]);
        g_assert_cmpint(template->presence, ==, GST_PAD_REQUEST);
        g_assert_cmpint(gst_caps_is_subset(caps, may), ==, is_taken);
    }
    GstPad *pad = gst_element_request_pad_simple(element, "video_%u");
    g_assert_cmpstr(GST_PAD_NAME(pad), ==, "video_0");
    g_assert_null(gst_element_request_pad_simple(element, "video_%u")); /* at most one */
    gst_element_release_request_pad(element, pad);
    gst_object_unref(pad);
    pad = gst_element_request_pad_simple(element, "video_%u");
    g_assert_nonnull(pad);
    gst_object_unref(pad);
}

static void
on_ack(GstElement *element, gpointer pointer, gpointer user_data)
{
    *(KvgSinkFragmentAck *)user_data = *(const KvgSinkFragmentAck *)pointer;
}

static void
on_error(GstElement *element, guint64 status, gpointer user_data)
{
    *(guint64 *)user_data = status;
}

static void
test_signals(void)
{
    /* The layout that handlers written in C against the other library expect. */
    G_STATIC_ASSERT(offsetof(KvgSinkFragmentAck, ack_type) == 4);
    G_STATIC_ASSERT(offsetof(KvgSinkFragmentAck, timestamp) == 8);
    G_STATIC_ASSERT(offsetof(KvgSinkFragmentAck, sequence_number) == 16);
    G_STATIC_ASSERT(offsetof(KvgSinkFragmentAck, result) == 148);
    static const struct {
        const char *name;
        GSignalFlags flags;
        GType type;
    } expected[] = {{"stream-error", G_SIGNAL_RUN_LAST, G_TYPE_UINT64},
                    {"fragment-ack", G_SIGNAL_ACTION, G_TYPE_POINTER},
                    {"stream-client-metric", G_SIGNAL_ACTION, G_TYPE_POINTER}};
    g_autoptr(GstElement) element = gst_object_ref_sink(gst_element_factory_make("kvssink", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        GSignalQuery query;
        g_signal_query(g_signal_lookup(expected[i].name, G_OBJECT_TYPE(element)), &query);
        g_assert_cmpint(query.signal_flags & (G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION), ==,
                        expected[i].flags);
        g_assert_cmpuint(query.n_params, ==, 1);
        g_assert_true(query.param_types[0] == expected[i].type);
        g_assert_true(query.return_type == G_TYPE_NONE);
    }

    KvgSinkFragmentAck got = {0};
    guint64 status = 0;
    g_signal_connect(element, "fragment-ack", G_CALLBACK(on_ack), &got);
    g_signal_connect(element, "stream-error", G_CALLBACK(on_error), &status);
    KvgStreamAck ack = {KVG_STREAM_ACK_PERSISTED, 1700000000123, "9134385233318", 0, ""};
    kvg_report_ack(G_OBJECT(element), &ack);
    g_assert_cmpint(got.ack_type, ==, 3);
    g_assert_cmpuint(got.timestamp, ==, 1700000000123);
    g_assert_cmpstr(got.sequence_number, ==, "9134385233318");
    g_assert_cmpint(got.result, ==, 200);
    g_assert_cmpuint(status, ==, 0);
    ack = (KvgStreamAck){KVG_STREAM_ACK_ERROR, 5, "", 4002, "MAX_FRAGMENT_DURATION_REACHED"};
    kvg_report_ack(G_OBJECT(element), &ack);
    g_assert_cmpint(got.result, ==, 4002);
    g_assert_cmphex(status, ==, 0x5200005e);
    ack.error_id = 12;
    kvg_report_ack(G_OBJECT(element), &ack);
    g_assert_cmpint(got.result, ==, 7000);
}

/* A property that cannot be is refused at READY to PAUSED, in a sentence that names it. */
static void
test_refused(void)
{
    static const struct {
        const char *name, *value, *says;
    } cases[] = {
        {"stream-name", "a b", "stream-name"},
        {"secret-key", "secret_key", "secret-key"},
        {"ca-path", "/nowhere/ca.pem", "/nowhere/ca.pem"},
        {"iot-certificate", "iot-certificate,endpoint=a,cert-path=b,key-path=c,ca-path=d",
         "role-aliases"},
        {"iot-certificate", "iot-certificate,endpoint=a,cert-path=b,key-path=c,role-aliases=d",
         "ca-path"},
        {"aws-region", "", "aws-region"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Sink) sink = sink_new(TRUE);
        gst_util_set_object_arg(G_OBJECT(sink->element), cases[i].name, cases[i].value);
        g_assert_cmpint(gst_element_set_state(sink->element, GST_STATE_PLAYING), ==,
                        GST_STATE_CHANGE_FAILURE);
        g_autoptr(GstMessage) message = gst_bus_pop_filtered(sink->bus, GST_MESSAGE_ERROR);
        g_autoptr(GError) error = NULL;
        g_assert_nonnull(message);
        gst_message_parse_error(message, &error, NULL);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, cases[i].says));
        g_assert_null(strstr(error->message, "a-secret-of-the-test"));
    }
}

int
main(int argc, char **argv)
{
    static const char *const variables[] = {"AWS_DEFAULT_REGION", "AWS_CA_BUNDLE",
                                            "KVSSINK_CA_CERT_PATH", "CONTROL_PLANE_URI"};
    for (size_t i = 0; i < G_N_ELEMENTS(variables); i++)
        g_unsetenv(variables[i]);
    gst_init(&argc, &argv);
    g_test_init(&argc, &argv, NULL);
    g_assert_true(kvg_plugin_register_static());
    g_test_add_func("/kvssink/properties", test_properties);
    g_test_add_func("/kvssink/streaming-type", test_streaming_type);
    g_test_add_func("/kvssink/secrets", test_secrets);
    g_test_add_func("/kvssink/pads", test_pads);
    g_test_add_func("/kvssink/signals", test_signals);
    g_test_add_func("/kvssink/refused", test_refused);
    return g_test_run();
}
