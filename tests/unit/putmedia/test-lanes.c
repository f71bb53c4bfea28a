/* PutMedia calls of a session: how one follows another, and what goes up beside it. */
#include "fixture.h"

/* ---- one call follows the other ---- */

static void
to_rotation(Fixture *x)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    pass_time(x, 20 * SECOND);
    persist(x, 0, 1);
    begin(x, 0, 2);
    x->now_us += 40 * MINUTE;
    kvg_session_note_sent(x->session, 0, x->now_us, false);
    acknowledge(x, 0, KVG_ACK_IDLE, 0, 0);
    expect_calls(x, 2, 0);
    expect_state(x, KVG_SESSION_STREAMING);
}

/* The second call is open before the first one ends, and carries the next fragment. */
static void
test_rotation(Fixture *x, gconstpointer unused)
{
    to_rotation(x);
    g_assert_false(kvg_session_may_send(x->session, 1));
    finish(x, 0, 2);
    send_fragment(x, 0, 3); /* not answered yet: the first one goes on */
    open_call(x, 1);
    g_assert_cmpint(begin(x, 0, 4), ==, KVG_ADMIT_STOP);
    g_assert_cmphex(x->actions.resume, ==, 2);
    g_assert_true(kvg_session_may_send(x->session, 1));
    g_assert_cmpuint(kvg_session_start(x->session, 1), ==, 4);
    g_assert_cmpint(kvg_session_live_call(x->session), ==, 1);
    send_fragment(x, 1, 4);
    persist(x, 1, 4); /* acknowledgements are of a call */
    g_assert_cmphex(x->actions.todo, ==, 0);
    persist(x, 0, 2);
    g_assert_cmpuint(x->actions.persisted, ==, 2);
    persist(x, 0, 3);
    g_assert_cmpuint(x->actions.persisted, ==, 4);
    end_call(x, 0);
    expect_state(x, KVG_SESSION_STREAMING);
    expect_calls(x, 0, 0);
    expect_end(x, KVG_STREAM_END_ROTATED, 1);
    g_assert_cmpuint(kvg_session_counts(x->session)->failures, ==, 0);
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_resent, ==, 0);
}

/* A refusal of the second call costs the first one nothing. */
static void
test_rotation_refused(Fixture *x, gconstpointer unused)
{
    to_rotation(x);
    fail_call(x, 1, KVG_ERROR_RETRY, NULL);
    expect_calls(x, 0, 2);
    expect_state(x, KVG_SESSION_STREAMING);
    finish(x, 0, 2);
    send_fragment(x, 0, 3);
    persist(x, 0, 2);
    persist(x, 0, 3);
    pass_time(x, 20 * SECOND);
    g_assert_cmphex(x->actions.todo, ==, KVG_SESSION_DO_ENDPOINT);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_calls(x, 2, 0);
}

/* The first call dies while the second one waits: that takes over, from what is not persisted. */
static void
test_rotation_lost(Fixture *x, gconstpointer unused)
{
    to_rotation(x);
    open_call(x, 1);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    g_assert_cmphex(x->actions.resume, ==, 2);
    g_assert_cmpuint(kvg_session_start(x->session, 1), ==, 2);
    expect_state(x, KVG_SESSION_STREAMING);
}

/* The first call dies after it was followed: what it owes goes up again, and all after it. */
static void
test_ending_lost(Fixture *x, gconstpointer unused)
{
    to_rotation(x);
    finish(x, 0, 2);
    open_call(x, 1);
    g_assert_cmpint(begin(x, 0, 3), ==, KVG_ADMIT_STOP);
    send_fragment(x, 1, 3);
    persist(x, 1, 3);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    expect_calls(x, 0, 3);
    pass_time(x, 2 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_calls(x, 1, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 2);
    send_fragment(x, 0, 2);
    send_fragment(x, 0, 3);
}

/* ... or behind the live media, where those come first. */
static void
test_ending_lost_live_first(Fixture *x, gconstpointer unused)
{
    x->options.live_first = true;
    again(x);
    to_rotation(x);
    finish(x, 0, 2);
    open_call(x, 1);
    g_assert_cmpint(begin(x, 0, 3), ==, KVG_ADMIT_STOP);
    send_fragment(x, 1, 3);
    fail_call(x, 0, KVG_ERROR_RETRY, NULL);
    expect_state(x, KVG_SESSION_STREAMING);
    pass_time(x, 2 * SECOND);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_calls(x, 1, 0);
    g_assert_cmpint(kvg_session_lane(x->session, 0), ==, KVG_LANE_BACKLOG);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 2);
    open_call(x, 0);
    send_fragment(x, 0, 2);
    g_assert_cmpint(begin(x, 0, 3), ==, KVG_ADMIT_PASS);
    g_assert_cmpint(begin(x, 0, 4), ==, KVG_ADMIT_STOP);
    persist(x, 1, 3);
    persist(x, 0, 2);
    g_assert_cmpuint(x->actions.persisted, ==, 3);
}

