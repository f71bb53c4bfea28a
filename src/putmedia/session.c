#include "putmedia/session.h"

#include "base/text.h"
#include <string.h>

#define SECOND_US INT64_C(1000000)
/* Sessions end by themselves before the service's limit of about 45 minutes. */
#define SESSION_MAX_US (40 * 60 * SECOND_US)
/* Endpoints stay valid for long; any failure of PutMedia asks again anyway. */
#define ENDPOINT_MAX_US (12 * 3600 * SECOND_US)
/* A fragment may last 20 s between BUFFERING and RECEIVED; longer silence is a dead connection. */
#define STALE_US (30 * SECOND_US)
/* Acknowledged in part but never PERSISTED. */
#define UNPERSISTED_US (90 * SECOND_US)
/* The service ends a session after 30 s without data; ending it ourselves completes the fragment.
 */
#define PARK_US (15 * SECOND_US)
#define DRAIN_US (15 * SECOND_US)
/* Keys must outlive the wait for the end of a fragment. */
#define KEYS_GRACE_US (30 * SECOND_US)
#define BACKOFF_BASE_MS 500
#define BACKOFF_CAP_MS 20000
/* Unacknowledged fragments of a session; bounds memory while a backlog goes up. */
#define MAX_IN_FLIGHT 512
#define MAX_SKIPS 256

typedef struct {
    uint64_t fragment;
    int64_t timecode_ms;
    int64_t media_ms;
    int64_t sent_us;
    uint32_t n_frames;
    bool is_complete; /* all of it was handed to the connection */
    bool is_done;     /* persisted, refused, or gone from the spool */
} InFlight;

typedef struct {
    uint64_t fragment;
    bool is_counted;
} Skip;

struct _KvgSession {
    KvgSessionState state;
    char reason[256];
    bool create;
    bool is_closing;
    KvgSessionCounts counts;
    KvgBackoff backoff;
    int64_t wait_until_us;

    /* what is known; advance() fetches what is lacking */
    bool is_described;
    bool received_is_final; /* retention 0: PERSISTED never comes */
    bool keys_refused;
    int64_t keys_until_us;
    int64_t endpoint_until_us;

    /* the PutMedia call in progress */
    int64_t rotate_us;
    int64_t last_ack_us;
    int64_t last_sent_us;
    bool starved;
    int64_t drain_until_us;
    int64_t latest_ms; /* latest timestamp of the fragments of this session */
    GArray *in_flight; /* InFlight, in the order sent */

    GArray *skips; /* Skip, ascending */
    uint64_t strike_fragment;
    unsigned strikes;
};

static const char *const state_names[] = {
    [KVG_SESSION_IDLE] = "idle",           [KVG_SESSION_KEYS] = "getting credentials",
    [KVG_SESSION_DESCRIBE] = "describing", [KVG_SESSION_CREATE] = "creating",
    [KVG_SESSION_ENDPOINT] = "finding",    [KVG_SESSION_READY] = "ready",
    [KVG_SESSION_CONNECT] = "connecting",  [KVG_SESSION_STREAMING] = "streaming",
    [KVG_SESSION_DRAINING] = "draining",   [KVG_SESSION_WAITING] = "waiting",
    [KVG_SESSION_CLOSED] = "closed",
};

const char *
kvg_session_state_to_string(KvgSessionState state)
{
    g_return_val_if_fail((size_t)state < G_N_ELEMENTS(state_names), "?");
    return state_names[state];
}

KvgSession *
kvg_session_new(bool create)
{
    KvgSession *session = g_new0(KvgSession, 1);
    session->create = create;
    session->backoff = (KvgBackoff){.base_ms = BACKOFF_BASE_MS, .cap_ms = BACKOFF_CAP_MS};
    session->in_flight = g_array_new(FALSE, TRUE, sizeof(InFlight));
    session->skips = g_array_new(FALSE, TRUE, sizeof(Skip));
    return session;
}

