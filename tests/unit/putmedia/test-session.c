/* The session as a table: each event in each state, without network and without waiting. */
#include "putmedia/session.h"

#define SECOND INT64_C(1000000)

typedef struct {
    KvgSession *session;
    int64_t now_us;
    bool has_data;
    KvgSessionActions actions;
} Fixture;

static void
set_up(Fixture *x, gconstpointer unused)
{
    x->session = kvg_session_new(true);
    x->now_us = 1000 * SECOND;
    x->has_data = true;
}

static void
tear_down(Fixture *x, gconstpointer unused)
{
    kvg_session_free(x->session);
}

static void
step(Fixture *x, KvgSessionEvent event)
{
    event.now_us = x->now_us;
    event.has_data = x->has_data;
    kvg_session_step(x->session, &event, &x->actions);
    x->actions.todo &= ~(unsigned)KVG_SESSION_DO_NOTIFY;
}

static void
expect(const Fixture *x, KvgSessionState state, unsigned todo)
{
    g_assert_cmpstr(kvg_session_state_to_string(kvg_session_state(x->session)), ==,
                    kvg_session_state_to_string(state));
    g_assert_cmphex(x->actions.todo, ==, todo);
}

#define STEP(x, ...) step(x, (KvgSessionEvent){__VA_ARGS__})

static void
fail(Fixture *x, int code, const char *type)
{
    STEP(x, .kind = KVG_SESSION_ON_FAILED, .code = code, .error_type = type, .text = "no");
}

static void
pass_time(Fixture *x, int64_t us)
{
    x->now_us += us;
    STEP(x, .kind = KVG_SESSION_ON_TICK);
}

static void
to_connect(Fixture *x, int64_t lifetime_ms)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = lifetime_ms);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
}

static void
to_streaming(Fixture *x)
{
    to_connect(x, 0);
    STEP(x, .kind = KVG_SESSION_ON_OPEN);
    expect(x, KVG_SESSION_STREAMING, 0);
}

static void
begin(Fixture *x, uint64_t fragment)
{
    kvg_session_note_sent(x->session, x->now_us, false);
    STEP(x, .kind = KVG_SESSION_ON_BEGIN, .fragment = fragment,
         .timecode_ms = (int64_t)fragment * 2000);
}

static void
send_fragment(Fixture *x, uint64_t fragment)
{
    begin(x, fragment);
    STEP(x, .kind = KVG_SESSION_ON_FRAGMENT, .fragment = fragment,
         .timecode_ms = (int64_t)fragment * 2000, .latest_ms = (int64_t)fragment * 2000 + 1960,
         .media_ms = 2000, .n_frames = 50);
}

static void
acknowledge(Fixture *x, KvgAckType type, int64_t timecode_ms, int error_id)
{
    const KvgAck ack = {.type = type, .timecode_ms = timecode_ms, .error_id = error_id};
    STEP(x, .kind = KVG_SESSION_ON_ACK, .ack = &ack);
}

/* ---- the way to streaming ---- */

