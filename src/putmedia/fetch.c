/* What a session must know before it can send: credentials, the stream, its data endpoint; and what
 * a failure proves wrong of it. */
#include "base/text.h"
#include "putmedia/session_private.h"

/* For an old endpoint where the control plane does not answer. */
#define ENDPOINT_AGAIN_US (5 * 60 * SECOND_US)

static void
fetch(KvgSession *session, Fetch what, unsigned todo, int64_t now_us, KvgSessionActions *actions)
{
    session->fetching = what;
    session->fetch_us = now_us;
    actions->todo |= todo;
}

bool
kvg_session_prepare(KvgSession *session, int64_t now_us, KvgSessionActions *actions)
{
    if (session->fetching != FETCH_NOTHING || now_us < session->fetch_retry_us)
        return false;
    if (session->keys_until_us <= now_us + KEYS_GRACE_US)
        fetch(session, FETCH_KEYS,
              KVG_SESSION_DO_FETCH_KEYS | (session->keys_refused ? KVG_SESSION_DO_RENEW_KEYS : 0),
              now_us, actions);
    else if (!session->is_described)
        fetch(session, FETCH_STREAM, KVG_SESSION_DO_DESCRIBE, now_us, actions);
    else if (session->endpoint_until_us <= now_us)
        fetch(session, FETCH_ENDPOINT, KVG_SESSION_DO_ENDPOINT, now_us, actions);
    else
        return true;
    return false;
}

void
kvg_session_complain(KvgSession *session, KvgSessionActions *actions, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_vsnprintf(session->trouble, sizeof session->trouble, format, args);
    va_end(args);
    kvg_text_hide_keys(session->trouble);
    session->counts.failures++;
    actions->todo |= KVG_SESSION_DO_COMPLAIN;
}

bool
kvg_session_forget(KvgSession *session, const KvgSessionEvent *event)
{
    if (event->is_skew && !session->skew_tried) {
        session->skew_tried = true;
        session->counts.clock_corrections++;
        return true;
    }
    if (event->code == KVG_ERROR_AUTH) {
        session->keys_refused = true;
        session->keys_until_us = INT64_MIN;
    }
    if (event->code == KVG_ERROR_NOT_FOUND)
        session->is_described = false;
    if (event->code == KVG_ERROR_THROTTLED)
        session->counts.throttled++;
    if (g_strcmp0(event->error_type, "InvalidEndpointException") == 0)
        session->has_endpoint = false;
    return false;
}

int64_t
kvg_session_retry_time(KvgBackoff *backoff, const KvgSessionEvent *event)
{
    if (event->code == KVG_ERROR_THROTTLED)
        backoff->attempt = MAX(backoff->attempt, 2);
    return event->now_us + kvg_backoff_next_ms(backoff) * 1000;
}

void
kvg_session_on_keys(KvgSession *session, const KvgSessionEvent *event)
{
    session->keys_refused = false;
    /* Keys that are about to expire are still better than none: use them for what they are good. */
    session->keys_until_us =
        event->lifetime_ms <= 0
            ? INT64_MAX - SESSION_MAX_US
            : event->now_us + MAX(event->lifetime_ms * 1000, KEYS_GRACE_US + SECOND_US);
    if (session->fetching == FETCH_KEYS)
        session->fetching = FETCH_NOTHING;
}

void
kvg_session_on_stream(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (session->fetching != FETCH_STREAM)
        return;
    session->fetching = FETCH_NOTHING;
    session->skew_tried = false;
    session->is_described = event->is_active;
    session->received_is_final = event->retention_hours == 0;
    if (event->is_active)
        return;
    kvg_session_complain(session, actions, "the stream is not active yet");
    session->fetch_retry_us = kvg_session_retry_time(&session->fetch_backoff, event);
}

void
kvg_session_on_endpoint(KvgSession *session, int64_t until_us)
{
    if (session->fetching != FETCH_ENDPOINT)
        return;
    session->fetching = FETCH_NOTHING;
    session->skew_tried = false;
    session->has_endpoint = true;
    session->endpoint_until_us = until_us;
}

void
kvg_session_on_failed(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    const Fetch was = session->fetching;
    if (was == FETCH_NOTHING)
        return;
    session->fetching = FETCH_NOTHING;
    if (was == FETCH_STREAM && event->code == KVG_ERROR_NOT_FOUND && session->options.create) {
        fetch(session, FETCH_CREATE, KVG_SESSION_DO_CREATE, event->now_us, actions);
        return;
    }
    /* Another process was quicker. */
    if (was == FETCH_CREATE && g_strcmp0(event->error_type, "ResourceInUseException") == 0)
        return;
    kvg_session_complain(session, actions, "%s", event->text != NULL ? event->text : "failed");
    if (kvg_session_forget(session, event))
        return;
    /* The data plane may work where the control plane does not. */
    const bool is_passing = event->code == KVG_ERROR_RETRY || event->code == KVG_ERROR_THROTTLED;
    if (was == FETCH_ENDPOINT && session->has_endpoint && is_passing)
        session->endpoint_until_us = event->now_us + ENDPOINT_AGAIN_US;
    else
        session->fetch_retry_us = kvg_session_retry_time(&session->fetch_backoff, event);
}
