#include "agent/encoder.h"
#include "base/clock.h"
#include "os/file.h"
#include "os/log.h"
#include <errno.h>
#include <kvg/error.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOG_DOMAIN "agent"
#define PROBE_MS 8000
#define MAX_CACHE_BYTES 65536

struct _KvgEncoder {
    const char *name;
    const char *format, *profile, *feeder;
    const char *bitrate;    /* property; NULL: through the controls of V4L2 */
    unsigned bits_per_unit; /* of that property */
    const char *key;        /* property: pictures from key frame to key frame */
    const char *settings;   /* "property=value ...", set where they exist */
};

/* Best first: what costs no processor time, then what gives the best picture for it. */
static const KvgEncoder encoders[] = {
    {"nvv4l2h264enc", "NV12", NULL, "nvvidconv", "bitrate", 1, "idrinterval",
     "insert-sps-pps=true maxperf-enable=true preset-level=1 num-B-Frames=0 control-rate=1"},
    {"nvh264enc", "NV12", NULL, NULL, "bitrate", 1000, "gop-size",
     "bframes=0 zerolatency=true rc-mode=cbr preset=low-latency-hq"},
    {"vah264enc", "NV12", NULL, NULL, "bitrate", 1000, "key-int-max",
     "b-frames=0 rate-control=cbr target-usage=6"},
    {"vah264lpenc", "NV12", NULL, NULL, "bitrate", 1000, "key-int-max",
     "b-frames=0 rate-control=cbr target-usage=6"},
    {"vaapih264enc", "NV12", NULL, NULL, "bitrate", 1000, "keyframe-period",
     "max-bframes=0 rate-control=cbr tune=none"},
    {"qsvh264enc", "NV12", NULL, NULL, "bitrate", 1000, "gop-size",
     "b-frames=0 rate-control=cbr low-latency=true"},
    {"v4l2h264enc", "NV12", NULL, NULL, NULL, 0, NULL, ""},
    {"omxh264enc", "NV12", NULL, NULL, "target-bitrate", 1, "interval-intraframes",
     "control-rate=variable b-frames=0"},
    {"x264enc", "I420", "main", NULL, "bitrate", 1000, "key-int-max",
     "tune=zerolatency speed-preset=superfast bframes=0 threads=1"},
    {"openh264enc", "I420", "constrained-baseline", NULL, "bitrate", 1, "gop-size",
     "rate-control=bitrate complexity=medium usage-type=camera scene-change-detection=false"},
};

/* Answers of this process. */
static struct {
    GMutex lock; /* held while one is tried: others wait for the answer, they would ask the same */
    char *cache_path;
    json_t *results;  /* name: "" works, else why not */
    json_t *rejected; /* name: why; what failed at work, though it had worked when tried */
    bool is_loaded;
} known;

const char *
kvg_encoder_name(const KvgEncoder *encoder)
{
    return encoder->name;
}

const char *
kvg_encoder_format(const KvgEncoder *encoder)
{
    return encoder->format;
}

const char *
kvg_encoder_profile(const KvgEncoder *encoder)
{
    return encoder->profile;
}

const char *
kvg_encoder_feeder(const KvgEncoder *encoder)
{
    return encoder->feeder;
}

static const KvgEncoder *
find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++) {
        if (g_strcmp0(encoders[i].name, name) == 0)
            return &encoders[i];
    }
    return NULL;
}

static bool
is_installed(const char *name)
{
    g_autoptr(GstElementFactory) factory = gst_element_factory_find(name);
    return factory != NULL;
}

/* ---- set up ---- */

/* Drivers differ in what they have; what is missing is left out. */
static void
set_if(GstElement *element, const char *name, const char *value)
{
    if (g_object_class_find_property(G_OBJECT_GET_CLASS(element), name) != NULL)
        gst_util_set_object_arg(G_OBJECT(element), name, value);
}

static void
set_up(const KvgEncoder *encoder, GstElement *element, unsigned bitrate_bps, unsigned key_distance)
{
    g_auto(GStrv) pairs = g_strsplit(encoder->settings, " ", -1);
    for (char **pair = pairs; *pair != NULL && **pair != '\0'; pair++) {
        char *value = strchr(*pair, '=');
        *value++ = '\0';
        set_if(element, *pair, value);
    }
    g_autofree char *key = g_strdup_printf("%u", key_distance);
    if (encoder->bitrate == NULL) {
        g_autofree char *controls =
            g_strdup_printf("controls,video_bitrate=%u,h264_i_frame_period=%u,"
                            "video_bitrate_mode=1,repeat_sequence_header=1",
                            bitrate_bps, key_distance);
        set_if(element, "extra-controls", controls);
        return;
    }
    g_autofree char *bitrate = g_strdup_printf("%u", bitrate_bps / encoder->bits_per_unit);
    set_if(element, encoder->bitrate, bitrate);
    set_if(element, encoder->key, key);
    if (strcmp(encoder->name, "nvv4l2h264enc") == 0)
        set_if(element, "iframeinterval", key);
}