void
kvg_session_free(KvgSession *session)
{
    if (session == NULL)
        return;
    g_array_unref(session->in_flight);
    g_array_unref(session->skips);
    g_free(session);
}

/* ---- tables ---- */

KvgAckVerdict
kvg_session_judge_ack(int error_id)
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
kvg_session_judge_status(long status, const char *error_type)
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

/* ---- changes of state ---- */

G_GNUC_PRINTF(4, 5)
static void
set_state(
    KvgSession *session, KvgSessionState state, KvgSessionActions *actions, const char *format, ...)
{
    char reason[sizeof session->reason];
    va_list args;
    va_start(args, format);
    g_vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    kvg_text_hide_keys(reason);
    if (state == session->state && strcmp(reason, session->reason) == 0)
        return;
    session->state = state;
    g_strlcpy(session->reason, reason, sizeof session->reason);
    actions->todo |= KVG_SESSION_DO_NOTIFY;
}

static bool
has_connection(const KvgSession *session)
{
    return session->state == KVG_SESSION_CONNECT || session->state == KVG_SESSION_STREAMING ||
           session->state == KVG_SESSION_DRAINING;
}

/* Whether the answer to something is awaited; any other failure is news of the past. */
static bool
is_busy(const KvgSession *session)
{
    return has_connection(session) || session->state == KVG_SESSION_KEYS ||
           session->state == KVG_SESSION_DESCRIBE || session->state == KVG_SESSION_CREATE ||
           session->state == KVG_SESSION_ENDPOINT;
}

/* When this session has to make way for the next: jitter keeps many cameras from doing it at once.
 */
static int64_t
rotation_time(const KvgSession *session, int64_t now_us)
{
    int64_t life_us = MIN(SESSION_MAX_US, session->keys_until_us - now_us - KEYS_GRACE_US);
    if (life_us > 5 * 60 * SECOND_US) {
        const int64_t most_ms = MIN(life_us / 10, 3 * 60 * SECOND_US) / 1000;
        life_us -= g_random_int_range(0, (gint32)most_ms) * INT64_C(1000);
    }
    return now_us + MAX(life_us, 5 * SECOND_US);
}

static void
begin_put(KvgSession *session, int64_t now_us, KvgSessionActions *actions)
{
    session->rotate_us = rotation_time(session, now_us);
    session->last_ack_us = now_us;
    session->last_sent_us = now_us;
    session->starved = false;
    session->latest_ms = INT64_MIN;
    session->counts.sessions++;
    g_array_set_size(session->in_flight, 0);
    actions->todo |= KVG_SESSION_DO_PUT;
    set_state(session, KVG_SESSION_CONNECT, actions, "opening PutMedia");
}

/* Takes the next step towards streaming: whatever is lacking is fetched. */
static void
advance(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    const int64_t now_us = event->now_us;
    if (session->is_closing && !event->has_data) {
        set_state(session, KVG_SESSION_CLOSED, actions, "closed");
        return;
    }
    if (session->keys_until_us <= now_us + KEYS_GRACE_US) {
        actions->todo |= KVG_SESSION_DO_FETCH_KEYS;
        if (session->keys_refused)
            actions->todo |= KVG_SESSION_DO_RENEW_KEYS;
        set_state(session, KVG_SESSION_KEYS, actions, "getting credentials");
        return;
    }
    if (!session->is_described) {
        actions->todo |= KVG_SESSION_DO_DESCRIBE;
        set_state(session, KVG_SESSION_DESCRIBE, actions, "looking for the stream");
        return;
    }
    if (session->endpoint_until_us <= now_us) {
        actions->todo |= KVG_SESSION_DO_ENDPOINT;
        set_state(session, KVG_SESSION_ENDPOINT, actions, "asking for the data endpoint");
        return;
    }
    if (!event->has_data) {
        set_state(session, KVG_SESSION_READY, actions, "ready; waiting for frames");
        return;
    }
    begin_put(session, now_us, actions);
}

