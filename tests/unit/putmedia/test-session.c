/* The session as a table: each event in each state, without network and without waiting. */
#include "fixture.h"
#include <string.h>

/* ---- the way to streaming ---- */

static void
test_start(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    expect_todo(x, KVG_SESSION_KEYS, KVG_SESSION_DO_FETCH_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = 3600000);
    expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    fail(x, KVG_ERROR_NOT_FOUND, "ResourceNotFoundException");
    expect_todo(x, KVG_SESSION_CREATE, KVG_SESSION_DO_CREATE);
    STEP(x, .kind = KVG_SESSION_ON_CREATED);
    expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = false, .retention_hours = 24);
    expect_todo(x, KVG_SESSION_WAITING, 0);
    pass_time(x, 30 * SECOND);
    expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    expect_todo(x, KVG_SESSION_ENDPOINT, KVG_SESSION_DO_ENDPOINT);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_state(x, KVG_SESSION_CONNECT);
    expect_calls(x, 1, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 1);
    open_call(x, 0);
    expect_todo(x, KVG_SESSION_STREAMING, 0);
    g_assert_cmpuint(kvg_session_counts(x->session)->sessions, ==, 1);
}

static void
test_created_by_another(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    fail(x, KVG_ERROR_NOT_FOUND, NULL);
    fail(x, KVG_ERROR_INVALID, "ResourceInUseException");
    expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
}

static void
test_may_not_create(Fixture *x, gconstpointer unused)
{
    kvg_session_free(x->session);
    x->session = kvg_session_new(&(KvgSessionOptions){.create = false});
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    fail(x, KVG_ERROR_NOT_FOUND, NULL);
    expect_todo(x, KVG_SESSION_WAITING, 0);
}

/* No session is opened for nothing: the service would call it invalid media. */
static void
test_no_data(Fixture *x, gconstpointer unused)
{
    x->oldest = x->newest = 0;
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_todo(x, KVG_SESSION_READY, 0);
    expect_calls(x, 0, 0);
    x->oldest = x->newest = 1;
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_calls(x, 1, 0);
}

/* ---- failures of the control plane ---- */

static const struct {
    int code;
    const char *type;
    unsigned next; /* what is fetched again after the back-off */
} describe_failures[] = {
    {KVG_ERROR_AUTH, "AccessDeniedException",
     KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {KVG_ERROR_AUTH, "ExpiredTokenException",
     KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {KVG_ERROR_THROTTLED, "ClientLimitExceededException", KVG_SESSION_DO_DESCRIBE},
    {KVG_ERROR_RETRY, NULL, KVG_SESSION_DO_DESCRIBE},
    {KVG_ERROR_INVALID, "InvalidArgumentException", KVG_SESSION_DO_DESCRIBE},
};

static void
test_describe_failures(Fixture *x, gconstpointer unused)
{
    for (size_t i = 0; i < G_N_ELEMENTS(describe_failures); i++) {
        again(x);
        STEP(x, .kind = KVG_SESSION_ON_START);
        STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = 3600000);
        fail(x, describe_failures[i].code, describe_failures[i].type);
        expect_todo(x, KVG_SESSION_WAITING, 0);
        g_assert_cmpstr(kvg_session_reason(x->session), ==, "no");
        pass_time(x, 20 * SECOND);
        g_assert_cmphex(x->actions.todo, ==, describe_failures[i].next);
    }
}

/* A clock that is wrong: corrected by the uploader, and tried again at once, but only once. */
static void
test_skew(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_FAILED, .code = KVG_ERROR_AUTH, .is_skew = true, .text = "no");
    expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    STEP(x, .kind = KVG_SESSION_ON_FAILED, .code = KVG_ERROR_AUTH, .is_skew = true, .text = "no");
    expect_todo(x, KVG_SESSION_WAITING, 0);
    g_assert_cmpuint(kvg_session_counts(x->session)->clock_corrections, ==, 1);

    again(x);
    to_streaming(x);
    send_fragment(x, 0, 1);
    x->now_us += SECOND; /* beyond five calls a second */
    for (int i = 0; i < 2; i++) {
        STEP(x, .kind = KVG_SESSION_ON_PUT_FAILED, .call = 0, .code = KVG_ERROR_AUTH,
             .is_skew = true, .text = "no", .end = KVG_STREAM_END_REFUSED);
        expect_calls(x, i == 0 ? 1 : 0, 1);
    }
    expect_state(x, KVG_SESSION_WAITING);
}

