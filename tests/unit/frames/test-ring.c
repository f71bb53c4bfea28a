/* Server and consumers of frames over a real socket: who gets what, what is given back, and what a
 * consumer that is slow, hangs, dies or lies can do to others. */
#include "frames/address.h"
#include "frames/client.h"
#include "frames/server.h"
#include "frames/wire.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WIDTH 8
#define HEIGHT 4
#define STRIDE 24
#define PATIENCE_MS 20000

typedef struct {
    char *folder, *path;
    KvgFramesServer *server;
    uint32_t pool;
    _Atomic int given_back, demands;
    _Atomic bool wanted;
} Ring;

static void
on_demand(bool wanted, void *user_data)
{
    Ring *ring = user_data;
    atomic_store(&ring->wanted, wanted);
    atomic_fetch_add(&ring->demands, 1);
}

static void
ring_set_up(Ring *ring, const void *data)
{
    g_autoptr(GError) error = NULL;
    ring->folder = g_dir_make_tmp("kvg-ring-XXXXXX", &error);
    g_assert_no_error(error);
    ring->path = kvg_frames_socket_path(ring->folder, "gate");
    ring->pool = kvg_frames_pool_id();
    ring->server = kvg_frames_server_start(ring->path, on_demand, ring, &error);
    g_assert_no_error(error);
}

static void
ring_tear_down(Ring *ring, const void *data)
{
    g_autoptr(GError) error = NULL;
    kvg_frames_server_stop(ring->server);
    g_assert_false(g_file_test(ring->path, G_FILE_TEST_EXISTS));
    g_assert_true(kvg_dir_remove(ring->folder, &error));
    g_free(ring->folder);
    g_free(ring->path);
}

typedef struct {
    Ring *ring;
    KvgFramesSlot *slot;
} Owner;

static void
give_back(void *data)
{
    Owner *owner = data;
    atomic_fetch_add(&owner->ring->given_back, 1);
    kvg_frames_slot_free(owner->slot);
    g_free(owner);
}

/* A picture whose every byte is @fill. */
static void
publish(Ring *ring, uint8_t fill)
{
    g_autoptr(GError) error = NULL;
    Owner *owner = g_new(Owner, 1);
    owner->ring = ring;
    owner->slot = kvg_frames_slot_new(STRIDE * HEIGHT, &error);
    g_assert_no_error(error);
    memset(owner->slot->data, fill, owner->slot->size);
    const KvgFramesPicture picture = {.slot = owner->slot,
                                      .pool = ring->pool,
                                      .width = WIDTH,
                                      .height = HEIGHT,
                                      .stride = STRIDE,
                                      .wall_us = 1000 + fill};
    kvg_frames_server_publish(ring->server, &picture, owner, give_back);
}

#define wait_until(condition)                                                                      \
    do {                                                                                           \
        const int64_t end = g_get_monotonic_time() + PATIENCE_MS * 1000;                           \
        while (!(condition) && g_get_monotonic_time() < end)                                       \
            g_usleep(1000);                                                                        \
        g_assert_true(condition);                                                                  \
    } while (0)

static unsigned
consumers(Ring *ring)
{
    KvgFramesStats stats;
    kvg_frames_server_get_stats(ring->server, &stats);
    return stats.consumers;
}

static unsigned
leases(Ring *ring)
{
    KvgFramesStats stats;
    kvg_frames_server_get_stats(ring->server, &stats);
    return stats.leases;
}

static KvgFramesClient *
join(Ring *ring)
{
    g_autoptr(GError) error = NULL;
    const unsigned before = consumers(ring);
    KvgFramesClient *client = kvg_frames_client_open(ring->path, &error);
    g_assert_no_error(error);
    wait_until(consumers(ring) == before + 1);
    return client;
}

