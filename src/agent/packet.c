#include "agent/packet.h"
#include "os/log.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define LOG_DOMAIN "agent"

KvgPacketRead
kvg_packet_read(int fd, json_t **packet)
{
    g_autofree char *text = g_malloc(KVG_PACKET_MAX);
    const ssize_t n = recv(fd, text, KVG_PACKET_MAX, MSG_DONTWAIT);
    *packet = NULL;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return KVG_PACKET_NONE;
    if (n <= 0)
        return KVG_PACKET_CLOSED;
    g_autoptr(GError) error = NULL;
    *packet = kvg_json_parse_object(text, (size_t)n, &error);
    if (*packet != NULL)
        return KVG_PACKET_GOT;
    KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message, "packet left out: %s", error->message);
    return KVG_PACKET_NONE;
}

bool
kvg_packet_write(int fd, const json_t *packet)
{
    g_autofree char *text = kvg_json_to_text(packet);
    const size_t len = strlen(text);
    return len <= KVG_PACKET_MAX &&
           send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}