static void
back_off(KvgSession *session,
         const KvgSessionEvent *event,
         const char *text,
         KvgSessionActions *actions)
{
    const int64_t delay_ms = kvg_backoff_next_ms(&session->backoff);
    if (has_connection(session))
        actions->todo |= KVG_SESSION_DO_ABORT;
    session->wait_until_us = event->now_us + delay_ms * 1000;
    set_state(session, KVG_SESSION_WAITING, actions, "%s", text);
}

static void
fail(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (event->code == KVG_ERROR_AUTH) {
        session->keys_refused = true;
        session->keys_until_us = INT64_MIN;
    }
    if (event->code == KVG_ERROR_NOT_FOUND)
        session->is_described = false;
    if (event->code == KVG_ERROR_THROTTLED)
        session->backoff.attempt = MAX(session->backoff.attempt, 2);
    if (has_connection(session))
        session->endpoint_until_us = INT64_MIN;
    back_off(session, event, event->text != NULL ? event->text : "failed", actions);
}

static void
lose(KvgSession *session,
     const KvgSessionEvent *event,
     const char *text,
     KvgSessionActions *actions)
{
    KvgSessionEvent failed = *event;
    failed.code = KVG_ERROR_RETRY;
    failed.text = text;
    fail(session, &failed, actions);
}

static void
drain(KvgSession *session, int64_t now_us, const char *why, KvgSessionActions *actions)
{
    session->drain_until_us = now_us + DRAIN_US;
    set_state(session, KVG_SESSION_DRAINING, actions, "%s", why);
}

/* ---- fragments ---- */

static Skip *
find_skip(const KvgSession *session, uint64_t fragment)
{
    for (guint i = 0; i < session->skips->len; i++) {
        Skip *skip = &g_array_index(session->skips, Skip, i);
        if (skip->fragment == fragment)
            return skip;
    }
    return NULL;
}

static void
add_skip(KvgSession *session, uint64_t fragment)
{
    if (find_skip(session, fragment) != NULL)
        return;
    if (session->skips->len == MAX_SKIPS)
        g_array_remove_index(session->skips, 0);
    const Skip skip = {.fragment = fragment};
    g_array_append_val(session->skips, skip);
    session->counts.fragments_refused++;
}

static InFlight *
find_fragment(const KvgSession *session, uint64_t fragment)
{
    for (guint i = session->in_flight->len; i-- > 0;) {
        InFlight *item = &g_array_index(session->in_flight, InFlight, i);
        if (item->fragment == fragment)
            return item;
    }
    return NULL;
}

static InFlight *
find_timecode(const KvgSession *session, int64_t timecode_ms)
{
    for (guint i = 0; i < session->in_flight->len; i++) {
        InFlight *item = &g_array_index(session->in_flight, InFlight, i);
        if (item->timecode_ms == timecode_ms && !item->is_done)
            return item;
    }
    return NULL;
}

/* Moves the cursor over the fragments at the front that need nothing more. */
static void
move_cursor(KvgSession *session, KvgSessionActions *actions)
{
    guint n = 0;
    while (n < session->in_flight->len && g_array_index(session->in_flight, InFlight, n).is_done) {
        actions->persisted = g_array_index(session->in_flight, InFlight, n).fragment;
        n++;
    }
    if (n == 0)
        return;
    g_array_remove_range(session->in_flight, 0, n);
    actions->todo |= KVG_SESSION_DO_PERSIST;
    guint old = 0;
    while (old < session->skips->len &&
           g_array_index(session->skips, Skip, old).fragment <= actions->persisted &&
           g_array_index(session->skips, Skip, old).is_counted)
        old++;
    if (old > 0)
        g_array_remove_range(session->skips, 0, old);
}