/* Credentials of ten minutes: the call makes way when there are newer ones, and not before. */
static void
test_rotation_by_keys(Fixture *x, gconstpointer unused)
{
    to_connect(x, 10 * 60 * 1000);
    open_call(x, 0);
    send_fragment(x, 0, 1);
    persist(x, 0, 1);
    begin(x, 0, 2);
    x->now_us += 575 * SECOND;
    kvg_session_note_sent(x->session, 0, x->now_us, false);
    acknowledge(x, 0, KVG_ACK_IDLE, 0, 0);
    expect_calls(x, 0, 0);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = 3600 * 1000);
    expect_calls(x, 2, 0);
    expect_state(x, KVG_SESSION_STREAMING);
}

/* Other tracks, or a timecode that does not follow: the next call is opened as the first one ends.
 */
static void
test_other_tracks(Fixture *x, gconstpointer unused)
{
    to_streaming(x);
    send_fragment(x, 0, 1);
    x->now_us += SECOND;
    STEP(x, .kind = KVG_SESSION_ON_BEGIN, .call = 0, .fragment = 2, .timecode_ms = 4000,
         .new_tracks = true);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    expect_calls(x, 2, 0);
    g_assert_true(kvg_session_may_send(x->session, 1));
    g_assert_cmpuint(kvg_session_start(x->session, 1), ==, 2);
    send_fragment(x, 1, 2);
    persist(x, 0, 1);
    end_call(x, 0);
    expect_end(x, KVG_STREAM_END_TRACKS, 1);

    again(x);
    to_streaming(x);
    send_fragment(x, 0, 1);
    x->now_us += SECOND;
    STEP(x, .kind = KVG_SESSION_ON_BEGIN, .call = 0, .fragment = 2, .timecode_ms = 3960);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    expect_calls(x, 2, 0);
    persist(x, 0, 1);
    end_call(x, 0);
    expect_end(x, KVG_STREAM_END_TIMECODE, 1);
}

/* ---- catching up ---- */

/* Live first: the newest fragment, and the others in turns beside it. */
static void
test_live_first(Fixture *x, gconstpointer unused)
{
    x->options.live_first = true;
    again(x);
    x->newest = 20;
    to_streaming(x);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 20);
    send_fragment(x, 0, 20);
    pass_time(x, SECOND);
    expect_calls(x, 2, 0);
    g_assert_cmpint(kvg_session_lane(x->session, 1), ==, KVG_LANE_BACKLOG);
    g_assert_cmpuint(kvg_session_start(x->session, 1), ==, 1);
    open_call(x, 1);
    for (uint64_t i = 1; i <= 5; i++)
        send_fragment(x, 1, i);
    persist(x, 0, 20);
    g_assert_cmphex(x->actions.todo, ==, 0);
    send_fragment(x, 0, 21);
    for (uint64_t i = 1; i <= 5; i++)
        persist(x, 1, i);
    g_assert_cmpuint(x->actions.persisted, ==, 5);
    /* Its turn is over: the live call, for the service the older one, is followed by a new one. */
    x->now_us += 9 * SECOND;
    g_assert_cmpint(begin(x, 1, 6), ==, KVG_ADMIT_STOP);
    end_call(x, 1);
    expect_calls(x, 2, 0);
    g_assert_cmpint(kvg_session_lane(x->session, 1), ==, KVG_LANE_LIVE);
    open_call(x, 1);
    g_assert_cmpint(begin(x, 0, 22), ==, KVG_ADMIT_STOP);
    send_fragment(x, 1, 22);
    persist(x, 0, 21);
    x->now_us += SECOND;
    end_call(x, 0);
    expect_calls(x, 1, 0);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 6);
    /* The rest, up to what is done. */
    for (uint64_t i = 6; i <= 19; i++) {
        send_fragment(x, 0, i);
        persist(x, 0, i);
    }
    g_assert_cmpuint(x->actions.persisted, ==, 21);
    g_assert_cmpint(begin(x, 0, 22), ==, KVG_ADMIT_PASS);
    STEP(x, .kind = KVG_SESSION_ON_EMPTY, .call = 0);
    g_assert_cmpint(x->actions.admit, ==, KVG_ADMIT_STOP);
    g_assert_cmpuint(kvg_session_counts(x->session)->failures, ==, 0);
    g_assert_cmpuint(kvg_session_counts(x->session)->fragments_persisted, ==, 21);
}