static const KvgFramesLease *
next(KvgFramesClient *client)
{
    g_autoptr(GError) error = NULL;
    const KvgFramesLease *lease = NULL;
    g_assert_true(kvg_frames_client_ask(client));
    for (;;) {
        const KvgFramesRead read = kvg_frames_client_read(client, &lease, &error);
        g_assert_no_error(error);
        if (read == KVG_FRAMES_GOT)
            return lease;
        struct pollfd one = {.fd = kvg_frames_client_fd(client), .events = POLLIN};
        g_assert_cmpint(poll(&one, 1, PATIENCE_MS), ==, 1);
    }
}

static void
assert_filled(const KvgFramesLease *lease, uint8_t fill)
{
    g_assert_cmpint(lease->wall_us, ==, 1000 + fill);
    g_assert_cmpuint(lease->width, ==, WIDTH);
    for (size_t i = 0; i < STRIDE * HEIGHT; i++)
        g_assert_cmpuint(lease->data[i], ==, fill);
}

static void
test_newest(Ring *ring, const void *data)
{
    KvgFramesClient *client = join(ring);
    publish(ring, 1);
    const KvgFramesLease *first = next(client);
    assert_filled(first, 1);
    /* It is busy meanwhile: only the newest is left. */
    publish(ring, 2);
    publish(ring, 3);
    publish(ring, 4);
    const KvgFramesLease *second = next(client);
    assert_filled(second, 4);
    g_assert_cmpuint(second->sequence - first->sequence, ==, 3);
    assert_filled(first, 1); /* held, so not written over */
    kvg_frames_lease_release(first);
    kvg_frames_lease_release(second);
    wait_until(atomic_load(&ring->given_back) == 3); /* 4 is still the newest */
    kvg_frames_client_close(client);
}

static void
test_demand(Ring *ring, const void *data)
{
    g_assert_false(atomic_load(&ring->wanted));
    publish(ring, 9); /* nobody looks */
    g_assert_cmpint(atomic_load(&ring->given_back), ==, 1);
    KvgFramesClient *client = join(ring);
    wait_until(atomic_load(&ring->wanted));
    KvgFramesClient *other = join(ring);
    kvg_frames_client_close(client);
    wait_until(consumers(ring) == 1);
    g_assert_true(atomic_load(&ring->wanted));
    publish(ring, 1);
    kvg_frames_client_close(other);
    wait_until(!atomic_load(&ring->wanted));
    g_assert_cmpint(atomic_load(&ring->demands), ==, 2);
    wait_until(atomic_load(&ring->given_back) == 2); /* no picture is kept for the next */
}

/* Holds as many as it may: no more comes, and the others get theirs. */
static void
test_hoarder(Ring *ring, const void *data)
{
    KvgFramesClient *hoarder = join(ring), *other = join(ring);
    const KvgFramesLease *held[KVG_FRAMES_MAX_LEASES];
    for (uint8_t i = 0; i < KVG_FRAMES_MAX_LEASES; i++) {
        publish(ring, i);
        held[i] = next(hoarder);
        assert_filled(held[i], i);
        const KvgFramesLease *lease = next(other);
        assert_filled(lease, i);
        kvg_frames_lease_release(lease);
    }
    g_assert_cmpuint(kvg_frames_client_held(hoarder), ==, KVG_FRAMES_MAX_LEASES);
    g_assert_true(kvg_frames_client_ask(hoarder));
    publish(ring, 50);
    kvg_frames_lease_release(next(other));
    const KvgFramesLease *none = NULL;
    g_assert_cmpint(kvg_frames_client_read(hoarder, &none, NULL), ==, KVG_FRAMES_NOTHING_YET);
    kvg_frames_lease_release(held[2]);
    const KvgFramesLease *lease = next(hoarder);
    assert_filled(lease, 50);
    assert_filled(held[0], 0);
    kvg_frames_client_close(hoarder); /* memory that is still looked at stays mapped */
    wait_until(leases(ring) == 0);
    publish(ring, 60);
    assert_filled(held[1], 1);
    kvg_frames_lease_release(held[0]);
    kvg_frames_lease_release(held[1]);
    kvg_frames_lease_release(held[3]);
    kvg_frames_lease_release(lease);
    kvg_frames_client_close(other);
}