static void
on_begin(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    /* One that never got its end was evicted from the spool while it was being read. */
    for (guint i = 0; i < session->in_flight->len; i++) {
        InFlight *item = &g_array_index(session->in_flight, InFlight, i);
        if (!item->is_complete)
            item->is_done = true;
    }
    move_cursor(session, actions);
    const InFlight item = {
        .fragment = event->fragment, .timecode_ms = event->timecode_ms, .sent_us = event->now_us};
    g_array_append_val(session->in_flight, item);
    if (session->latest_ms < event->timecode_ms && !kvg_session_skips(session, event->fragment))
        session->latest_ms = event->timecode_ms;
}

static void
on_fragment(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    InFlight *item = find_fragment(session, event->fragment);
    if (item == NULL)
        return;
    item->is_complete = true;
    item->n_frames = event->n_frames;
    item->media_ms = event->media_ms;
    item->sent_us = event->now_us;
    Skip *skip = find_skip(session, event->fragment);
    if (skip == NULL) {
        session->latest_ms = MAX(session->latest_ms, event->latest_ms);
        return;
    }
    if (!skip->is_counted)
        session->counts.frames_refused += event->n_frames;
    skip->is_counted = true;
    item->is_done = true;
    move_cursor(session, actions);
}

static void
finish_fragment(KvgSession *session, const KvgAck *ack, KvgSessionActions *actions)
{
    InFlight *item = find_timecode(session, ack->timecode_ms);
    /* A fragment cut off by the end of a session is persisted in part; it will be sent again. */
    if (item == NULL || !item->is_complete)
        return;
    item->is_done = true;
    session->counts.fragments_persisted++;
    session->counts.frames_persisted += item->n_frames;
    session->counts.media_ms_persisted += (uint64_t)MAX(item->media_ms, 0);
    move_cursor(session, actions);
}

/* True when @item has failed so often that it must be its own fault. */
static bool
strike(KvgSession *session, const InFlight *item)
{
    if (session->strike_fragment != item->fragment)
        session->strikes = 0;
    session->strike_fragment = item->fragment;
    session->strikes++;
    return session->strikes >= KVG_SESSION_STRIKES;
}

static void
on_error_ack(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    const KvgAck *ack = event->ack;
    const KvgAckVerdict verdict = kvg_session_judge_ack(ack->error_id);
    const InFlight *item = find_timecode(session, ack->timecode_ms);
    const char *then = "sending again";
    if (verdict == KVG_ACK_SKIP && item != NULL) {
        add_skip(session, item->fragment);
        then = "fragment left out";
    } else if ((verdict == KVG_ACK_SKIP || verdict == KVG_ACK_STRIKE) &&
               session->in_flight->len > 0) {
        /* Without a usable timecode the first unacknowledged fragment is the suspect. */
        const InFlight *suspect =
            item != NULL ? item : &g_array_index(session->in_flight, InFlight, 0);
        if (strike(session, suspect)) {
            add_skip(session, suspect->fragment);
            then = "fragment left out";
        }
    } else if (verdict == KVG_ACK_WAIT_STREAM) {
        session->is_described = false;
        then = "describing the stream again";
    } else if (verdict == KVG_ACK_WAIT_KEY) {
        then = "keeping the media until the stream's KMS key works";
    }
    char text[256];
    g_snprintf(text, sizeof text, "service error %d %s for fragment at %" G_GINT64_FORMAT "; %s",
               ack->error_id,
               ack->error_code[0] != '\0' ? ack->error_code : kvg_ack_error_code(ack->error_id),
               ack->timecode_ms, then);
    back_off(session, event, text, actions);
}

static void
on_ack(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    session->last_ack_us = event->now_us;
    switch (event->ack->type) {
    case KVG_ACK_RECEIVED:
        kvg_backoff_reset(&session->backoff);
        if (session->received_is_final)
            finish_fragment(session, event->ack, actions);
        return;
    case KVG_ACK_PERSISTED:
        kvg_backoff_reset(&session->backoff);
        finish_fragment(session, event->ack, actions);
        return;
    case KVG_ACK_ERROR:
        on_error_ack(session, event, actions);
        return;
    case KVG_ACK_BUFFERING:
    case KVG_ACK_IDLE:
    case KVG_ACK_UNKNOWN:
        return;
    }
}

