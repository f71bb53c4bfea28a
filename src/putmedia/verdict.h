/* What the service's errors mean. Two tables; the first is that of docs/internals/putmedia.md. */
#pragma once

#include <kvg/error.h>
#include <stdbool.h>

typedef enum {
    KVG_ACK_RESEND,      /* the fragment again, in a new session */
    KVG_ACK_SKIP,        /* the service will never take this fragment */
    KVG_ACK_WAIT_STREAM, /* not the fragment's fault: keep it, describe the stream again */
    KVG_ACK_WAIT_KEY,    /* the stream's KMS key: keep the fragment, somebody must act */
    KVG_ACK_STRIKE,      /* unknown error: resend, but skip after KVG_SESSION_STRIKES */
} KvgAckVerdict;
KvgAckVerdict kvg_verdict_of_ack(int error_id);
/* The KvgError for an HTTP status of PutMedia. @error_type: up to ':', or NULL. */
int kvg_verdict_of_status(long status, const char *error_type);
/* Whether a refusal is about the time of the signature, so that the Date of the answer helps.
 * @text: the service's message; NULL. */
bool kvg_verdict_is_skew(long status, const char *error_type, const char *text);