/* A consumer that is killed: its socket closes, its leases come back. One that is stopped does
 * nothing at all, which is no different from holding what it has. */
static void
test_killed(Ring *ring, const void *data)
{
    KvgFramesClient *other = join(ring);
    g_auto(KvgFd) raw = kvg_frames_connect(ring->path, NULL);
    wait_until(consumers(ring) == 2);
    const KvgFramesRequest take = {.kind = KVG_FRAMES_TAKE};
    g_assert_cmpint(send(raw, &take, sizeof take, 0), ==, sizeof take);
    publish(ring, 1);
    kvg_frames_lease_release(next(other));
    wait_until(leases(ring) == 1);
    for (uint8_t i = 2; i < 30; i++) {
        publish(ring, i);
        const KvgFramesLease *lease = next(other);
        assert_filled(lease, i);
        kvg_frames_lease_release(lease);
    }
    kvg_fd_clear(&raw);
    wait_until(leases(ring) == 0 && consumers(ring) == 1);
    wait_until(atomic_load(&ring->given_back) == 28);
    kvg_frames_client_close(other);
}

/* Packets of a wrong size or kind, releases of what is not held, requests without end. */
static void
test_liar(Ring *ring, const void *data)
{
    static const KvgFramesRequest bad[] = {{.kind = 77}, {.kind = KVG_FRAMES_RELEASE, .slot = 0}};
    KvgFramesClient *other = join(ring);
    for (size_t i = 0; i <= G_N_ELEMENTS(bad); i++) {
        g_auto(KvgFd) raw = kvg_frames_connect(ring->path, NULL);
        wait_until(consumers(ring) == 2);
        const size_t len = i < G_N_ELEMENTS(bad) ? sizeof bad[0] : 3;
        g_assert_cmpint(send(raw, &bad[i % G_N_ELEMENTS(bad)], len, 0), ==, (ssize_t)len);
        wait_until(consumers(ring) == 1);
    }
    /* Asks for ever and reads nothing: at most its leases are taken. */
    g_auto(KvgFd) raw = kvg_frames_connect(ring->path, NULL);
    wait_until(consumers(ring) == 2);
    for (uint8_t i = 0; i < 40; i++) {
        const KvgFramesRequest take = {.kind = KVG_FRAMES_TAKE};
        const KvgFramesRequest strange = {.kind = KVG_FRAMES_RELEASE, .slot = 4000000};
        send(raw, &take, sizeof take, MSG_DONTWAIT);
        send(raw, &strange, sizeof strange, MSG_DONTWAIT);
        publish(ring, i);
        const KvgFramesLease *lease = next(other);
        assert_filled(lease, i);
        kvg_frames_lease_release(lease);
        g_assert_cmpuint(leases(ring), <=, KVG_FRAMES_MAX_LEASES + 1);
    }
    kvg_frames_client_close(other);
}

static void
test_too_many(Ring *ring, const void *data)
{
    KvgFramesClient *clients[KVG_FRAMES_MAX_CONSUMERS];
    for (size_t i = 0; i < KVG_FRAMES_MAX_CONSUMERS; i++)
        clients[i] = join(ring);
    g_autoptr(GError) error = NULL;
    KvgFramesClient *late = kvg_frames_client_open(ring->path, &error);
    g_assert_no_error(error);
    const KvgFramesLease *lease = NULL;
    wait_until(kvg_frames_client_read(late, &lease, error == NULL ? &error : NULL) ==
               KVG_FRAMES_CLOSED);
    g_assert_error(error, KVG_ERROR, KVG_ERROR_RETRY);
    g_assert_nonnull(strstr(error->message, "too many consumers"));
    kvg_frames_client_close(late);
    for (size_t i = 0; i < KVG_FRAMES_MAX_CONSUMERS; i++)
        kvg_frames_client_close(clients[i]);
}