/* A service that takes one connection only: the lanes take turns. */
static void
test_exclusive(Fixture *x, gconstpointer unused)
{
    x->options.live_first = true;
    again(x);
    x->newest = 20;
    to_streaming(x);
    send_fragment(x, 0, 20);
    pass_time(x, SECOND);
    expect_calls(x, 2, 0);
    fail_call(x, 1, KVG_ERROR_THROTTLED, "ConnectionLimitExceededException");
    expect_state(x, KVG_SESSION_STREAMING);
    pass_time(x, 4 * SECOND);
    expect_calls(x, 0, 0);
    g_assert_cmpint(begin(x, 0, 21), ==, KVG_ADMIT_STOP);
    expect_calls(x, 0, 0); /* not beside it */
    persist(x, 0, 20);
    end_call(x, 0);
    expect_calls(x, 1, 0);
    g_assert_cmpint(kvg_session_lane(x->session, 0), ==, KVG_LANE_BACKLOG);
    open_call(x, 0);
    send_fragment(x, 0, 1);
    persist(x, 0, 1);
    x->now_us += 5 * SECOND;
    g_assert_cmpint(begin(x, 0, 2), ==, KVG_ADMIT_STOP);
    end_call(x, 0);
    expect_calls(x, 1, 0);
    g_assert_cmpint(kvg_session_lane(x->session, 0), ==, KVG_LANE_LIVE);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 21);
    /* Not believed for ever: later a second call is tried again, and refused again at no cost. */
    open_call(x, 0);
    send_fragment(x, 0, 21);
    persist(x, 0, 21);
    for (int i = 0; i < 2; i++) {
        x->now_us += 31 * MINUTE;
        kvg_session_note_sent(x->session, 0, x->now_us, false);
        acknowledge(x, 0, KVG_ACK_IDLE, 0, 0);
        expect_calls(x, 2, 0);
        fail_call(x, 1, KVG_ERROR_THROTTLED, "ConnectionLimitExceededException");
        expect_calls(x, 0, 2);
        expect_state(x, KVG_SESSION_STREAMING);
        pass_time(x, 20 * SECOND);
        expect_calls(x, 0, 0);
    }
}

static void
test_oldest_first(Fixture *x, gconstpointer unused)
{
    x->newest = 20;
    to_streaming(x);
    g_assert_cmpuint(kvg_session_start(x->session, 0), ==, 1);
    begin(x, 0, 1);
    g_assert_true(kvg_session_is_behind(x->session));
    g_assert_cmpstr(kvg_session_reason(x->session), ==, "streaming; catching up");
    finish(x, 0, 1);
    for (uint64_t i = 2; i <= 20; i++)
        send_fragment(x, 0, i);
    g_assert_false(kvg_session_is_behind(x->session));
}
int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("rotation", test_rotation);
    ADD("rotation-refused", test_rotation_refused);
    ADD("rotation-lost", test_rotation_lost);
    ADD("ending-lost", test_ending_lost);
    ADD("ending-lost/live-first", test_ending_lost_live_first);
    ADD("rotation-by-keys", test_rotation_by_keys);
    ADD("other-tracks", test_other_tracks);
    ADD("live-first", test_live_first);
    ADD("exclusive", test_exclusive);
    ADD("oldest-first", test_oldest_first);
    return g_test_run();
}
