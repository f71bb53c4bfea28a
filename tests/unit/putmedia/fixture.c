#include "fixture.h"

void
set_up(Fixture *x, gconstpointer unused)
{
    x->options.create = true;
    x->session = kvg_session_new(&x->options);
    x->now_us = 1000 * SECOND;
    x->oldest = 1;
    x->newest = 2;
}

void
tear_down(Fixture *x, gconstpointer unused)
{
    kvg_session_free(x->session);
}

void
again(Fixture *x)
{
    tear_down(x, NULL);
    set_up(x, NULL);
}

void
step(Fixture *x, KvgSessionEvent event)
{
    event.now_us = x->now_us;
    event.oldest = x->oldest;
    event.newest = x->newest;
    event.expects_more = x->expects_more;
    kvg_session_step(x->session, &event, &x->actions);
    if (x->actions.todo & KVG_SESSION_DO_PERSIST) {
        x->oldest = x->actions.persisted + 1;
        if (x->oldest > x->newest)
            x->oldest = x->newest = 0;
    }
    x->actions.todo &= ~(unsigned)(KVG_SESSION_DO_NOTIFY | KVG_SESSION_DO_COMPLAIN);
}

void
expect_state(const Fixture *x, KvgSessionState state)
{
    g_assert_cmpstr(kvg_session_state_to_string(kvg_session_state(x->session)), ==,
                    kvg_session_state_to_string(state));
}

void
expect_todo(const Fixture *x, KvgSessionState state, unsigned todo)
{
    expect_state(x, state);
    g_assert_cmphex(x->actions.todo, ==, todo);
}

/* Bits of the calls to be opened and given up. */
void
expect_calls(const Fixture *x, unsigned put, unsigned abort)
{
    g_assert_cmphex(x->actions.put, ==, put);
    g_assert_cmphex(x->actions.abort, ==, abort);
}

void
expect_end(const Fixture *x, KvgStreamEnd end, uint64_t n)
{
    g_assert_cmpuint(kvg_session_counts(x->session)->ends[end], ==, n);
}

void
fail(Fixture *x, int code, const char *type)
{
    STEP(x, .kind = KVG_SESSION_ON_FAILED, .code = code, .error_type = type, .text = "no");
}

void
fail_call(Fixture *x, unsigned call, int code, const char *type)
{
    STEP(x, .kind = KVG_SESSION_ON_PUT_FAILED, .call = call, .code = code, .error_type = type,
         .text = "no", .end = KVG_STREAM_END_REFUSED);
}

void
pass_time(Fixture *x, int64_t us)
{
    x->now_us += us;
    STEP(x, .kind = KVG_SESSION_ON_TICK);
}

void
to_connect(Fixture *x, int64_t lifetime_ms)
{
    STEP(x, .kind = KVG_SESSION_ON_START);
    STEP(x, .kind = KVG_SESSION_ON_KEYS, .lifetime_ms = lifetime_ms);
    STEP(x, .kind = KVG_SESSION_ON_STREAM, .is_active = true, .retention_hours = 24);
    STEP(x, .kind = KVG_SESSION_ON_ENDPOINT);
    expect_state(x, KVG_SESSION_CONNECT);
    expect_calls(x, 1, 0);
}

void
open_call(Fixture *x, unsigned call)
{
    STEP(x, .kind = KVG_SESSION_ON_OPEN, .call = call);
}

void
to_streaming(Fixture *x)
{
    to_connect(x, 0);
    open_call(x, 0);
    expect_todo(x, KVG_SESSION_STREAMING, 0);
}

KvgSessionAdmit
begin(Fixture *x, unsigned call, uint64_t fragment)
{
    x->newest = MAX(x->newest, fragment);
    if (x->oldest == 0)
        x->oldest = fragment;
    kvg_session_note_sent(x->session, call, x->now_us, false);
    STEP(x, .kind = KVG_SESSION_ON_BEGIN, .call = call, .fragment = fragment,
         .timecode_ms = (int64_t)fragment * 2000);
    return x->actions.admit;
}

void
finish(Fixture *x, unsigned call, uint64_t fragment)
{
    STEP(x, .kind = KVG_SESSION_ON_FRAGMENT, .call = call, .fragment = fragment, .is_last = true,
         .timecode_ms = (int64_t)fragment * 2000, .latest_ms = (int64_t)fragment * 2000 + 1960,
         .media_ms = 2000, .n_frames = 50);
}

void
send_fragment(Fixture *x, unsigned call, uint64_t fragment)
{
    const KvgSessionAdmit admit = begin(x, call, fragment);
    g_assert_true(admit == KVG_ADMIT_SEND || admit == KVG_ADMIT_READ_OVER);
    finish(x, call, fragment);
}

void
acknowledge(Fixture *x, unsigned call, KvgAckType type, int64_t timecode_ms, int error_id)
{
    const KvgAck ack = {.type = type, .timecode_ms = timecode_ms, .error_id = error_id};
    STEP(x, .kind = KVG_SESSION_ON_ACK, .call = call, .ack = &ack);
}

void
persist(Fixture *x, unsigned call, uint64_t fragment)
{
    acknowledge(x, call, KVG_ACK_PERSISTED, (int64_t)fragment * 2000, 0);
}

void
end_call(Fixture *x, unsigned call)
{
    STEP(x, .kind = KVG_SESSION_ON_END, .call = call);
}