/* What a consumer gets can be neither written nor shrunk, not even by opening it anew. */
static void
test_read_only(Ring *ring, const void *data)
{
    g_autoptr(GError) error = NULL;
    KvgFramesSlot *slot = kvg_frames_slot_new(4096, &error);
    g_assert_no_error(error);
    g_assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, slot->fd, 0) == MAP_FAILED);
    g_assert_cmpint(ftruncate(slot->fd, 0), !=, 0);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", slot->fd);
    G_GNUC_UNUSED g_auto(KvgFd) again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        g_assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
        g_assert_cmpint(write(again, "x", 1), <, 0);
        g_assert_cmpint(ftruncate(again, 0), !=, 0);
    }
    kvg_frames_slot_free(slot);
}

/* The server ends and comes back: consumers hear of the end and may connect again. */
static void
test_restart(Ring *ring, const void *data)
{
    g_autoptr(GError) error = NULL;
    KvgFramesClient *client = join(ring);
    publish(ring, 1);
    const KvgFramesLease *held = next(client);
    kvg_frames_server_stop(ring->server);
    const KvgFramesLease *lease = NULL;
    g_assert_cmpint(kvg_frames_client_read(client, &lease, &error), ==, KVG_FRAMES_CLOSED);
    g_assert_error(error, KVG_ERROR, KVG_ERROR_RETRY);
    g_clear_error(&error);
    assert_filled(held, 1);
    kvg_frames_client_close(client);
    kvg_frames_lease_release(held);
    g_assert_null(kvg_frames_client_open(ring->path, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_NOT_FOUND);
    g_clear_error(&error);
    ring->server = kvg_frames_server_start(ring->path, on_demand, ring, &error);
    g_assert_no_error(error);
    client = join(ring);
    publish(ring, 2);
    held = next(client);
    assert_filled(held, 2);
    kvg_frames_lease_release(held);
    kvg_frames_client_close(client);
}

/* Long folders and names fit, and long names do not meet. */
static void
test_address(Ring *ring, const void *data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *long_folder = g_strnfill(200, 'd');
    g_autofree char *folder = g_build_filename(ring->folder, long_folder, NULL);
    g_assert_true(kvg_dir_make(folder, 0700, &error));
    g_autofree char *name_a = g_strnfill(128, 'a');
    g_autofree char *name_b = g_strdup(name_a);
    name_b[127] = 'b';
    g_autofree char *path_a = kvg_frames_socket_path(folder, name_a);
    g_autofree char *path_b = kvg_frames_socket_path(folder, name_b);
    g_assert_cmpstr(path_a, !=, path_b);
    G_GNUC_UNUSED g_auto(KvgFd) listening = kvg_frames_listen(path_a, &error);
    g_assert_no_error(error);
    struct stat found;
    g_assert_cmpint(stat(path_a, &found), ==, 0);
    g_assert_cmpuint(found.st_mode & 0777, ==, 0600);
    G_GNUC_UNUSED g_auto(KvgFd) connected = kvg_frames_connect(path_a, &error);
    g_assert_no_error(error);
    G_GNUC_UNUSED g_auto(KvgFd) again =
        kvg_frames_listen(path_a, &error); /* what a dead process left */
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*run)(Ring *ring, const void *data);
    } tests[] = {
        {"/frames/newest", test_newest},       {"/frames/demand", test_demand},
        {"/frames/hoarder", test_hoarder},     {"/frames/killed", test_killed},
        {"/frames/liar", test_liar},           {"/frames/too-many", test_too_many},
        {"/frames/read-only", test_read_only}, {"/frames/restart", test_restart},
        {"/frames/address", test_address},
    };
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL); /* one is turned away */
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Ring, NULL, ring_set_up, tests[i].run, ring_tear_down);
    return g_test_run();
}
