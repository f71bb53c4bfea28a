/* The Matroska body of one PutMedia session, pulled by the transport in pieces of any size. A
 * payload is copied once, from the spool's buffer into curl's. */
#include "media/mkv_writer.h"
#include "putmedia/putmedia.h"

#include <string.h>

struct _KvgBody {
    KvgSpoolReader *reader;
    KvgSession *session;
    void (*on_event)(KvgSessionEvent *event, void *user_data);
    void *user_data;

    GByteArray
        *head; /* element heads not yet handed over; a few hundred bytes, or one MKV header */
    size_t head_at;
    GBytes *payload;
    size_t payload_at;

    uint8_t segment_uid[16];
    GBytes *header; /* of the tracks that apply to the next fragment */
    GBytes *sent_header;
    bool is_ended;
    bool has_blocks;

    /* the fragment being read */
    bool is_open;
    bool skips;
    GPtrArray *tags; /* name, value, name... of the fragment; they follow its last frame */
    uint64_t fragment;
    int64_t timecode_ms;
    int64_t last_us, max_us, end_us, gap_us; /* of the frames so far */
    uint32_t n_frames;
};

KvgBody *
kvg_body_new(KvgSpool *spool,
             KvgSession *session,
             void (*on_event)(KvgSessionEvent *event, void *user_data),
             void *user_data)
{
    KvgBody *body = g_new0(KvgBody, 1);
    body->reader = kvg_spool_reader_new(spool);
    body->session = session;
    body->on_event = on_event;
    body->user_data = user_data;
    body->head = g_byte_array_new();
    body->tags = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < sizeof body->segment_uid; i++)
        body->segment_uid[i] = (uint8_t)g_random_int_range(0, 256);
    return body;
}

void
kvg_body_free(KvgBody *body)
{
    if (body == NULL)
        return;
    kvg_spool_reader_free(body->reader);
    g_byte_array_unref(body->head);
    g_ptr_array_unref(body->tags);
    g_clear_pointer(&body->payload, g_bytes_unref);
    g_clear_pointer(&body->header, g_bytes_unref);
    g_clear_pointer(&body->sent_header, g_bytes_unref);
    g_free(body);
}

void
kvg_body_end(KvgBody *body)
{
    body->is_ended = true;
}

bool
kvg_body_is_empty(const KvgBody *body)
{
    return !body->has_blocks;
}

/* Ends the body by our own decision; the session learns of it. */
static void
end_session(KvgBody *body)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_BODY_END};
    body->is_ended = true;
    body->on_event(&event, body->user_data);
}

static void
take_tracks(KvgBody *body, const KvgSpoolEvent *event)
{
    g_clear_pointer(&body->header, g_bytes_unref);
    body->header =
        kvg_mkv_write_header(event->tracks, event->n_tracks, body->segment_uid, "kvg " KVG_VERSION);
}

static void
begin_fragment(KvgBody *body, const KvgSpoolEvent *event, int64_t now_us)
{
    /* One Segment per request: other tracks need a request of their own. */
    const bool other_tracks = body->sent_header != NULL && body->header != NULL &&
                              !g_bytes_equal(body->sent_header, body->header);
    if (other_tracks || kvg_session_wants_new(body->session, now_us, event->timecode_ms)) {
        end_session(body);
        return;
    }
    body->is_open = true;
    body->fragment = event->fragment;
    body->timecode_ms = event->timecode_ms;
    body->skips = kvg_session_skips(body->session, event->fragment) || body->header == NULL;
    body->n_frames = 0;
    g_ptr_array_set_size(body->tags, 0);
    body->last_us = body->max_us = body->end_us = event->timecode_ms * 1000;
    body->gap_us = 0;
    KvgSessionEvent begin = {.kind = KVG_SESSION_ON_BEGIN,
                             .fragment = event->fragment,
                             .timecode_ms = event->timecode_ms};
    body->on_event(&begin, body->user_data);
    if (body->skips)
        return;
    if (body->sent_header == NULL) {
        body->sent_header = g_bytes_ref(body->header);
        size_t len = 0;
        const void *data = g_bytes_get_data(body->header, &len);
        g_byte_array_append(body->head, data, (guint)len);
    }
    kvg_mkv_write_cluster(body->head, (uint64_t)MAX(event->timecode_ms, 0));
}

