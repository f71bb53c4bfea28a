#include "frames/tap.h"
#include "frames/address.h"
#include "frames/decoder.h"
#include "os/file.h"
#include "os/log.h"
#include "plugin/lock.h"
#include <stdatomic.h>

#define LOG_DOMAIN "frames"
/* A decoder that failed is not built again sooner. */
#define RETRY_US (5 * G_TIME_SPAN_SECOND)

struct _KvgFramesTap {
    gatomicrefcount refs;
    char *camera;
    _Atomic bool wanted;
    struct {           /* the putting thread's */
        GstCaps *caps; /* what the decoder was made for */
        int64_t retry_us;
    } mine;
    struct {
        pthread_mutex_t lock; /* held while a picture is published, so that closing waits for it */
        KvgFramesServer *server; /* NULL: closed */
        KvgFramesDecoder *decoder;
        GstCaps *caps; /* that it was made for */
        bool is_making;
        int64_t retry_us; /* after a failure */
        uint64_t copies;  /* of decoders that are gone */
    } shared;
};

/* ---- decoding ---- */

static void
unref_tap(void *tap)
{
    kvg_frames_tap_unref(tap);
}

static void
on_decoded(KvgFramesDecoder *decoder,
           const KvgFramesPicture *picture,
           void *owner,
           GDestroyNotify give_back,
           void *user_data)
{
    KvgFramesTap *tap = user_data;
    pthread_mutex_lock(&tap->shared.lock);
    const bool is_current = tap->shared.server != NULL && tap->shared.decoder == decoder;
    if (is_current)
        kvg_frames_server_publish(tap->shared.server, picture, owner, give_back);
    pthread_mutex_unlock(&tap->shared.lock);
    if (!is_current)
        give_back(owner);
}

static void
stop_decoder(KvgFramesTap *tap)
{
    pthread_mutex_lock(&tap->shared.lock);
    KvgFramesDecoder *decoder = g_steal_pointer(&tap->shared.decoder);
    if (decoder != NULL)
        tap->shared.copies += kvg_frames_decoder_copies(decoder);
    pthread_mutex_unlock(&tap->shared.lock);
    if (decoder != NULL)
        kvg_frames_decoder_stop(decoder);
}

/* On the server's thread. The decoder is made with the next frame, when it is known for what.
 */
static void
on_demand(bool wanted, void *user_data)
{
    KvgFramesTap *tap = user_data;
    atomic_store(&tap->wanted, wanted);
    KVG_LOG_MESSAGE(LOG_DOMAIN, "CAMERA", tap->camera, "camera %s: %s", tap->camera,
                    wanted ? "an application looks at its frames"
                           : "no application looks at its frames any more");
    if (!wanted)
        stop_decoder(tap);
}

static void
note_failure(KvgFramesTap *tap, const char *why)
{
    KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", tap->camera,
                    "camera %s: its frames cannot be decoded for applications: %s", tap->camera,
                    why);
    pthread_mutex_lock(&tap->shared.lock);
    tap->shared.retry_us = g_get_monotonic_time() + RETRY_US;
    pthread_mutex_unlock(&tap->shared.lock);
    stop_decoder(tap);
}

/* What a decoder is to be made of, on its way to the thread that does. */
typedef struct {
    KvgFramesTap *tap;
    GstCaps *caps;
} Order;

/* Takes @made, unless nobody looks any more. */
static void
take_decoder(KvgFramesTap *tap, KvgFramesDecoder *made, GstCaps *caps)
{
    pthread_mutex_lock(&tap->shared.lock);
    tap->shared.is_making = false;
    const bool is_welcome = tap->shared.server != NULL && atomic_load(&tap->wanted);
    if (is_welcome) {
        tap->shared.decoder = made;
        gst_caps_replace(&tap->shared.caps, caps);
    }
    pthread_mutex_unlock(&tap->shared.lock);
    if (!is_welcome)
        kvg_frames_decoder_stop(made);
}

/* A thread of its own, since the first decoder of a process loads its plugin, and the thread that
 * puts is the one that uploads. */
static void *
run_make(void *data)
{
    Order *order = data;
    KvgFramesTap *tap = order->tap;
    g_autoptr(GError) error = NULL;
    KvgFramesDecoder *made =
        kvg_frames_decoder_new(order->caps, on_decoded, kvg_frames_tap_ref(tap), unref_tap, &error);
    if (made != NULL) {
        take_decoder(tap, made, order->caps);
    } else {
        kvg_frames_tap_unref(tap);
        note_failure(tap, error->message);
        pthread_mutex_lock(&tap->shared.lock);
        tap->shared.is_making = false;
        pthread_mutex_unlock(&tap->shared.lock);
    }
    gst_caps_unref(order->caps);
    kvg_frames_tap_unref(tap);
    g_free(order);
    return NULL;
}

