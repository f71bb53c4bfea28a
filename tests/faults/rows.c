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
    {.name = "latency", .is_tcp = true, .steps = {FAULT(0, .latency_ms = 400)}},
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
    {.name = "acks/split", .steps = {FAULT(0, .ack_split = true)}},
    {.name = "acks/twice", .steps = {FAULT(0, .ack_twice = true)}},
    {.name = "acks/delayed", .steps = {FAULT(0, .ack_delay_ms = 3000)}},
    {.name = "acks/all",
     .steps = {FAULT(0, .ack_split = true, .ack_twice = true, .ack_delay_ms = 500)}},
    {.name = "acks/garbage",
     .steps = {FAULT(0, .ack_garbage = true, .at_fragment = 3, .times = 1)}},
    {.name = "acks/end", .steps = {FAULT(0, .end_response = true, .at_fragment = 3, .times = 2)}},

    /* ---- clocks and keys ---- */
    {.name = "skew/ahead", .steps = {FAULT(0, .skew_s = 3600)}},
    {.name = "skew/behind", .steps = {FAULT(0, .skew_s = -3600)}},
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
};
const size_t n_rows = G_N_ELEMENTS(rows);