static void
test_start(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    expect(x, KVG_SESSION_KEYS, KVG_SESSION_DO_FETCH_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = 3600000);
    expect(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    fail(x, KVG_ERROR_NOT_FOUND, "ResourceNotFoundException");
    expect(x, KVG_SESSION_CREATE, KVG_SESSION_DO_CREATE);
    STEP(x, .kind = KVG_SESSION_ON_CREATED);
    expect(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = false, .retention_hours = 24);
    expect(x, KVG_SESSION_WAITING, 0);
    pass_time(x, 30 * SECOND);
    expect(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    expect(x, KVG_SESSION_ENDPOINT, KVG_SESSION_DO_ENDPOINT);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
    STEP(x, .kind = KVG_SESSION_ON_OPEN);
    expect(x, KVG_SESSION_STREAMING, 0);
    g_assert_cmpuint(kvg_session_counts(x->session)->sessions, ==, 1);
}

static void
test_created_by_another(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    fail(x, KVG_ERROR_NOT_FOUND, NULL);
    fail(x, KVG_ERROR_INVALID, "ResourceInUseException");
    expect(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
}

static void
test_may_not_create(Fixture *x, gconstpointer unused)
{
    kvg_session_free(x->session);
    x->session = kvg_session_new(false);
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    fail(x, KVG_ERROR_NOT_FOUND, NULL);
    expect(x, KVG_SESSION_WAITING, 0);
}

/* No session is opened for nothing: the service would call it invalid media. */
static void
test_no_data(Fixture *x, gconstpointer unused)
{
    x->has_data = false;
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect(x, KVG_SESSION_READY, 0);
    x->has_data = true;
    STEP(x, .kind = KVG_SESSION_ON_DATA);
    expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
}

/* ---- failures of PutMedia: what is asked for again after the back-off ---- */

static const struct {
    long status;
    const char *type;
    int code;
    unsigned next;
} refusals[] = {
    {400, "InvalidArgumentException", KVG_ERROR_INVALID, KVG_SESSION_DO_ENDPOINT},
    {400, "InvalidEndpointException", KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {400, "ConnectionLimitExceededException", KVG_ERROR_THROTTLED, KVG_SESSION_DO_ENDPOINT},
    {400, "ClientLimitExceededException", KVG_ERROR_THROTTLED, KVG_SESSION_DO_ENDPOINT},
    {401, "NotAuthorizedException", KVG_ERROR_AUTH,
     KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {403, NULL, KVG_ERROR_AUTH, KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {403, "ExpiredTokenException", KVG_ERROR_AUTH,
     KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {403, "InvalidSignatureException", KVG_ERROR_AUTH,
     KVG_SESSION_DO_FETCH_KEYS | KVG_SESSION_DO_RENEW_KEYS},
    {404, "ResourceNotFoundException", KVG_ERROR_NOT_FOUND, KVG_SESSION_DO_DESCRIBE},
    {408, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {429, NULL, KVG_ERROR_THROTTLED, KVG_SESSION_DO_ENDPOINT},
    {500, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {503, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT},
    {0, NULL, KVG_ERROR_RETRY, KVG_SESSION_DO_ENDPOINT}, /* connection lost */
};

static void
test_refusals(Fixture *x, gconstpointer unused)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_test_message("HTTP %ld %s", refusals[i].status,
                       refusals[i].type != NULL ? refusals[i].type : "");
        tear_down(x, NULL);
        set_up(x, NULL);
        to_streaming(x);
        const int code = kvg_session_judge_status(refusals[i].status, refusals[i].type);
        g_assert_cmpint(code, ==, refusals[i].code);
        fail(x, code, refusals[i].type);
        expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
        /* Never at once, and never longer than the cap. */
        const int64_t delay_us = kvg_session_deadline_us(x->session) - x->now_us;
        g_assert_cmpint(delay_us, >=, 250000);
        g_assert_cmpint(delay_us, <=, 20 * SECOND);
        pass_time(x, 20 * SECOND);
        g_assert_cmphex(x->actions.todo, ==, refusals[i].next);
    }
}

static void
test_backoff_grows(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    int64_t longest_us = 0;
    for (int i = 0; i < 10; i++) {
        fail(x, KVG_ERROR_RETRY, NULL);
        longest_us = MAX(longest_us, kvg_session_deadline_us(x->session) - x->now_us);
        pass_time(x, 20 * SECOND);
        STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
        expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
    }
    g_assert_cmpint(longest_us, >=, 10 * SECOND);
    /* Progress forgets it. */
    STEP(x, .kind = KVG_SESSION_ON_OPEN);
    send_fragment(x, 1);
    acknowledge(x, KVG_ACK_RECEIVED, 2000, 0);
    fail(x, KVG_ERROR_RETRY, NULL);
    g_assert_cmpint(kvg_session_deadline_us(x->session) - x->now_us, <=, SECOND);
}

/* ---- acknowledgements ---- */

static void
test_persisted(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    send_fragment(x, 2);
    acknowledge(x, KVG_ACK_BUFFERING, 2000, 0);
    acknowledge(x, KVG_ACK_RECEIVED, 2000, 0);
    g_assert_cmphex(x->actions.todo, ==, 0);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    g_assert_cmphex(x->actions.todo, ==, KVG_SESSION_DO_PERSIST);
    g_assert_cmpuint(x->actions.persisted, ==, 1);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0); /* twice, or of nobody: no matter */
    acknowledge(x, KVG_ACK_PERSISTED, 77, 0);
    g_assert_cmphex(x->actions.todo, ==, 0);
    acknowledge(x, KVG_ACK_PERSISTED, 4000, 0);
    g_assert_cmpuint(x->actions.persisted, ==, 2);
    const KvgSessionCounts *counts = kvg_session_counts(x->session);
    g_assert_cmpuint(counts->fragments_persisted, ==, 2);
    g_assert_cmpuint(counts->frames_persisted, ==, 100);
    g_assert_cmpuint(counts->media_ms_persisted, ==, 4000);
}

/* The cursor never passes a fragment that is not persisted. */
static void
test_out_of_order(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    send_fragment(x, 2);
    acknowledge(x, KVG_ACK_PERSISTED, 4000, 0);
    g_assert_cmphex(x->actions.todo, ==, 0);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    g_assert_cmpuint(x->actions.persisted, ==, 2);
}

static void
test_partial_fragment(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    begin(x, 1);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    g_assert_cmphex(x->actions.todo, ==, 0);
}

static void
test_no_retention(Fixture *x, gconstpointer unused)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 0);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    STEP(x, .kind = KVG_SESSION_ON_OPEN);
    send_fragment(x, 1);
    acknowledge(x, KVG_ACK_RECEIVED, 2000, 0);
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
        tear_down(x, NULL);
        set_up(x, NULL);
        to_streaming(x);
        send_fragment(x, 1);
        send_fragment(x, 2);
        acknowledge(x, KVG_ACK_ERROR, 4000, errors[i].id);
        expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
        g_assert_cmpint(kvg_session_skips(x->session, 2), ==, errors[i].outcome == SKIP);
        g_assert_false(kvg_session_skips(x->session, 1));
        pass_time(x, 20 * SECOND);
        if (errors[i].outcome == DESCRIBE) {
            expect(x, KVG_SESSION_DESCRIBE, KVG_SESSION_DO_DESCRIBE);
            continue;
        }
        expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
        send_fragment(x, 1);
        send_fragment(x, 2);
        acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
        const bool skipped = errors[i].outcome == SKIP;
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
        g_assert_false(kvg_session_skips(x->session, 1));
        send_fragment(x, 1);
        acknowledge(x, KVG_ACK_ERROR, 2000, 4999);
        pass_time(x, 20 * SECOND);
        expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
    }
    g_assert_true(kvg_session_skips(x->session, 1));
}

/* Refused again while sent again: counted once. */
static void
test_skip_counted_once(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    send_fragment(x, 2);
    acknowledge(x, KVG_ACK_ERROR, 4000, 4002);
    for (int i = 0; i < 3; i++) {
        pass_time(x, 20 * SECOND);
        STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
        send_fragment(x, 1);
        send_fragment(x, 2);
        fail(x, KVG_ERROR_RETRY, NULL);
    }
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_refused, ==, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->frames_refused, ==, 50);
}

/* ---- time ---- */

static void
test_stale(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    pass_time(x, 29 * SECOND);
    expect(x, KVG_SESSION_STREAMING, 0);
    pass_time(x, 2 * SECOND);
    expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
}

static void
test_never_persisted(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    for (int i = 0; i < 18; i++) {
        acknowledge(x, KVG_ACK_BUFFERING, 2000, 0);
        pass_time(x, 5 * SECOND);
    }
    expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
}

/* A camera that pauses: the session ends so that its last fragment is complete. */
static void
test_parked(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    kvg_session_note_sent(x->session, x->now_us, true);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    pass_time(x, 15 * SECOND);
    expect(x, KVG_SESSION_DRAINING, KVG_SESSION_DO_END_BODY);
    x->has_data = false;
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_READY, 0);
}

static void
test_rotation(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    g_assert_false(kvg_session_wants_new(x->session, x->now_us + 41 * 60 * SECOND, 1));
    send_fragment(x, 1);
    g_assert_false(kvg_session_wants_new(x->session, x->now_us + 35 * 60 * SECOND, 4000));
    g_assert_true(kvg_session_wants_new(x->session, x->now_us + 40 * 60 * SECOND, 4000));
    /* Timecodes have to grow within a session, but only there. */
    g_assert_true(kvg_session_wants_new(x->session, x->now_us, 3960));
    g_assert_false(kvg_session_wants_new(x->session, x->now_us, 3961));
    STEP(x, .kind = KVG_SESSION_ON_BODY_END);
    expect(x, KVG_SESSION_DRAINING, 0);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    g_assert_cmpuint(x->actions.persisted, ==, 1);
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_CONNECT, KVG_SESSION_DO_PUT);
}

