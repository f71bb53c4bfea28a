/* JSON objects between supervisor and worker, one a packet of a SOCK_SEQPACKET socketpair, so that
 * there is no framing to get wrong. Neither side ever waits for the other. */
#pragma once

#include "base/json.h"
#include <glib.h>
#include <stdbool.h>

#define KVG_PACKET_MAX 65536

typedef enum { KVG_PACKET_GOT, KVG_PACKET_NONE, KVG_PACKET_CLOSED } KvgPacketRead;

/* Reads one packet without waiting. What is not a JSON object is logged and left out (NONE).
 * @with: (out) (optional): the descriptor that came with it, the caller's; -1: none did. */
KvgPacketRead kvg_packet_read(int fd, json_t **packet, int *with);
/* @with: -1, or a descriptor that goes along. False if the other side is gone, does not keep up, or
 * @packet is too large: it is lost then. */
bool kvg_packet_write(int fd, const json_t *packet, int with);