GstElement *
kvg_encoder_make(const KvgEncoder *encoder, unsigned bitrate_bps, unsigned key_distance)
{
    GstElement *element = gst_element_factory_make(encoder->name, NULL);
    if (element != NULL)
        set_up(encoder, element, bitrate_bps, key_distance);
    return element;
}

/* ---- the trial, in a process of its own ---- */

static int
say(const char *why)
{
    printf("%s\n", why);
    return 1;
}

static GstPadProbeReturn
count_picture(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    ++*(unsigned *)user_data;
    return GST_PAD_PROBE_OK;
}

int
kvg_encoder_probe_main(const char *name)
{
    gst_init(NULL, NULL);
    const KvgEncoder *encoder = find(name);
    if (encoder == NULL || !is_installed(name))
        return say("not installed");
    g_autofree char *line = g_strdup_printf(
        "videotestsrc num-buffers=3 ! video/x-raw,format=%s,width=640,height=352,framerate=15/1 ! "
        "%s%s%s name=encoder ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! fakesink "
        "name=out",
        encoder->format, encoder->feeder != NULL ? encoder->feeder : "",
        encoder->feeder != NULL ? " ! " : "", name);
    g_autoptr(GError) error = NULL;
    g_autoptr(GstElement) pipeline = gst_parse_launch(line, &error);
    if (error != NULL)
        return say(error->message);
    g_autoptr(GstElement) element = gst_bin_get_by_name(GST_BIN(pipeline), "encoder");
    set_up(encoder, element, 1000000, 15);
    unsigned n_pictures = 0;
    g_autoptr(GstElement) out = gst_bin_get_by_name(GST_BIN(pipeline), "out");
    g_autoptr(GstPad) pad = gst_element_get_static_pad(out, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, count_picture, &n_pictures, NULL);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    g_autoptr(GstBus) bus = gst_element_get_bus(pipeline);
    g_autoptr(GstMessage) message = gst_bus_timed_pop_filtered(bus, (PROBE_MS - 1000) * GST_MSECOND,
                                                               GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    int status = 0;
    if (message == NULL) {
        status = say("no picture within 7 s");
    } else if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        gst_message_parse_error(message, &error, NULL);
        status = say(error->message);
    } else if (n_pictures < 2) {
        status = say("it takes pictures and gives none");
    }
    fflush(stdout);
    _exit(status); /* a driver that hangs must not hang its end */
}

/* What the child prints, until it ends or the time is over. */
static char *
hear(int fd, int64_t deadline_us)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (;;) {
        const int64_t left_ms = (deadline_us - kvg_clock_mono_us()) / 1000;
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&wait, 1, (int)left_ms) <= 0)
            return NULL;
        char piece[256];
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0)
            return g_strdup(g_strstrip(text->str));
        if (text->len < 1024)
            g_string_append_len(text, piece, n);
    }
}