/* Credentials of ten minutes: the session makes way before they expire, with new ones. */
static void
test_rotation_by_keys(Fixture *x, gconstpointer unused)
{
    to_connect(x, 10 * 60 * 1000);
    send_fragment(x, 1);
    g_assert_false(kvg_session_wants_new(x->session, x->now_us + 8 * 60 * SECOND, 4000));
    g_assert_true(kvg_session_wants_new(x->session, x->now_us + 570 * SECOND, 4000));
    x->now_us += 570 * SECOND;
    STEP(x, .kind = KVG_SESSION_ON_BODY_END);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_KEYS, KVG_SESSION_DO_FETCH_KEYS);
}

static void
test_drain_timeout(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    STEP(x, .kind = KVG_SESSION_ON_BODY_END);
    pass_time(x, 15 * SECOND);
    expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
}

static void
test_ended_by_service(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
}

static void
test_drained_unacknowledged(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    STEP(x, .kind = KVG_SESSION_ON_BODY_END);
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_WAITING, KVG_SESSION_DO_ABORT);
}

static void
test_window(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    uint64_t n = 0;
    while (kvg_session_may_send(x->session) && n < 100000)
        send_fragment(x, ++n);
    g_assert_cmpuint(n, ==, 512);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    g_assert_true(kvg_session_may_send(x->session));
}

