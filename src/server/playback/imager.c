/* One process per request, started at its first picture and started again after one that it did not
 * survive. */
#include "server/playback/imager.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "images/job.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define PROGRAM "kvg-images"
#define MAX_PROCESSES 2
#define PLACE_TIMEOUT_US (20 * G_USEC_PER_SEC)
#define IMAGE_TIMEOUT_US (15 * G_USEC_PER_SEC)
#define TOTAL_TIMEOUT_US (60 * G_USEC_PER_SEC) /* of a request, whose place others wait for */

static GMutex places_lock;
static GCond places_changed;
static unsigned n_busy; /* under places_lock */

struct _KvgImager {
    GPid pid; /* 0: not running */
    KvgFd in, out;
    int64_t end_us;
};

KvgImager *
kvg_imager_new(GError **error)
{
    const int64_t until_us = g_get_monotonic_time() + PLACE_TIMEOUT_US;
    g_mutex_lock(&places_lock);
    bool is_free = true;
    while (n_busy >= MAX_PROCESSES && is_free)
        is_free = g_cond_wait_until(&places_changed, &places_lock, until_us);
    n_busy += is_free;
    g_mutex_unlock(&places_lock);
    if (!is_free) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_THROTTLED,
                    "%d requests for images are being worked on; try again later", MAX_PROCESSES);
        return NULL;
    }
    KvgImager *imager = g_new0(KvgImager, 1);
    imager->in = imager->out = KVG_FD_NONE;
    imager->end_us = kvg_clock_mono_us() + TOTAL_TIMEOUT_US;
    return imager;
}

static void
stop(KvgImager *imager)
{
    kvg_fd_clear(&imager->in);
    kvg_fd_clear(&imager->out);
    if (imager->pid == 0)
        return;
    kill(imager->pid, SIGKILL);
    while (waitpid(imager->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    imager->pid = 0;
}

void
kvg_imager_free(KvgImager *imager)
{
    if (imager == NULL)
        return;
    stop(imager);
    g_free(imager);
    g_mutex_lock(&places_lock);
    n_busy--;
    g_cond_signal(&places_changed);
    g_mutex_unlock(&places_lock);
}

/* Beside the server's own program, as they are built and installed. */
static char *
find_program(GError **error)
{
    g_autofree char *own = g_file_read_link("/proc/self/exe", error);
    if (own == NULL)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(own);
    return g_build_filename(folder, PROGRAM, NULL);
}

static bool
start(KvgImager *imager, GError **error)
{
    if (imager->pid != 0)
        return true;
    g_autofree char *program = find_program(error);
    if (program == NULL)
        return false;
    char *argv[] = {program, NULL};
    if (!g_spawn_async_with_pipes(NULL, argv, NULL,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                                  NULL, &imager->pid, &imager->in, &imager->out, NULL, error)) {
        imager->pid = 0;
        return false;
    }
    return fcntl(imager->in, F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(imager->out, F_SETFL, O_NONBLOCK) == 0;
}

static bool
wait_for(int fd, short events, int64_t until_us)
{
    const int64_t left_us = until_us - kvg_clock_mono_us();
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return left_us > 0 && poll(&poll_fd, 1, (int)(left_us / 1000) + 1) >= 0;
}

static bool
write_all(int fd, const uint8_t *data, size_t len, int64_t until_us)
{
    while (len > 0) {
        const ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n < 0 && !wait_for(fd, POLLOUT, until_us))
            return false;
        data += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
    return true;
}

static bool
read_all(int fd, uint8_t *data, size_t len, int64_t until_us)
{
    while (len > 0) {
        const ssize_t n = read(fd, data, len);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (n < 0 && !wait_for(fd, POLLIN, until_us))
            return false;
        data += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
    return true;
}

static GByteArray *
write_job(const KvgImageFormat *format,
          const KvgMp4Track *track,
          const KvgMp4Sample *samples,
          size_t n,
          size_t wanted)
{
    GByteArray *out = g_byte_array_new();
    const uint32_t words[KVG_IMAGES_HEAD_WORDS] = {
        KVG_IMAGES_MAGIC,
        track->codec == KVG_CODEC_H264 ? KVG_IMAGES_H264 : KVG_IMAGES_H265,
        format->is_png ? KVG_IMAGES_PNG : KVG_IMAGES_JPEG,
        format->quality,
        format->width,
        format->height,
        (uint32_t)n,
        (uint32_t)track->config_len,
        (uint32_t)wanted};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        kvg_bytes_put_u32(out, words[i]);
    kvg_bytes_put(out, track->config, track->config_len);
    for (size_t i = 0; i < n; i++) {
        kvg_bytes_put_u32(out, (uint32_t)samples[i].len);
        kvg_bytes_put(out, samples[i].data, samples[i].len);
    }
    return out;
}

static GBytes *
exchange(KvgImager *imager, const GByteArray *job)
{
    const int64_t until_us = MIN(kvg_clock_mono_us() + IMAGE_TIMEOUT_US, imager->end_us);
    uint8_t head[4];
    if (!write_all(imager->in, job->data, job->len, until_us) ||
        !read_all(imager->out, head, sizeof head, until_us))
        return NULL;
    KvgReader reader = kvg_reader_init(head, sizeof head);
    const uint32_t len = kvg_reader_u32(&reader);
    if (len > KVG_IMAGES_MAX_IMAGE)
        return NULL;
    g_autofree uint8_t *image = g_malloc(MAX(len, 1));
    if (!read_all(imager->out, image, len, until_us))
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&image), len);
}

GBytes *
kvg_imager_make(KvgImager *imager,
                const KvgImageFormat *format,
                const KvgMp4Track *track,
                const KvgMp4Sample *samples,
                size_t n,
                size_t wanted,
                GError **error)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += samples[i].len;
    if (n > KVG_IMAGES_MAX_FRAMES || total > KVG_IMAGES_MAX_BYTES) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, "too many frames for an image");
        return NULL;
    }
    if (!start(imager, error))
        return NULL;
    g_autoptr(GByteArray) job = write_job(format, track, samples, n, wanted);
    g_autoptr(GBytes) image = exchange(imager, job);
    if (image == NULL)
        stop(imager);
    if (image != NULL && g_bytes_get_size(image) > 0)
        return g_steal_pointer(&image);
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, "the frames cannot be decoded");
    return NULL;
}