/* The data plane may work where the control plane does not: the old endpoint is tried. */
static void
test_old_endpoint(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    pass_time(x, 20 * SECOND);
    expect_todo(x, KVG_SESSION_ENDPOINT, KVG_SESSION_DO_ENDPOINT);
    fail(x, KVG_ERROR_RETRY, NULL);
    expect_calls(x, 1, 0);
    /* But not one that was called wrong. */
    fail_call(x, 0, KVG_ERROR_RETRY, "InvalidEndpointException");
    pass_time(x, 20 * SECOND);
    fail(x, KVG_ERROR_RETRY, NULL);
    expect_state(x, KVG_SESSION_WAITING);
    expect_calls(x, 0, 0);
}

/* ---- failures of PutMedia: what is asked for again after the back-off ---- */

#define RENEW (KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS)
static const struct {
    long status;
    const char *type;
    int code;
    unsigned next; /* 0: PutMedia */
} refusals[] = {
    {400, "InvalidArgumentException", KVG_ERROR_INVALID, KVG_SESSION_DO_ENDPOINT},
    {400, "InvalidEndpointException", KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {400, "ConnectionLimitExceededException", KVG_ERROR_THROTTLED, 0},
    {400, "ClientLimitExceededException", KVG_ERROR_THROTTLED, 0},
    {400, NULL, KVG_ERROR_INVALID, KVG_SESSION_DO_ENDPOINT},
    {401, "NotAuthorizedException", KVG_ERROR_AUTH, RENEW},
    {401, "AccessDeniedException", KVG_ERROR_AUTH, RENEW},
    {403, NULL, KVG_ERROR_AUTH, RENEW},
    {403, "ExpiredTokenException", KVG_ERROR_AUTH, RENEW},
    {403, "UnrecognizedClientException", KVG_ERROR_AUTH, RENEW},
    {403, "InvalidSignatureException", KVG_ERROR_AUTH, RENEW},
    {404, "ResourceNotFoundException", KVG_ERROR_NOT_FOUND, KVG_SESSION_DO_DESCRIBE},
    {404, NULL, KVG_ERROR_NOT_FOUND, KVG_SESSION_DO_DESCRIBE},
    {406, NULL, KVG_ERROR_INVALID, KVG_SESSION_DO_ENDPOINT},
    {408, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {429, NULL, KVG_ERROR_THROTTLED, 0},
    {500, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {501, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {503, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {504, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {598, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {302, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {0, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT}, /* connection lost */
};

static void
test_refusals(Fixture *x, gconstpointer unused)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_test_message("HTTP %ld %s", refusals[i].status,
                       refusals[i].type != NULL ? refusals[i].type : "");
        again(x);
        to_streaming(x);
        send_fragment(x, 0, 1);
        const int code = kvg_verdict_of_status(refusals[i].status, refusals[i].type);
        g_assert_cmpint(code, ==, refusals[i].code);
        fail_call(x, 0, code, refusals[i].type);
        expect_todo(x, KVG_SESSION_WAITING, 0);
        expect_calls(x, 0, 1);
        expect_end(x, KVG_STREAM_END_REFUSED, 1);
        g_assert_cmpuint(kvg_session_counts(x->session)->throttled, ==,
                         code == KVG_ERROR_THROTTLED);
        /* Never at once, and never longer than the cap. */
        const int64_t delay_us = kvg_session_deadline_us(x->session) - x->now_us;
        g_assert_cmpint(delay_us, >=, 250000);
        g_assert_cmpint(delay_us, <=, 20 * SECOND);
        pass_time(x, 20 * SECOND);
        g_assert_cmphex(x->actions.todo, ==, refusals[i].next);
        expect_calls(x, refusals[i].next == 0 ? 1 : 0, 0);
        if (refusals[i].next != KVG_SESSION_DO_ENDPOINT)
            continue;
        /* Whatever was not persisted comes again. */
        STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
        expect_calls(x, 1, 0);
        g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 1);
        send_fragment(x, 0, 1);
        g_assert_cmpuint(kvg_session_counts(x->session)->fragments_resent, ==, 1);
    }
}

static void
test_backoff_grows(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    int64_t longest_us = 0;
    for (int i = 0; i < 10; i++) {
        fail_call(x, 0, KVG_ERROR_RETRY, NULL);
        longest_us = MAX(longest_us, kvg_session_deadline_us(x->session) - x->now_us);
        pass_time(x, 20 * SECOND);
        STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
        expect_calls(x, 1, 0);
    }
    g_assert_cmpint(longest_us, >=, 10 * SECOND);
    /* Progress forgets it. */
    open_call(x, 0);
    send_fragment(x, 0, 1);
    acknowledge(x, 0, KVG_ACK_RECEIVED, 2000, 0);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    g_assert_cmpint(kvg_session_deadline_us(x->session) - x->now_us, <=, SECOND);
}

/* ---- acknowledgements ---- */

static void
test_persisted(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    send_fragment(x, 0, 2);
    x->now_us += SECOND / 10;
    acknowledge(x, 0, KVG_ACK_BUFFERING, 2000, 0);
    acknowledge(x, 0, KVG_ACK_RECEIVED, 2000, 0);
    g_assert_cmphex(x->actions.todo, ==, 0);
    persist(x, 0, 1);
    g_assert_cmphex(x->actions.todo, ==, KVG_SESSION_DO_PERSIST);
    g_assert_cmpuint(x->actions.persisted, ==, 1);
    persist(x, 0, 1); /* twice, or of nobody: no matter */
    persist(x, 0, 77);
    g_assert_cmphex(x->actions.todo, ==, 0);
    persist(x, 0, 2);
    g_assert_cmpuint(x->actions.persisted, ==, 2);
    const KvgSessionCounts *counts = kvg_session_counts(x->session);
    g_assert_cmpuint(counts->fragments_persisted, ==, 2);
    g_assert_cmpuint(counts->frames_persisted, ==, 100);
    g_assert_cmpuint(counts->media_ms_persisted, ==, 4000);
    g_assert_cmpuint(counts->acks[KVG_ACK_PERSISTED], ==, 4);
    g_assert_cmpint(counts->buffering_ms, ==, 100);
    g_assert_cmpint(counts->received_ms, ==, 100);
}

/* The cursor never passes a fragment that is not persisted. */
static void
test_out_of_order(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    send_fragment(x, 0, 2);
    persist(x, 0, 2);
    g_assert_cmphex(x->actions.todo, ==, 0);
    /* After a loss it is sent again behind the first, so that the order stays; counted once. */
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    pass_time(x, 20 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    send_fragment(x, 0, 1);
    send_fragment(x, 0, 2);
    persist(x, 0, 1);
    g_assert_cmpuint(x->actions.persisted, ==, 1);
    persist(x, 0, 2);
    g_assert_cmpuint(x->actions.persisted, ==, 2);
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_persisted, ==, 2);
}

static void
test_partial_fragment(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    begin(x, 0, 1);
    persist(x, 0, 1);
    g_assert_cmphex(x->actions.todo, ==, 0);
}

static void
test_no_retention(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 0);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    open_call(x, 0);
    send_fragment(x, 0, 1);
    acknowledge(x, 0, KVG_ACK_RECEIVED, 2000, 0);
    g_assert_cmphex(x->actions.todo, ==, KVG_SESSION_DO_PERSIST);
}

typedef enum { RESEND, SKIP, DESCRIBE, STRIKE } Outcome;
static const struct {
    int id;
    Outcome outcome;
} errors[] = {
    {4000, RESEND},   {4001, SKIP},   {4002, SKIP},   {4003, RESEND},   {4004, SKIP},
    {4005, SKIP},     {4006, SKIP},   {4007, SKIP},   {4008, DESCRIBE}, {4009, SKIP},
    {4010, SKIP},     {4011, SKIP},   {4012, SKIP},   {4500, RESEND},   {4501, RESEND},
    {4502, RESEND},   {4503, RESEND}, {4504, RESEND}, {4505, RESEND},   {4506, RESEND},
    {4507, DESCRIBE}, {5000, RESEND}, {5001, RESEND}, {4999, STRIKE},   {7000, STRIKE},
    {0, STRIKE},
};

/* After an ERROR ack: new connection, and the fragment is sent again or read over. */
static void
test_error_acks(Fixture *x, gconstpointer unused)
{
    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        g_test_message("ErrorId %d", errors[i].id);
        again(x);
        to_streaming(x);
        send_fragment(x, 0, 1);
        send_fragment(x, 0, 2);
        acknowledge(x, 0, KVG_ACK_ERROR, 4000, errors[i].id);
        expect_todo(x, KVG_SESSION_WAITING, 0);
        expect_calls(x, 0, 1);
        expect_end(x, KVG_STREAM_END_ERROR, 1);
        g_assert_cmpint(kvg_session_counts(x->session)->last_error_id, ==, errors[i].id);
        pass_time(x, 20 * SECOND);
        if (errors[i].outcome == DESCRIBE) {
            expect_todo(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
            continue;
        }
        expect_calls(x, 1, 0);
        g_assert_cmpint(begin(x, 0, 1), ==, KVG_ADMIT_SEND);
        finish(x, 0, 1);
        const bool skipped = errors[i].outcome == SKIP;
        g_assert_cmpint(begin(x, 0, 2), ==, skipped ? KVG_ADMIT_READ_OVER : KVG_ADMIT_SEND);
        finish(x, 0, 2);
        persist(x, 0, 1);
        g_assert_cmpuint(x->actions.persisted, ==, skipped ? 2 : 1);
        const KvgSessionCounts *counts = kvg_session_counts(x->session);
        g_assert_cmpuint(counts->fragments_refused, ==, skipped ? 1 : 0);
        g_assert_cmpuint(counts->frames_refused, ==, skipped ? 50 : 0);
    }
}

/* An error kvg does not know cannot hold up a stream for ever. */
static void
test_strikes(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    for (int i = 0; i < KVG_SESSION_STRIKES; i++) {
        g_assert_cmpint(begin(x, 0, 1), ==, KVG_ADMIT_SEND);
        acknowledge(x, 0, KVG_ACK_ERROR, 2000, 4999);
        pass_time(x, 20 * SECOND);
        expect_calls(x, 1, 0);
    }
    g_assert_cmpint(begin(x, 0, 1), ==, KVG_ADMIT_READ_OVER);
}

/* Refused again while sent again: counted once. */
static void
test_skip_counted_once(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    send_fragment(x, 0, 2);
    acknowledge(x, 0, KVG_ACK_ERROR, 4000, 4002);
    for (int i = 0; i < 3; i++) {
        pass_time(x, 20 * SECOND);
        STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
        send_fragment(x, 0, 1);
        begin(x, 0, 2);
        finish(x, 0, 2);
        fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    }
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_refused, ==, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->frames_refused, ==, 50);
}

/* Evicted from the spool while it was under way: nobody waits for it. */
static void
test_evicted(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    begin(x, 0, 2);
    x->oldest = 4;
    x->newest = 5;
    STEP(x, .kind = KVG_SESSION_ON_GAP, .call = 0, .fragment = 2, .gap_end = 3);
    send_fragment(x, 0, 4);
    persist(x, 0, 4);
    g_assert_cmpuint(x->actions.persisted, ==, 4);
    persist(x, 0, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_persisted, ==, 1);
}

/* ---- time ---- */

static void
test_stale(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    pass_time(x, 29 * SECOND);
    expect_state(x, KVG_SESSION_STREAMING);
    pass_time(x, 2 * SECOND);
    expect_state(x, KVG_SESSION_WAITING);
    expect_calls(x, 0, 1);
    expect_end(x, KVG_STREAM_END_STALE, 1);

    x->options.stale_us = 5 * SECOND;
    again(x);
    to_streaming(x);
    send_fragment(x, 0, 1);
    pass_time(x, 6 * SECOND);
    expect_end(x, KVG_STREAM_END_STALE, 1);
}

static void
expect_silent(const Fixture *x, bool is_silent)
{
    const char *found = strstr(kvg_session_reason(x->session), "no answer for 3 s");
    g_assert_cmpint(found != NULL, ==, is_silent);
}

/* Long before anything is given up, the reason says that an answer is awaited. */
static void
test_silence(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    expect_state(x, KVG_SESSION_KEYS);
    expect_silent(x, false);
    g_assert_cmpint(kvg_session_deadline_us(x->session), <=, x->now_us + 3 * SECOND);
    pass_time(x, 3 * SECOND);
    expect_silent(x, true);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    expect_silent(x, false);

    again(x);
    to_streaming(x);
    send_fragment(x, 0, 1);
    expect_silent(x, false);
    pass_time(x, 3 * SECOND);
    expect_state(x, KVG_SESSION_STREAMING);
    expect_silent(x, true);
    acknowledge(x, 0, KVG_ACK_RECEIVED, 1000, 0);
    expect_silent(x, false);
}

/* A line so slow that a fragment takes minutes is not dead while bytes go. */
static void
test_slow(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    begin(x, 0, 1);
    for (int i = 0; i < 20; i++) {
        pass_time(x, 10 * SECOND);
        kvg_session_note_sent(x->session, 0, x->now_us, false);
        expect_state(x, KVG_SESSION_STREAMING);
    }
}

static void
test_never_persisted(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    for (int i = 0; i < 18; i++) {
        acknowledge(x, 0, KVG_ACK_BUFFERING, 2000, 0);
        pass_time(x, 5 * SECOND);
    }
    expect_end(x, KVG_STREAM_END_STALE, 1);
}

/* A camera that pauses: its fragment is ended on the wire, then the session; and it goes on. */
static void
test_pause(Fixture *x, gconstpointer unused)
{
    x->newest = 1;
    to_streaming(x);
    begin(x, 0, 1);
    kvg_session_note_sent(x->session, 0, x->now_us, true);
    g_assert_cmpint(kvg_session_deadline_us(x->session) - x->now_us, ==, 3 * SECOND);
    pass_time(x, 3 * SECOND);
    g_assert_cmphex(x->actions.end_fragment, ==, 1);
    STEP(x, .kind = KVG_SESSION_ON_FRAGMENT, .call = 0, .fragment = 1, .timecode_ms = 2000,
         .latest_ms = 2400, .n_frames = 10, .media_ms = 400);
    kvg_session_note_sent(x->session, 0, x->now_us, true);
    persist(x, 0, 1);
    g_assert_cmphex(x->actions.todo, ==, 0); /* more may come */
    pass_time(x, 3 * SECOND);
    g_assert_cmphex(x->actions.end_fragment, ==, 0); /* only once */
    /* The camera goes on in the same fragment: a piece of its own. */
    STEP(x, .kind = KVG_SESSION_ON_PIECE, .call = 0, .fragment = 1, .timecode_ms = 8000);
    STEP(x, .kind = KVG_SESSION_ON_FRAGMENT, .call = 0, .fragment = 1, .is_last = true,
         .timecode_ms = 8000, .latest_ms = 8400, .n_frames = 5, .media_ms = 200);
    g_assert_cmphex(x->actions.todo, ==, 0);
    persist(x, 0, 4);
    g_assert_cmpuint(x->actions.persisted, ==, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_persisted, ==, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->frames_persisted, ==, 15);
    g_assert_cmpuint(kvg_session_counts(x->session)->media_ms_persisted, ==, 600);
}

static void
test_parked(Fixture *x, gconstpointer unused)
{
    x->newest = 1;
    to_streaming(x);
    begin(x, 0, 1);
    kvg_session_note_sent(x->session, 0, x->now_us, true);
    pass_time(x, 3 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_FRAGMENT, .call = 0, .fragment = 1, .timecode_ms = 2000,
         .latest_ms = 2400, .n_frames = 10);
    persist(x, 0, 1);
    kvg_session_note_sent(x->session, 0, x->now_us, true);
    pass_time(x, 15 * SECOND);
    g_assert_cmphex(x->actions.end_body, ==, 1);
    expect_state(x, KVG_SESSION_DRAINING);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_READY);
    expect_calls(x, 0, 0);
    expect_end(x, KVG_STREAM_END_IDLE, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->failures, ==, 0);
    /* The fragment goes on: all of it is sent again. */
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_calls(x, 1, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 1);
}

/* ---- ends ---- */

static void
test_ended_by_service(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_WAITING);
    expect_calls(x, 0, 1);
    expect_end(x, KVG_STREAM_END_SERVICE, 1);
}

static void
test_window(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    uint64_t n = 0;
    while (kvg_session_may_send(x->session, 0) && n < 100000)
        send_fragment(x, 0, ++n);
    g_assert_cmpuint(n, ==, KVG_CALL_WINDOW);
    persist(x, 0, 1);
    g_assert_true(kvg_session_may_send(x->session, 0));
}

static void
to_closing(Fixture *x)
{
    x->newest = 1;
    to_streaming(x);
    send_fragment(x, 0, 1);
    STEP(x, .kind = KVG_SESSION_ON_CLOSE);
    expect_state(x, KVG_SESSION_STREAMING);
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    expect_state(x, KVG_SESSION_DRAINING);
}

static void
test_close(Fixture *x, gconstpointer unused)
{
    to_closing(x);
    persist(x, 0, 1);
    expect_state(x, KVG_SESSION_DRAINING);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_CLOSED);
    expect_end(x, KVG_STREAM_END_CLOSED, 1);
}