/* ---- close ---- */

static void
test_close(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 1);
    STEP(x, .kind = KVG_SESSION_ON_CLOSE);
    expect(x, KVG_SESSION_STREAMING, 0);
    g_assert_true(kvg_session_is_closing(x->session));
    STEP(x, .kind = KVG_SESSION_ON_BODY_END);
    acknowledge(x, KVG_ACK_PERSISTED, 2000, 0);
    x->has_data = false;
    STEP(x, .kind = KVG_SESSION_ON_END);
    expect(x, KVG_SESSION_CLOSED, 0);
}

static void
test_close_with_nothing(Fixture *x, gconstpointer unused)
{
    x->has_data = false;
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_CLOSE);
    expect(x, KVG_SESSION_CLOSED, 0);
    STEP(x, .kind = KVG_SESSION_ON_KEYS);
    expect(x, KVG_SESSION_CLOSED, 0);
}

/* Late news of a connection that was given up changes nothing. */
static void
test_late_news(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    fail(x, KVG_ERROR_RETRY, NULL);
    const int64_t until_us = kvg_session_deadline_us(x->session);
    fail(x, KVG_ERROR_AUTH, NULL);
    STEP(x, .kind = KVG_SESSION_ON_END);
    STEP(x, .kind = KVG_SESSION_ON_OPEN);
    STEP(x, .kind = KVG_SESSION_ON_STREAM);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect(x, KVG_SESSION_WAITING, 0);
    g_assert_cmpint(kvg_session_deadline_us(x->session), ==, until_us);
}

#define ADD(path, function) g_test_add("/session/" path, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("start", test_start);
    ADD("created-by-another", test_created_by_another);
    ADD("may-not-create", test_may_not_create);
    ADD("no-data", test_no_data);
    ADD("refusals", test_refusals);
    ADD("backoff-grows", test_backoff_grows);
    ADD("persisted", test_persisted);
    ADD("out-of-order", test_out_of_order);
    ADD("partial-fragment", test_partial_fragment);
    ADD("no-retention", test_no_retention);
    ADD("error-acks", test_error_acks);
    ADD("strikes", test_strikes);
    ADD("skip-counted-once", test_skip_counted_once);
    ADD("stale", test_stale);
    ADD("never-persisted", test_never_persisted);
    ADD("parked", test_parked);
    ADD("rotation", test_rotation);
    ADD("rotation-by-keys", test_rotation_by_keys);
    ADD("drain-timeout", test_drain_timeout);
    ADD("ended-by-service", test_ended_by_service);
    ADD("drained-unacknowledged", test_drained_unacknowledged);
    ADD("window", test_window);
    ADD("close", test_close);
    ADD("close-with-nothing", test_close_with_nothing);
    ADD("late-news", test_late_news);
    return g_test_run();
}