static bool
has_unpersisted(const KvgSession *session)
{
    for (guint i = 0; i < session->in_flight->len; i++) {
        const InFlight *item = &g_array_index(session->in_flight, InFlight, i);
        if (item->is_complete && !item->is_done)
            return true;
    }
    return false;
}

/* The response ended properly. After a drain with everything acknowledged that is what was wanted.
 */
static void
on_end(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (session->state != KVG_SESSION_DRAINING) {
        lose(session, event, "the service ended the session", actions);
        return;
    }
    if (has_unpersisted(session)) {
        lose(session, event, "the service ended the session without acknowledging all", actions);
        return;
    }
    session->state = KVG_SESSION_IDLE;
    advance(session, event, actions);
}

/* ---- time ---- */

static int64_t
stale_deadline(const KvgSession *session)
{
    if (session->in_flight->len == 0)
        return session->state == KVG_SESSION_CONNECT ? session->last_ack_us + STALE_US : INT64_MAX;
    const InFlight *oldest = &g_array_index(session->in_flight, InFlight, 0);
    const int64_t since_us = MAX(session->last_ack_us, oldest->sent_us);
    const int64_t unpersisted_us =
        oldest->is_complete ? oldest->sent_us + UNPERSISTED_US : INT64_MAX;
    return MIN(since_us + STALE_US, unpersisted_us);
}

int64_t
kvg_session_deadline_us(const KvgSession *session)
{
    switch (session->state) {
    case KVG_SESSION_WAITING:
        return session->wait_until_us;
    case KVG_SESSION_DRAINING:
        return session->drain_until_us;
    case KVG_SESSION_STREAMING:
    case KVG_SESSION_CONNECT: {
        const int64_t park_us = session->starved ? session->last_sent_us + PARK_US : INT64_MAX;
        return MIN(stale_deadline(session), park_us);
    }
    case KVG_SESSION_IDLE:
    case KVG_SESSION_KEYS:
    case KVG_SESSION_DESCRIBE:
    case KVG_SESSION_CREATE:
    case KVG_SESSION_ENDPOINT:
    case KVG_SESSION_READY:
    case KVG_SESSION_CLOSED:
        break;
    }
    return INT64_MAX;
}

static void
on_tick(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (event->now_us < kvg_session_deadline_us(session))
        return;
    if (session->state == KVG_SESSION_WAITING) {
        advance(session, event, actions);
        return;
    }
    if (session->state == KVG_SESSION_DRAINING) {
        lose(session, event, "no end of the response after the last fragment", actions);
        return;
    }
    if (stale_deadline(session) <= event->now_us) {
        lose(session, event, "no acknowledgement for 30 s", actions);
        return;
    }
    actions->todo |= KVG_SESSION_DO_END_BODY;
    drain(session, event->now_us, "no frames for 15 s; ending the session", actions);
}

/* ---- the machine ---- */

static void
on_stream(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (!event->is_active) {
        back_off(session, event, "the stream is not active yet", actions);
        return;
    }
    session->is_described = true;
    session->received_is_final = event->retention_hours == 0;
    advance(session, event, actions);
}

static void
on_failed(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    if (session->state == KVG_SESSION_DESCRIBE && event->code == KVG_ERROR_NOT_FOUND &&
        session->create) {
        actions->todo |= KVG_SESSION_DO_CREATE;
        set_state(session, KVG_SESSION_CREATE, actions, "creating the stream");
        return;
    }
    /* Another process was quicker. */
    if (session->state == KVG_SESSION_CREATE && event->error_type != NULL &&
        strcmp(event->error_type, "ResourceInUseException") == 0) {
        advance(session, event, actions);
        return;
    }
    fail(session, event, actions);
}

