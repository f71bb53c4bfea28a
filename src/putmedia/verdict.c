#include "putmedia/verdict.h"

#include <glib.h>
#include <string.h>

KvgAckVerdict
kvg_verdict_of_ack(int error_id)
{
    switch (error_id) {
    case 4000: /* STREAM_READ_ERROR */
    case 4003: /* MAX_CONNECTION_DURATION_REACHED */
    case 5000: /* INTERNAL_ERROR */
    case 5001: /* ARCHIVAL_ERROR */
        return KVG_ACK_RESEND;
    case 4001: /* MAX_FRAGMENT_SIZE_REACHED */
    case 4002: /* MAX_FRAGMENT_DURATION_REACHED */
    case 4004: /* FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS */
    case 4005: /* MORE_THAN_ONE_TRACK_FOUND */
    case 4006: /* INVALID_MKV_DATA */
    case 4007: /* INVALID_PRODUCER_TIMESTAMP */
    case 4009: /* FRAGMENT_METADATA_LIMIT_REACHED */
    case 4010: /* TRACK_NUMBER_MISMATCH */
    case 4011: /* FRAMES_MISSING_FOR_TRACK */
    case 4012: /* MORE_THAN_ALLOWED_TRACKS_FOUND */
        return KVG_ACK_SKIP;
    case 4008: /* STREAM_NOT_ACTIVE */
    case 4507: /* STREAM_DELETED */
        return KVG_ACK_WAIT_STREAM;
    case 4500: /* KMS_KEY_ACCESS_DENIED ... */
    case 4501:
    case 4502:
    case 4503:
    case 4504:
    case 4505:
    case 4506: /* ... KMS_KEY_NOT_FOUND */
        return KVG_ACK_WAIT_KEY;
    default:
        return KVG_ACK_STRIKE;
    }
}

int
kvg_verdict_of_status(long status, const char *error_type)
{
    static const struct {
        const char *type;
        int code;
    } types[] = {
        {"ResourceNotFoundException", KVG_ERROR_NOT_FOUND},
        {"InvalidEndpointException", KVG_ERROR_RETRY},
        {"ConnectionLimitExceededException", KVG_ERROR_THROTTLED},
        {"ClientLimitExceededException", KVG_ERROR_THROTTLED},
        {"ThrottlingException", KVG_ERROR_THROTTLED},
        {"NotAuthorizedException", KVG_ERROR_AUTH},
        {"AccessDeniedException", KVG_ERROR_AUTH},
    };
    for (size_t i = 0; error_type != NULL && i < G_N_ELEMENTS(types); i++) {
        if (strcmp(error_type, types[i].type) == 0)
            return types[i].code;
    }
    if (status == 401 || status == 403)
        return KVG_ERROR_AUTH;
    if (status == 404)
        return KVG_ERROR_NOT_FOUND;
    if (status == 429)
        return KVG_ERROR_THROTTLED;
    if (status == 408 || status >= 500)
        return KVG_ERROR_RETRY;
    return status >= 400 ? KVG_ERROR_INVALID : KVG_ERROR_RETRY;
}

/* The service allows five minutes. It says "Signature expired" or "Signature not yet current" in an
 * InvalidSignatureException, which stands for a wrong key, too; a proxy may leave the text out. */
bool
kvg_verdict_is_skew(long status, const char *error_type, const char *text)
{
    if (status != 400 && status != 401 && status != 403)
        return false;
    static const char *const types[] = {"InvalidSignatureException", "SignatureDoesNotMatch",
                                        "RequestExpired", "RequestTimeTooSkewed"};
    for (size_t i = 0; error_type != NULL && i < G_N_ELEMENTS(types); i++) {
        if (strcmp(error_type, types[i]) == 0)
            return true;
    }
    return error_type == NULL && text != NULL && strstr(text, "Signature") != NULL;
}
