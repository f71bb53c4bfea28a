/* A session with the clock and the spool in the test's hands. */
#pragma once

#include "putmedia/session.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)

typedef struct {
    KvgSession *session;
    KvgSessionOptions options;
    int64_t now_us;
    uint64_t oldest, newest; /* in the spool */
    bool expects_more;
    KvgSessionActions actions;
} Fixture;

void set_up(Fixture *x, gconstpointer unused);
void tear_down(Fixture *x, gconstpointer unused);
void again(Fixture *x);
#define STEP(x, ...) step(x, (KvgSessionEvent){__VA_ARGS__})
void step(Fixture *x, KvgSessionEvent event);
void expect_state(const Fixture *x, KvgSessionState state);
void expect_todo(const Fixture *x, KvgSessionState state, unsigned todo);
/* Bits of the calls to be opened and given up. */
void expect_calls(const Fixture *x, unsigned put, unsigned abort);
void expect_end(const Fixture *x, KvgStreamEnd end, uint64_t n);
void fail(Fixture *x, int code, const char *type);
void fail_call(Fixture *x, unsigned call, int code, const char *type);
void pass_time(Fixture *x, int64_t us);
void to_connect(Fixture *x, int64_t lifetime_ms);
void open_call(Fixture *x, unsigned call);
void to_streaming(Fixture *x);
KvgSessionAdmit begin(Fixture *x, unsigned call, uint64_t fragment);
void finish(Fixture *x, unsigned call, uint64_t fragment);
void send_fragment(Fixture *x, unsigned call, uint64_t fragment);
void acknowledge(Fixture *x, unsigned call, KvgAckType type, int64_t timecode_ms, int error_id);
void persist(Fixture *x, unsigned call, uint64_t fragment);
void end_call(Fixture *x, unsigned call);

#define ADD(path, function) g_test_add("/session/" path, Fixture, NULL, set_up, function, tear_down)