static void
on_keys(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    session->keys_refused = false;
    /* Keys that are about to expire are still better than none: use them for what they are good. */
    session->keys_until_us =
        event->lifetime_ms <= 0
            ? INT64_MAX - SESSION_MAX_US
            : event->now_us + MAX(event->lifetime_ms * 1000, KEYS_GRACE_US + SECOND_US);
    if (session->state == KVG_SESSION_KEYS)
        advance(session, event, actions);
}

void
kvg_session_step(KvgSession *session, const KvgSessionEvent *event, KvgSessionActions *actions)
{
    *actions = (KvgSessionActions){0};
    if (session->state == KVG_SESSION_CLOSED)
        return;
    switch (event->kind) {
    case KVG_SESSION_ON_START:
        if (session->state == KVG_SESSION_IDLE)
            advance(session, event, actions);
        return;
    case KVG_SESSION_ON_DATA:
        if (session->state == KVG_SESSION_READY)
            advance(session, event, actions);
        return;
    case KVG_SESSION_ON_TICK:
        on_tick(session, event, actions);
        return;
    case KVG_SESSION_ON_KEYS:
        on_keys(session, event, actions);
        return;
    case KVG_SESSION_ON_STREAM:
        if (session->state == KVG_SESSION_DESCRIBE)
            on_stream(session, event, actions);
        return;
    case KVG_SESSION_ON_CREATED:
        if (session->state == KVG_SESSION_CREATE)
            advance(session, event, actions);
        return;
    case KVG_SESSION_ON_ENDPOINT:
        if (session->state != KVG_SESSION_ENDPOINT)
            return;
        session->endpoint_until_us = event->now_us + ENDPOINT_MAX_US;
        advance(session, event, actions);
        return;
    case KVG_SESSION_ON_FAILED:
        if (is_busy(session))
            on_failed(session, event, actions);
        return;
    case KVG_SESSION_ON_OPEN:
        if (session->state == KVG_SESSION_CONNECT)
            set_state(session, KVG_SESSION_STREAMING, actions, "streaming");
        return;
    case KVG_SESSION_ON_BEGIN:
        on_begin(session, event, actions);
        return;
    case KVG_SESSION_ON_FRAGMENT:
        on_fragment(session, event, actions);
        return;
    case KVG_SESSION_ON_ACK:
        if (has_connection(session))
            on_ack(session, event, actions);
        return;
    case KVG_SESSION_ON_BODY_END:
        if (has_connection(session))
            drain(session, event->now_us, "ending the session", actions);
        return;
    case KVG_SESSION_ON_END:
        if (has_connection(session))
            on_end(session, event, actions);
        return;
    case KVG_SESSION_ON_CLOSE:
        session->is_closing = true;
        if (!has_connection(session) && !event->has_data)
            set_state(session, KVG_SESSION_CLOSED, actions, "closed");
        return;
    }
}

/* ---- questions ---- */

KvgSessionState
kvg_session_state(const KvgSession *session)
{
    return session->state;
}

const char *
kvg_session_reason(const KvgSession *session)
{
    return session->reason;
}

const KvgSessionCounts *
kvg_session_counts(const KvgSession *session)
{
    return &session->counts;
}

bool
kvg_session_is_closing(const KvgSession *session)
{
    return session->is_closing;
}

bool
kvg_session_may_send(const KvgSession *session)
{
    return session->in_flight->len < MAX_IN_FLIGHT;
}

bool
kvg_session_wants_new(const KvgSession *session, int64_t now_us, int64_t timecode_ms)
{
    if (session->latest_ms == INT64_MIN) /* nothing sent yet */
        return false;
    return now_us >= session->rotate_us || timecode_ms <= session->latest_ms;
}

bool
kvg_session_skips(const KvgSession *session, uint64_t fragment)
{
    return find_skip(session, fragment) != NULL;
}

void
kvg_session_note_sent(KvgSession *session, int64_t now_us, bool starved)
{
    session->last_sent_us = now_us;
    session->starved = starved;
}
