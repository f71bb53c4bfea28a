/* The table. Times in the steps are milliseconds after the first frame. */
#include "row.h"

#define GOOD(at)                                                                                   \
    {                                                                                              \
        .at_ms = (at), .act = ROW_SET                                                              \
    }
#define FAULT(at, ...)                                                                             \
    {                                                                                              \
        .at_ms = (at), .faults = { __VA_ARGS__ }                                                   \
    }

/* PutMedia is refused once, then twice more. */
#define STATUS(code, error_type)                                                                   \
    {                                                                                              \
        .name = "put/" #code "/" error_type, .seconds = 5, .steps = {                              \
            FAULT(0, .status = code, .type = error_type, .times = 3)                               \
        }                                                                                          \
    }
/* ... after a session was open, in the middle of a fragment. */
#define LATE_STATUS(code, error_type)                                                              \
    {                                                                                              \
        .name = "late/" #code "/" error_type, .steps = {                                           \
            FAULT(0, .status = code, .type = error_type, .times = 2, .after_bytes = 20000)         \
        }                                                                                          \
    }
#define CALL_STATUS(what, code, error_type)                                                        \
    {                                                                                              \
        .name = "call/" what "/" #code, .seconds = 5,                                              \
        .steps = {FAULT(0, .status = code, .type = error_type, .path = "/" what, .times = 2)},     \
        .reason = "HTTP " #code                                                                    \
    }
/* An ERROR ack ends the session at its fourth fragment; @lost: that fragment may be given up. */
#define ACK(id, lost)                                                                              \
    {                                                                                              \
        .name = "ack/" #id, .steps = {FAULT(0, .error_id = id, .at_fragment = 3, .times = 1)},     \
        .reason = "service error " #id, .lost_at_most = lost                                       \
    }
#define RESET(direction, at)                                                                       \
    {                                                                                              \
        .name = "reset/" #direction "/" #at, .is_tcp = true, .seconds = 6, .steps = {              \
            FAULT(0, .reset_##direction##_at = at, .times = 3)                                     \
        }                                                                                          \
    }
#define HALF_CLOSE(direction, at)                                                                  \
    {                                                                                              \
        .name = "half-close/" #direction "/" #at, .is_tcp = true, .seconds = 6, .steps = {         \
            FAULT(0, .half_close_##direction##_at = at, .times = 2)                                \
        }                                                                                          \
    }