static void
put_frame(KvgBody *body, const KvgFrame *frame)
{
    if (!body->is_open)
        return;
    body->n_frames++;
    const int64_t step_us = frame->pts_us - body->last_us;
    if (step_us > 0)
        body->gap_us = step_us;
    body->last_us = frame->pts_us;
    const int64_t length_us = frame->duration_us > 0 ? frame->duration_us : body->gap_us;
    body->max_us = MAX(body->max_us, frame->pts_us);
    body->end_us = MAX(body->end_us, frame->pts_us + length_us);
    if (body->skips)
        return;
    /* The fragmenter keeps this within bounds; a damaged spool may not. */
    const int64_t relative_ms =
        CLAMP(frame->pts_us / 1000 - body->timecode_ms, INT16_MIN, INT16_MAX);
    kvg_mkv_write_block_head(body->head, frame->track, (int16_t)relative_ms, frame->key,
                             g_bytes_get_size(frame->data));
    body->payload = g_bytes_ref(frame->data);
    body->payload_at = 0;
    body->has_blocks = true;
}

/* Tags end the Cluster for Matroska, so they come behind its last block. What stands before the
 * next Cluster belongs to this fragment. */
static void
write_tags(KvgBody *body)
{
    for (guint i = 0; !body->skips && i + 1 < body->tags->len; i += 2)
        kvg_mkv_write_tag(body->head, g_ptr_array_index(body->tags, i),
                          g_ptr_array_index(body->tags, i + 1));
    g_ptr_array_set_size(body->tags, 0);
}

static void
take_tag(KvgBody *body, KvgSpoolEvent *event)
{
    if (!body->is_open)
        return;
    g_ptr_array_add(body->tags, g_steal_pointer(&event->tag_name));
    g_ptr_array_add(body->tags, g_steal_pointer(&event->tag_value));
}

static void
end_fragment(KvgBody *body)
{
    if (!body->is_open)
        return;
    body->is_open = false;
    write_tags(body);
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_FRAGMENT,
                             .fragment = body->fragment,
                             .timecode_ms = body->timecode_ms,
                             .latest_ms = body->max_us / 1000,
                             .media_ms = body->end_us / 1000 - body->timecode_ms,
                             .n_frames = body->n_frames};
    body->on_event(&event, body->user_data);
}

/* Reads one spool event. */
static KvgBodyStep
pull(KvgBody *body, int64_t now_us, GError **error)
{
    if (!kvg_session_may_send(body->session))
        return KVG_BODY_STARVED;
    g_auto(KvgSpoolEvent) event = {0};
    if (!kvg_spool_read(body->reader, &event, error))
        return KVG_BODY_FAILED;
    switch (event.kind) {
    case KVG_SPOOL_NONE:
        if (!kvg_session_is_closing(body->session) || body->is_open)
            return KVG_BODY_STARVED;
        end_session(body);
        return KVG_BODY_END;
    case KVG_SPOOL_TRACKS:
        take_tracks(body, &event);
        break;
    case KVG_SPOOL_BEGIN:
        begin_fragment(body, &event, now_us);
        break;
    case KVG_SPOOL_FRAME:
        put_frame(body, &event.frame);
        break;
    case KVG_SPOOL_TAG:
        take_tag(body, &event);
        break;
    case KVG_SPOOL_END:
        end_fragment(body);
        break;
    case KVG_SPOOL_GAP:
        body->is_open = false;
        break;
    }
    return KVG_BODY_DATA;
}

/* Copies what is ready; returns the number of bytes. */
static size_t
copy_ready(KvgBody *body, uint8_t *out, size_t room)
{
    const size_t done = MIN(room, body->head->len - body->head_at);
    if (done > 0)
        memcpy(out, body->head->data + body->head_at, done);
    body->head_at += done;
    if (body->head_at == body->head->len) {
        g_byte_array_set_size(body->head, 0);
        body->head_at = 0;
    }
    if (body->payload == NULL || body->head->len > 0)
        return done;
    size_t len = 0;
    const uint8_t *data = g_bytes_get_data(body->payload, &len);
    const size_t n = MIN(room - done, len - body->payload_at);
    if (n > 0)
        memcpy(out + done, data + body->payload_at, n);
    body->payload_at += n;
    if (body->payload_at == len)
        g_clear_pointer(&body->payload, g_bytes_unref);
    return done + n;
}

KvgBodyStep
kvg_body_read(KvgBody *body, void *buffer, size_t size, size_t *len, int64_t now_us, GError **error)
{
    KvgBodyStep step = KVG_BODY_DATA;
    *len = 0;
    while (*len < size) {
        *len += copy_ready(body, (uint8_t *)buffer + *len, size - *len);
        if (body->head->len > 0 || body->payload != NULL)
            continue;
        if (*len == size)
            break;
        step = body->is_ended ? KVG_BODY_END : pull(body, now_us, error);
        if (step != KVG_BODY_DATA)
            break;
    }
    if (step == KVG_BODY_FAILED)
        return step;
    return *len > 0 ? KVG_BODY_DATA : step;
}
