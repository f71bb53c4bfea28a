#include "frames/client.h"
#include "frames/address.h"
#include "frames/wire.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A slot as it is mapped here. */
typedef struct {
    gatomicrefcount refs; /* one of the table, one of each lease */
    uint8_t *data;
    size_t size;
} Mapping;

struct _KvgFramesClient {
    gatomicrefcount refs; /* one of the owner, one of each lease */
    int fd;
    _Atomic unsigned held;
    struct {                  /* the reading thread's */
        GHashTable *mappings; /* slot -> Mapping */
        uint32_t pool;
        uint64_t sequence;
        bool has_asked, is_greeted;
    } mine;
};

typedef struct {
    KvgFramesLease lease; /* first: what the consumer sees */
    KvgFramesClient *client;
    Mapping *mapping;
    uint32_t slot;
} Held;

static void
mapping_unref(void *data)
{
    Mapping *mapping = data;
    if (!g_atomic_ref_count_dec(&mapping->refs))
        return;
    munmap(mapping->data, mapping->size);
    g_free(mapping);
}

static void
client_unref(KvgFramesClient *client)
{
    if (!g_atomic_ref_count_dec(&client->refs))
        return;
    close(client->fd);
    g_free(client);
}

KvgFramesClient *
kvg_frames_client_open(const char *path, GError **error)
{
    const int fd = kvg_frames_connect(path, error);
    if (fd < 0)
        return NULL;
    KvgFramesClient *client = g_new0(KvgFramesClient, 1);
    g_atomic_ref_count_init(&client->refs);
    client->fd = fd;
    client->mine.mappings =
        g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, mapping_unref);
    return client;
}

void
kvg_frames_client_close(KvgFramesClient *client)
{
    if (client == NULL)
        return;
    /* Now, not with the last lease: the server takes the leases back, the memory stays mapped. */
    shutdown(client->fd, SHUT_RDWR);
    g_hash_table_unref(client->mine.mappings);
    client_unref(client);
}

int
kvg_frames_client_fd(const KvgFramesClient *client)
{
    return client->fd;
}

unsigned
kvg_frames_client_held(const KvgFramesClient *client)
{
    return atomic_load(&((KvgFramesClient *)(uintptr_t)client)->held);
}

static bool
send_request(KvgFramesClient *client, KvgFramesRequestKind kind, uint32_t slot, uint64_t sequence)
{
    const KvgFramesRequest request = {.kind = kind, .slot = slot, .sequence = sequence};
    return send(client->fd, &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) ==
           (ssize_t)sizeof request;
}

bool
kvg_frames_client_ask(KvgFramesClient *client)
{
    if (client->mine.has_asked)
        return true;
    client->mine.has_asked = send_request(client, KVG_FRAMES_TAKE, 0, client->mine.sequence);
    return client->mine.has_asked;
}

/* ---- reading ---- */

static KvgFramesRead
closed(GError **error, const char *why)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "no more frames: %s", why);
    return KVG_FRAMES_CLOSED;
}

/* The descriptor that came along, or -1. */
static int
received_fd(struct msghdr *message)
{
    int fd = KVG_FD_NONE;
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

static ssize_t
receive(int from, KvgFramesReply *reply, KvgFd *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = reply, .iov_len = sizeof *reply};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    const ssize_t n = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n > 0)
        *fd = received_fd(&message);
    return n;
}

static bool
fits(const KvgFramesReply *reply)
{
    return reply->width > 0 && reply->width <= KVG_FRAMES_MAX_SIDE && reply->height > 0 &&
           reply->height <= KVG_FRAMES_MAX_SIDE && reply->stride >= reply->width * 3 &&
           reply->stride <= KVG_FRAMES_MAX_SIDE * 4 &&
           (uint64_t)reply->stride * reply->height <= reply->size;
}

static Mapping *
map(const KvgFramesReply *reply, int fd)
{
    struct stat found;
    if (fd < 0 || fstat(fd, &found) != 0 || (uint64_t)found.st_size < reply->size)
        return NULL;
    void *data = mmap(NULL, reply->size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return NULL;
    Mapping *mapping = g_new(Mapping, 1);
    *mapping = (Mapping){.data = data, .size = reply->size};
    g_atomic_ref_count_init(&mapping->refs);
    return mapping;
}

/* The memory of the slot: known already, or mapped now. */
static Mapping *
find_mapping(KvgFramesClient *client, const KvgFramesReply *reply, int fd)
{
    if (client->mine.pool != reply->pool)
        g_hash_table_remove_all(client->mine.mappings);
    client->mine.pool = reply->pool;
    Mapping *mapping = g_hash_table_lookup(client->mine.mappings, GUINT_TO_POINTER(reply->slot));
    if (mapping == NULL) {
        mapping = map(reply, fd);
        if (mapping != NULL)
            g_hash_table_insert(client->mine.mappings, GUINT_TO_POINTER(reply->slot), mapping);
    }
    return mapping != NULL && mapping->size >= reply->size ? mapping : NULL;
}

static const KvgFramesLease *
hold(KvgFramesClient *client, const KvgFramesReply *reply, Mapping *mapping)
{
    Held *held = g_new(Held, 1);
    *held = (Held){.lease = {.data = mapping->data,
                             .width = reply->width,
                             .height = reply->height,
                             .stride = reply->stride,
                             .sequence = reply->sequence,
                             .wall_us = reply->wall_us},
                   .client = client,
                   .mapping = mapping,
                   .slot = reply->slot};
    g_atomic_ref_count_inc(&client->refs);
    g_atomic_ref_count_inc(&mapping->refs);
    atomic_fetch_add(&client->held, 1);
    client->mine.has_asked = false;
    client->mine.sequence = reply->sequence;
    return &held->lease;
}

KvgFramesRead
kvg_frames_client_read(KvgFramesClient *client, const KvgFramesLease **lease, GError **error)
{
    *lease = NULL;
    for (;;) {
        KvgFramesReply reply;
        g_auto(KvgFd) fd = KVG_FD_NONE;
        const ssize_t n = receive(client->fd, &reply, &fd);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return KVG_FRAMES_NOTHING_YET;
        if (n <= 0)
            return closed(error, client->mine.is_greeted
                                     ? "the camera's process has ended"
                                     : "too many consumers of this camera already");
        if (n != (ssize_t)sizeof reply || reply.magic != KVG_FRAMES_MAGIC)
            return closed(error, "what was received is no frame of kvg");
        if (reply.kind == KVG_FRAMES_HELLO && reply.slot == KVG_FRAMES_VERSION) {
            client->mine.is_greeted = true;
            continue;
        }
        if (reply.kind != KVG_FRAMES_FRAME || !fits(&reply))
            return closed(error, "the other side is of another version of kvg");
        Mapping *mapping = find_mapping(client, &reply, fd);
        if (mapping == NULL)
            return closed(error, "the shared memory of a frame cannot be mapped");
        *lease = hold(client, &reply, mapping);
        return KVG_FRAMES_GOT;
    }
}

void
kvg_frames_lease_release(const KvgFramesLease *lease)
{
    if (lease == NULL)
        return;
    Held *held = (Held *)(uintptr_t)lease;
    atomic_fetch_sub(&held->client->held, 1);
    /* A full socket means that the server is gone or will be; then it takes them all back. */
    send_request(held->client, KVG_FRAMES_RELEASE, held->slot, 0);
    mapping_unref(held->mapping);
    client_unref(held->client);
    g_free(held);
}