/* Everything is persisted, but the response does not end. */
static void
test_close_without_end(Fixture *x, gconstpointer unused)
{
    to_closing(x);
    persist(x, 0, 1);
    pass_time(x, 6 * SECOND);
    expect_state(x, KVG_SESSION_CLOSED);
    expect_calls(x, 0, 1);
}

static void
test_close_unacknowledged(Fixture *x, gconstpointer unused)
{
    to_closing(x);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_WAITING);
    pass_time(x, 20 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_calls(x, 1, 0);
}

static void
test_close_with_nothing(Fixture *x, gconstpointer unused)
{
    x->oldest = x->newest = 0;
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_CLOSE);
    expect_state(x, KVG_SESSION_CLOSED);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    expect_todo(x, KVG_SESSION_CLOSED, 0);
}

/* Late news of a connection that was given up changes nothing. */
static void
test_late_news(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    const int64_t until_us = kvg_session_deadline_us(x->session);
    fail_call(x, 0, KVG_ERROR_AUTH, NULL);
    fail(x, KVG_ERROR_AUTH, NULL);
    end_call(x, 0);
    open_call(x, 0);
    persist(x, 0, 1);
    STEP(x, .kind = KVG_SESSION_ON_STREAM);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    g_assert_cmpint(begin(x, 0, 2), ==, KVG_ADMIT_STOP);
    expect_todo(x, KVG_SESSION_WAITING, 0);
    g_assert_cmpint(kvg_session_deadline_us(x->session), ==, until_us);
}
/* ---- holding ---- */