/* "" if @name works; else why not. Owned. */
static char *
try_one(const char *name)
{
    if (!is_installed(name))
        return g_strdup("not installed");
    const char *const words[] = {"/proc/self/exe", "agent", "--probe-encoder", name, NULL};
    g_auto(GStrv) argv = g_strdupv((GStrv)(uintptr_t)words);
    GPid child = 0;
    int out = -1;
    g_autoptr(GError) error = NULL;
    if (!g_spawn_async_with_pipes(NULL, argv, NULL,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                                  NULL, &child, NULL, &out, NULL, &error))
        return g_strdup_printf("could not be tried: %s", error->message);
    g_auto(KvgFd) fd = out;
    g_autofree char *said = hear(fd, kvg_clock_mono_us() + PROBE_MS * 1000);
    if (said == NULL)
        kill(child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (said == NULL)
        return g_strdup_printf("hangs: no picture within %d s", PROBE_MS / 1000);
    if (WIFSIGNALED(status))
        return g_strdup_printf("crashes (signal %d)", WTERMSIG(status));
    if (WEXITSTATUS(status) == 0)
        return g_strdup("");
    return g_strdup(said[0] != '\0' ? said : "fails");
}

/* ---- answers ---- */

/* Another GStreamer, another set of plugins, another start of the machine: asked again. */
static char *
cache_key(void)
{
    g_autofree char *version = gst_version_string();
    g_autofree char *boot = kvg_file_read("/proc/sys/kernel/random/boot_id", 64, NULL, NULL);
    GList *plugins = gst_registry_get_plugin_list(gst_registry_get());
    const unsigned n = g_list_length(plugins);
    gst_plugin_list_free(plugins);
    return g_strdup_printf("%s, %u plugins, %s", version, n, boot != NULL ? g_strstrip(boot) : "");
}

static void
load_cache(void)
{
    if (known.is_loaded)
        return;
    known.is_loaded = true;
    known.results = json_object();
    known.rejected = json_object();
    if (known.cache_path == NULL)
        return;
    g_autofree char *key = cache_key();
    size_t len = 0;
    g_autofree char *text = kvg_file_read(known.cache_path, MAX_CACHE_BYTES, &len, NULL);
    g_autoptr(json_t) cache = text != NULL ? json_loadb(text, len, 0, NULL) : NULL;
    const json_t *results = json_object_get(cache, "results");
    if (g_strcmp0(kvg_json_get_string(cache, "machine"), key) == 0 && json_is_object(results))
        json_object_update(known.results, (json_t *)(uintptr_t)results);
}

static void
save_cache(void)
{
    if (known.cache_path == NULL)
        return;
    g_autofree char *key = cache_key();
    g_autoptr(json_t) cache = json_pack("{s:s, s:O}", "machine", key, "results", known.results);
    g_autofree char *text = kvg_json_to_text(cache);
    g_autoptr(GError) error = NULL;
    if (!kvg_file_replace(known.cache_path, text, strlen(text), 0600, &error))
        KVG_LOG_INFO(LOG_DOMAIN, "PATH", known.cache_path, "%s", error->message);
}

/* Under the lock. Static until the next answer about it. */
static const char *
result_of(const char *name)
{
    load_cache();
    const char *result = kvg_json_get_string(known.rejected, name);
    if (result != NULL)
        return result;
    result = kvg_json_get_string(known.results, name);
    if (result != NULL)
        return result;
    g_autofree char *tried = try_one(name);
    g_autofree char *valid = g_utf8_make_valid(tried, -1);
    json_object_set_new(known.results, name, json_string(valid));
    if (strcmp(valid, "not installed") != 0) {
        KVG_LOG_INFO(LOG_DOMAIN, "ENCODER", name, "encoder %s: %s", name,
                     valid[0] == '\0' ? "works" : valid);
        save_cache();
    }
    return kvg_json_get_string(known.results, name);
}

void
kvg_encoder_set_cache(const char *path)
{
    g_mutex_lock(&known.lock);
    g_free(known.cache_path);
    known.cache_path = g_strdup(path);
    g_mutex_unlock(&known.lock);
}

static const KvgEncoder *
first_that_works(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++) {
        if (result_of(encoders[i].name)[0] == '\0')
            return &encoders[i];
    }
    return NULL;
}

static const KvgEncoder *
best_locked(GError **error)
{
    const KvgEncoder *best = first_that_works();
    if (best == NULL && json_object_size(known.rejected) > 0) {
        json_object_clear(known.rejected); /* better one that failed once than none */
        best = first_that_works();
    }
    if (best != NULL)
        return best;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                        "no H.264 encoder works on this machine; install gstreamer1.0-plugins-ugly "
                        "(x264enc)");
    return NULL;
}

const KvgEncoder *
kvg_encoder_choose(const char *wanted, GError **error)
{
    if (wanted == NULL) {
        g_mutex_lock(&known.lock);
        const KvgEncoder *best = best_locked(error);
        g_mutex_unlock(&known.lock);
        return best;
    }
    const KvgEncoder *encoder = find(wanted);
    if (encoder == NULL || !is_installed(wanted)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    encoder == NULL ? "encoder: %s is none that kvg knows; write encoder: auto"
                                    : "encoder: %s is not installed; write encoder: auto",
                    wanted);
        return NULL;
    }
    g_mutex_lock(&known.lock);
    g_autofree char *result = g_strdup(result_of(wanted));
    g_mutex_unlock(&known.lock);
    if (result[0] == '\0')
        return encoder;
    g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                "encoder: %s does not work here: %s; write encoder: auto", wanted, result);
    return NULL;
}

void
kvg_encoder_reject(const char *name, const char *why)
{
    g_mutex_lock(&known.lock);
    load_cache();
    json_object_set_new(known.rejected, name, json_sprintf("failed at work: %s", why));
    g_mutex_unlock(&known.lock);
    KVG_LOG_WARNING(LOG_DOMAIN, "ENCODER", name, "encoder %s: %s; another one is used", name, why);
}

json_t *
kvg_encoder_try_all(void)
{
    json_t *all = json_array();
    g_mutex_lock(&known.lock);
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++) {
        const char *result = result_of(encoders[i].name);
        json_array_append_new(all, json_pack("{s:s, s:s}", "encoder", encoders[i].name, "result",
                                             result[0] == '\0' ? "works" : result));
    }
    g_mutex_unlock(&known.lock);
    return all;
}
