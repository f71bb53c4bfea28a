/* PutMedia acknowledgements: parse and write. A service ack that reports an error is data. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KVG_ACK_BUFFERING,
    KVG_ACK_RECEIVED,
    KVG_ACK_PERSISTED,
    KVG_ACK_ERROR,
    KVG_ACK_IDLE,
    KVG_ACK_UNKNOWN, /* an EventType we do not know: skip it */
} KvgAckType;

typedef struct {
    KvgAckType type;
    int64_t timecode_ms;       /* the cluster timecode as sent; 0 for IDLE */
    char fragment_number[129]; /* decimal digits; "" if absent */
    int error_id;              /* ERROR only */
    char error_code[64];       /* ERROR only */
} KvgAck;

/* Incremental parser: acks may be split or joined anywhere by the transport. */
typedef struct _KvgAckParser KvgAckParser;
KvgAckParser *kvg_ack_parser_new(void);
void kvg_ack_parser_free(KvgAckParser *parser);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgAckParser, kvg_ack_parser_free)
/* Adds bytes. KVG_ERROR_CORRUPT if one object grows beyond 4096 bytes. */
bool kvg_ack_parser_put(KvgAckParser *parser, const void *data, size_t len, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
typedef enum { KVG_ACK_STEP_NEED_MORE, KVG_ACK_STEP_ACK, KVG_ACK_STEP_FAILED } KvgAckStep;
/* The next ack, NEED_MORE, or FAILED with KVG_ERROR_CORRUPT (final for this parser). */
KvgAckStep kvg_ack_parser_step(KvgAckParser *parser, KvgAck *ack, GError **error);

/* One compact JSON object and a newline, at most 1024 bytes (g_free). */
char *kvg_ack_to_text(const KvgAck *ack);
/* "MAX_FRAGMENT_DURATION_REACHED" for 4002; "UNKNOWN_ERROR" otherwise. */
const char *kvg_ack_error_code(int error_id);