static void
start_holding(Fixture *x)
{
    kvg_session_free(x->session);
    x->options.holds = true;
    x->session = kvg_session_new(&x->options);
    x->oldest = x->newest = 0;
    STEP(x, .kind = KVG_SESSION_ON_START);
}

/* Nothing is asked for: nothing is fetched, nothing is connected, and nothing is due. */
static void
test_holding(Fixture *x, gconstpointer unused)
{
    start_holding(x);
    expect_todo(x, KVG_SESSION_READY, 0);
    g_assert_cmpstr(kvg_session_reason(x->session), ==, "holding; nothing is asked for");
    g_assert_cmpint(kvg_session_deadline_us(x->session), ==, INT64_MAX);
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_todo(x, KVG_SESSION_READY, 0);
    /* Then it is. */
    x->oldest = 1;
    x->newest = 3;
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_todo(x, KVG_SESSION_KEYS, KVG_SESSION_DO_FETCH_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = 3600000);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_state(x, KVG_SESSION_CONNECT);
    expect_calls(x, 1, 0);
}

/* The call ends with the last fragment that is asked for, unless more is expected. */
static void
test_holding_ends(Fixture *x, gconstpointer unused)
{
    start_holding(x);
    x->oldest = x->newest = 1;
    x->expects_more = true;
    to_streaming(x);
    send_fragment(x, 0, 1);
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_SEND);
    send_fragment(x, 0, 2);
    persist(x, 0, 1);
    x->expects_more = false;
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    expect_state(x, KVG_SESSION_DRAINING);
    persist(x, 0, 2);
    end_call(x, 0);
    expect_todo(x, KVG_SESSION_READY, 0);
    expect_end(x, KVG_STREAM_END_IDLE, 1);
    expect_calls(x, 0, 0);
    /* And again, with what is known. */
    pass_time(x, SECOND);
    x->oldest = x->newest = 3;
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_todo(x, KVG_SESSION_CONNECT, 0);
    expect_calls(x, 1, 0);
}