const Row rows[] = {
    {.name = "good"},
    {.name = "good/iot", .keys = ROW_KEYS_IOT},

    /* ---- the network ---- */
    {.name = "latency", .is_tcp = true, .steps = {FAULT(0, .latency_ms = 400)}, .stays = true},
    /* TLS takes longer than a connection is given at first. */
    {.name = "latency/slow-line",
     .is_tcp = true,
     .steps = {FAULT(0, .latency_ms = 2100)},
     .reason = "timeout",
     .stays = true},
    {.name = "latency/slow-provider",
     .keys = ROW_KEYS_IOT,
     .steps = {{.at_ms = 0, .faults = {.latency_ms = 2100}, .on_credentials = true}},
     .reason = "credentials of thing",
     .stays = true},
    {.name = "throttle",
     .is_tcp = true,
     .seconds = 10,
     .steps = {FAULT(1000, .bytes_per_s = 20000), GOOD(6000)}},
    {.name = "black-hole/short",
     .is_tcp = true,
     .seconds = 10,
     .steps = {FAULT(2000, .black_hole = true), GOOD(8000)}},
    {.name = "black-hole/then-reset",
     .is_tcp = true,
     .seconds = 10,
     .steps = {FAULT(2000, .black_hole = true), {.at_ms = 8000, .act = ROW_CUT}}},
    {.name = "refused",
     .is_tcp = true,
     .steps = {FAULT(2000, .refuse = true), GOOD(6000)},
     .reason = "onnect"},
    {.name = "flapping",
     .is_tcp = true,
     .steps = {FAULT(1000, .refuse = true),
               GOOD(2000),
               FAULT(3000, .refuse = true),
               GOOD(4500),
               {.at_ms = 5500, .act = ROW_CUT}}},
    {.name = "garbage",
     .is_tcp = true,
     .steps = {{.at_ms = 2000, .faults = {.garbage = true, .times = 3}, .act = ROW_CUT}},
     .reason = "SSL"},
    {.name = "tls-refused",
     .is_tcp = true,
     .steps = {{.at_ms = 2000, .faults = {.tls_refused = true, .times = 3}, .act = ROW_CUT}},
     .reason = "handshake failure"},
    RESET(up, 1),
    RESET(up, 300),
    RESET(up, 1000),
    RESET(up, 2500),
    RESET(up, 9000),
    RESET(up, 25001),
    RESET(up, 60000),
    RESET(down, 1),
    RESET(down, 700),
    RESET(down, 1500),
    RESET(down, 2000),
    RESET(down, 3000),
    HALF_CLOSE(up, 500),
    HALF_CLOSE(up, 1500),
    HALF_CLOSE(up, 30000),
    HALF_CLOSE(down, 500),
    HALF_CLOSE(down, 1500),
    HALF_CLOSE(down, 2500),
    {.name = "restarts",
     .is_tcp = true,
     .steps = {{.at_ms = 2000, .act = ROW_RESTART},
               {.at_ms = 4000, .faults = {.refuse = true}, .act = ROW_RESTART},
               {.at_ms = 5000, .act = ROW_RESTART}}},

    /* ---- what the service answers ---- */
    STATUS(400, "InvalidArgumentException"),
    STATUS(400, "ConnectionLimitExceededException"),
    STATUS(400, "ClientLimitExceededException"),
    STATUS(400, "InvalidEndpointException"),
    STATUS(401, "NotAuthorizedException"),
    STATUS(403, "AccessDeniedException"),
    STATUS(403, "InvalidSignatureException"),
    STATUS(404, "ResourceNotFoundException"),
    STATUS(406, "Other"),
    STATUS(408, "RequestTimeout"),
    STATUS(429, "ThrottlingException"),
    STATUS(500, "InternalFailure"),
    STATUS(501, "NotImplemented"),
    STATUS(503, "ServiceUnavailable"),
    STATUS(504, "GatewayTimeout"),
    LATE_STATUS(400, "InvalidArgumentException"),
    LATE_STATUS(403, "ExpiredTokenException"),
    LATE_STATUS(500, "InternalFailure"),
    LATE_STATUS(503, "ServiceUnavailable"),
    CALL_STATUS("describeStream", 400, "ClientLimitExceededException"),
    CALL_STATUS("describeStream", 403, "AccessDeniedException"),
    CALL_STATUS("describeStream", 500, "InternalFailure"),
    CALL_STATUS("describeStream", 503, "ServiceUnavailable"),
    CALL_STATUS("createStream", 500, "InternalFailure"),
    CALL_STATUS("getDataEndpoint", 403, "AccessDeniedException"),
    CALL_STATUS("getDataEndpoint", 404, "ResourceNotFoundException"),
    CALL_STATUS("getDataEndpoint", 503, "ServiceUnavailable"),
    {.name = "endpoint/dead",
     .steps = {FAULT(0,
                     .status = 200,
                     .path = "/getDataEndpoint",
                     .body = "{\"DataEndpoint\":\"https://127.0.0.1:1\"}",
                     .times = 2)},
     .reason = "127.0.0.1 port 1"},
    {.name = "endpoint/nonsense",
     .steps = {FAULT(0,
                     .status = 200,
                     .path = "/getDataEndpoint",
                     .body = "{\"DataEndpoint\":\"ftp://user:secret@host/x?y\"}",
                     .times = 2)},
     .reason = "could not be understood"},
    {.name = "endpoint/no-json",
     .steps = {FAULT(0, .status = 200, .path = "/getDataEndpoint", .body = "<html>", .times = 2)},
     .reason = "could not be understood"},

    /* ---- acknowledgements ---- */
    ACK(4000, 0),
    ACK(4001, 10),
    ACK(4002, 10),
    ACK(4003, 0),
    ACK(4004, 10),
    ACK(4005, 10),
    ACK(4006, 10),
    ACK(4007, 10),
    ACK(4008, 0),
    ACK(4009, 10),
    ACK(4010, 10),
    ACK(4011, 10),
    ACK(4012, 10),
    ACK(4500, 0),
    ACK(4501, 0),
    ACK(4502, 0),
    ACK(4503, 0),
    ACK(4504, 0),
    ACK(4505, 0),
    ACK(4506, 0),
    ACK(4507, 0),
    ACK(5000, 0),
    ACK(5001, 0),
    ACK(7777, 0),
    {.name = "acks/split", .steps = {FAULT(0, .ack_split = true)}, .stays = true},
    {.name = "acks/twice", .steps = {FAULT(0, .ack_twice = true)}, .stays = true},
    {.name = "acks/delayed", .steps = {FAULT(0, .ack_delay_ms = 3000)}, .stays = true},
    {.name = "acks/all",
     .steps = {FAULT(0, .ack_split = true, .ack_twice = true, .ack_delay_ms = 500)},
     .stays = true},
    {.name = "acks/garbage",
     .steps = {FAULT(0, .ack_garbage = true, .at_fragment = 3, .times = 1)}},
    {.name = "acks/end", .steps = {FAULT(0, .end_response = true, .at_fragment = 3, .times = 2)}},

    /* ---- clocks and keys ---- */
    {.name = "skew/ahead", .steps = {FAULT(0, .skew_s = 3600)}, .stays = true},
    {.name = "skew/behind", .steps = {FAULT(0, .skew_s = -3600)}, .stays = true},
    {.name = "keys/expire-in-fragment",
     .keys = ROW_KEYS_IOT,
     .steps = {{.at_ms = 3250, .act = ROW_EXPIRE_KEY}}},
    {.name = "keys/expire-provider-down",
     .keys = ROW_KEYS_IOT,
     .seconds = 10,
     .steps = {GOOD(0),
               {.at_ms = 3000, .faults = {.refuse = true}, .on_credentials = true},
               {.at_ms = 3250, .act = ROW_EXPIRE_KEY},
               {.at_ms = 7000, .on_credentials = true}}},

    /* ---- outages of peer.md; a second is as many seconds of media as speed says, so that the
     * spool has as much to hold as in the outage they are named for ---- */
    {.name = "outage/black-hole/30",
     .is_tcp = true,
     .seconds = 36,
     .steps = {FAULT(3000, .black_hole = true), GOOD(33000)},
     .reason = "no answer for 3 s"},
    {.name = "outage/black-hole-reset/30",
     .is_tcp = true,
     .seconds = 36,
     .steps = {FAULT(3000, .black_hole = true), {.at_ms = 33000, .act = ROW_CUT}},
     .reason = "no answer for 3 s"},
    {.name = "outage/refused/30",
     .is_tcp = true,
     .seconds = 36,
     .steps = {FAULT(3000, .refuse = true), GOOD(33000)},
     .reason = "onnect"},
    {.name = "outage/black-hole/120",
     .is_tcp = true,
     .seconds = 46,
     .speed = 3,
     .steps = {FAULT(3000, .black_hole = true), GOOD(43000)},
     .reason = "no answer for 3 s"},
    {.name = "outage/refused/120",
     .is_tcp = true,
     .seconds = 46,
     .speed = 3,
     .steps = {FAULT(3000, .refuse = true), GOOD(43000)},
     .reason = "onnect"},
    {.name = "outage/refused-small-spool/120", /* what does not fit is lost, and counted */
     .is_tcp = true,
     .seconds = 46,
     .speed = 3,
     .spool_bytes = 2000000,
     .steps = {FAULT(3000, .refuse = true), GOOD(43000)},
     .reason = "onnect",
     .lost_at_most = 2000},
    {.name = "outage/refused/300",
     .is_tcp = true,
     .seconds = 43,
     .speed = 8,
     .steps = {FAULT(3000, .refuse = true), GOOD(40500)},
     .reason = "onnect"},

    /* ---- what a user meets, of peer.md ---- */
    {.name = "user/wrong-secret",
     .keys = ROW_KEYS_WRONG_SECRET,
     .never_works = true,
     .reason = "InvalidSignatureException"},
    {.name = "user/unknown-key",
     .keys = ROW_KEYS_UNKNOWN,
     .never_works = true,
     .reason = "UnrecognizedClientException"},
    {.name = "user/wrong-ca",
     .ca_path = "/etc/ssl/certs/ca-certificates.crt",
     .never_works = true,
     .reason = "the CA file"},
    {.name = "user/missing-ca",
     .ca_path = "/nonexistent/ca.pem",
     .never_works = true,
     .reason = "/nonexistent/ca.pem"},
    {.name = "user/refused",
     .is_tcp = true,
     .steps = {FAULT(0, .refuse = true)},
     .never_works = true,
     .reason = "onnect to"},
    {.name = "user/no-such-host", /* a label of 64 characters: refused without asking anybody */
     .endpoint = "https://0123456789012345678901234567890123456789012345678901234567890123.test",
     .never_works = true,
     .reason = "esolve"},
    {.name = "user/black-hole",
     .is_tcp = true,
     .steps = {FAULT(0, .black_hole = true)},
     .never_works = true,
     .reason = "no answer in time"},
    {.name = "user/silence/call", /* connected, but no answer to a call */
     .steps = {FAULT(0, .status = KVG_FAULT_SILENCE, .path = "/describeStream")},
     .never_works = true,
     .reason = "no answer for 3 s"},
    {.name = "user/silence/put",
     .steps = {FAULT(0, .status = KVG_FAULT_SILENCE)},
     .never_works = true,
     .reason = "no answer for 3 s"},
    {.name = "user/no-stream",
     .no_create = true,
     .never_works = true,
     .reason = "ResourceNotFound"},
    {.name = "user/iot/no-file",
     .keys = ROW_KEYS_NO_FILE,
     .never_works = true,
     .reason = "certificate /nonexistent/camera.cert.pem: No such file"},
    {.name = "user/iot/foreign",
     .keys = ROW_KEYS_FOREIGN,
     .never_works = true,
     .reason = "certificate: "},
    {.name = "user/iot/alias",
     .keys = ROW_KEYS_WRONG_ALIAS,
     .never_works = true,
     .reason = "NoSuchAlias"},
    {.name = "user/iot/thing",
     .keys = ROW_KEYS_WRONG_THING,
     .never_works = true,
     .reason = "no-such-thing"},
    {.name = "user/iot/refused",
     .keys = ROW_KEYS_IOT,
     .steps = {{.at_ms = 0, .faults = {.refuse = true}, .on_credentials = true}},
     .never_works = true,
     .reason = "credentials of thing"},
    {.name = "user/iot/black-hole",
     .keys = ROW_KEYS_IOT,
     .steps = {{.at_ms = 0, .faults = {.black_hole = true}, .on_credentials = true}},
     .never_works = true,
     .reason = "credentials of thing"},
    {.name =
         "user/token-refused", /* 30 s of 403, shortened: the back-off grows past it either way */
     .seconds = 16,
     .steps = {{.at_ms = 2000,
                .faults = {.status = 403, .type = "ExpiredTokenException"},
                .act = ROW_CUT},
               GOOD(14000)},
     .puts_at_most = 12,
     .reason = "ExpiredTokenException"},
    {.name = "user/erroring",
     .seconds = 16,
     .steps = {{.at_ms = 2000, .faults = {.status = 500}, .act = ROW_CUT}, GOOD(14000)},
     .puts_at_most = 12,
     .reason = "HTTP 500"},
    {.name = "user/deleted", .steps = {{.at_ms = 4000, .act = ROW_DELETE}}, .lost_at_start = 90},
    {.name = "user/stop-in-outage",
     .is_tcp = true,
     .steps = {FAULT(3000, .black_hole = true)},
     .never_works = true},
    {.name = "user/echo", /* a service that repeats the Authorization header in its complaint */
     .steps = {FAULT(0,
                     .status = 403,
                     .times = 1,
                     .body = "{\"message\":\"bad: Authorization=AWS4-HMAC-SHA256 Credential=AKIA/"
                             "20240101/us-east-1/kinesisvideo/aws4_request, SignedHeaders=host, "
                             "Signature=0123456789abcdef\"}")},
     .reason = "HTTP 403"},
};
const size_t n_rows = G_N_ELEMENTS(rows);