static void
make_decoder(KvgFramesTap *tap, const GstCaps *caps)
{
    pthread_mutex_lock(&tap->shared.lock);
    const bool is_due = !tap->shared.is_making && tap->shared.server != NULL &&
                        g_get_monotonic_time() >= tap->shared.retry_us;
    tap->shared.is_making = tap->shared.is_making || is_due;
    pthread_mutex_unlock(&tap->shared.lock);
    if (!is_due)
        return;
    Order *order = g_new(Order, 1);
    *order = (Order){kvg_frames_tap_ref(tap), gst_caps_ref((GstCaps *)(uintptr_t)caps)};
    g_thread_unref(g_thread_new("kvg-decode", run_make, order));
}

/* The decoder for video of @caps (a reference); NULL: it is being made. */
static KvgFramesDecoder *
find_decoder(KvgFramesTap *tap, const GstCaps *caps)
{
    pthread_mutex_lock(&tap->shared.lock);
    g_autoptr(KvgFramesDecoder) decoder =
        tap->shared.decoder != NULL ? kvg_frames_decoder_ref(tap->shared.decoder) : NULL;
    const bool fits = decoder != NULL && gst_caps_is_equal(tap->shared.caps, caps);
    pthread_mutex_unlock(&tap->shared.lock);
    g_autofree char *failure = decoder != NULL ? kvg_frames_decoder_failure(decoder) : NULL;
    if (fits && failure == NULL)
        return g_steal_pointer(&decoder);
    if (failure != NULL)
        note_failure(tap, failure);
    else
        stop_decoder(tap);
    make_decoder(tap, caps);
    return NULL;
}

void
kvg_frames_tap_put(KvgFramesTap *tap, const GstCaps *caps, GstBuffer *buffer, int64_t wall_us)
{
    g_autoptr(KvgFramesDecoder) decoder = find_decoder(tap, caps);
    if (decoder != NULL)
        kvg_frames_decoder_put(decoder, buffer, wall_us);
}

bool
kvg_frames_tap_is_wanted(const KvgFramesTap *tap)
{
    return atomic_load(&((KvgFramesTap *)(uintptr_t)tap)->wanted);
}

/* ---- life ---- */

KvgFramesTap *
kvg_frames_tap_open(const char *folder, const char *camera, GError **error)
{
    if (!kvg_dir_make(folder, 0700, error))
        return NULL;
    KvgFramesTap *tap = g_new0(KvgFramesTap, 1);
    g_atomic_ref_count_init(&tap->refs);
    pthread_mutex_init(&tap->shared.lock, NULL);
    tap->camera = g_strdup(camera);
    g_autofree char *path = kvg_frames_socket_path(folder, camera);
    tap->shared.server = kvg_frames_server_start(path, on_demand, tap, error);
    if (tap->shared.server != NULL)
        return tap;
    kvg_frames_tap_unref(tap);
    return NULL;
}

KvgFramesTap *
kvg_frames_tap_ref(KvgFramesTap *tap)
{
    if (tap != NULL)
        g_atomic_ref_count_inc(&tap->refs);
    return tap;
}

void
kvg_frames_tap_unref(KvgFramesTap *tap)
{
    if (tap == NULL || !g_atomic_ref_count_dec(&tap->refs))
        return;
    gst_caps_replace(&tap->shared.caps, NULL);
    pthread_mutex_destroy(&tap->shared.lock);
    g_free(tap->camera);
    g_free(tap);
}

void
kvg_frames_tap_close(KvgFramesTap *tap)
{
    if (tap == NULL)
        return;
    pthread_mutex_lock(&tap->shared.lock);
    KvgFramesServer *server = g_steal_pointer(&tap->shared.server);
    pthread_mutex_unlock(&tap->shared.lock);
    kvg_frames_server_stop(server); /* says that nobody looks, if somebody did */
    stop_decoder(tap);
    kvg_frames_tap_unref(tap);
}

void
kvg_frames_tap_get_stats(KvgFramesTap *tap, KvgFramesTapStats *stats)
{
    *stats = (KvgFramesTapStats){0};
    pthread_mutex_lock(&tap->shared.lock);
    if (tap->shared.server != NULL)
        kvg_frames_server_get_stats(tap->shared.server, &stats->server);
    stats->copies = tap->shared.copies;
    stats->is_decoding = tap->shared.decoder != NULL;
    if (tap->shared.decoder != NULL)
        stats->copies += kvg_frames_decoder_copies(tap->shared.decoder);
    pthread_mutex_unlock(&tap->shared.lock);
}