/* What is lost when the call ends is asked for still. */
static void
test_holding_lost(Fixture *x, gconstpointer unused)
{
    start_holding(x);
    x->oldest = 1;
    x->newest = 2;
    to_streaming(x);
    send_fragment(x, 0, 1);
    send_fragment(x, 0, 2);
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    persist(x, 0, 1);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    expect_state(x, KVG_SESSION_WAITING);
    pass_time(x, 20 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_calls(x, 1, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 2);
}

/* An older range after a newer one: a session of its own. */
static void
test_holding_backwards(Fixture *x, gconstpointer unused)
{
    start_holding(x);
    x->oldest = 1;
    x->newest = 2;
    to_streaming(x);
    send_fragment(x, 0, 1);
    STEP(x, .kind = KVG_SESSION_ON_BEGIN, .call = 0, .fragment = 2, .timecode_ms = 500);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    pass_time(x, SECOND);
    expect_calls(x, 2, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 1), ==, 2);
}

/* A call that waits to follow is not needed when nothing more is asked for. */
static void
test_holding_rotation(Fixture *x, gconstpointer unused)
{
    start_holding(x);
    x->oldest = x->newest = 1;
    x->expects_more = true;
    to_streaming(x);
    send_fragment(x, 0, 1);
    persist(x, 0, 1);
    x->now_us += 41 * MINUTE;
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect_calls(x, 2, 0);
    x->expects_more = false;
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    expect_calls(x, 0, 2);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_READY);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("start", test_start);
    ADD("created-by-another", test_created_by_another);
    ADD("may-not-create", test_may_not_create);
    ADD("no-data", test_no_data);
    ADD("describe-failures", test_describe_failures);
    ADD("skew", test_skew);
    ADD("old-endpoint", test_old_endpoint);
    ADD("refusals", test_refusals);
    ADD("backoff-grows", test_backoff_grows);
    ADD("persisted", test_persisted);
    ADD("out-of-order", test_out_of_order);
    ADD("partial-fragment", test_partial_fragment);
    ADD("no-retention", test_no_retention);
    ADD("error-acks", test_error_acks);
    ADD("strikes", test_strikes);
    ADD("skip-counted-once", test_skip_counted_once);
    ADD("evicted", test_evicted);
    ADD("stale", test_stale);
    ADD("silence", test_silence);
    ADD("slow", test_slow);
    ADD("never-persisted", test_never_persisted);
    ADD("pause", test_pause);
    ADD("parked", test_parked);
    ADD("ended-by-service", test_ended_by_service);
    ADD("window", test_window);
    ADD("close", test_close);
    ADD("close-without-end", test_close_without_end);
    ADD("close-unacknowledged", test_close_unacknowledged);
    ADD("close-with-nothing", test_close_with_nothing);
    ADD("late-news", test_late_news);
    ADD("holding", test_holding);
    ADD("holding/ends", test_holding_ends);
    ADD("holding/lost", test_holding_lost);
    ADD("holding/backwards", test_holding_backwards);
    ADD("holding/rotation", test_holding_rotation);
    return g_test_run();
}
