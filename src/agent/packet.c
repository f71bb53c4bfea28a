#include "agent/packet.h"
#include "os/log.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_DOMAIN "agent"

/* Room for one descriptor. */
typedef union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
} Control;

/* The descriptor that came with @message, or -1. */
static int
received_fd(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd = -1;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

KvgPacketRead
kvg_packet_read(int fd, json_t **packet, int *with)
{
    g_autofree char *text = g_malloc(KVG_PACKET_MAX);
    Control control;
    struct iovec part = {text, KVG_PACKET_MAX};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    const ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *packet = NULL;
    if (with != NULL)
        *with = -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return KVG_PACKET_NONE;
    if (n <= 0)
        return KVG_PACKET_CLOSED;
    const int came = received_fd(&message);
    if (with != NULL)
        *with = came;
    else if (came >= 0)
        close(came);
    g_autoptr(GError) error = NULL;
    *packet = kvg_json_parse_object(text, (size_t)n, &error);
    if (*packet != NULL)
        return KVG_PACKET_GOT;
    KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message, "packet left out: %s", error->message);
    return KVG_PACKET_NONE;
}

bool
kvg_packet_write(int fd, const json_t *packet, int with)
{
    g_autofree char *text = kvg_json_to_text(packet);
    const size_t len = strlen(text);
    Control control;
    struct iovec part = {text, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (with >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof with), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &with, sizeof with);
    }
    return len <= KVG_PACKET_MAX &&
           sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}
