/* The Matroska body of one PutMedia session, pulled by the transport in pieces of any size. A
 * payload is copied once, from the spool's buffer into curl's. */
#include "media/mkv_writer.h"
#include "putmedia/putmedia.h"

#include <string.h>

struct _KvgBody {
    KvgSpoolReader *reader;
    KvgSession *session;
    unsigned call;
    KvgSessionAdmit (*on_event)(KvgSessionEvent *event, void *user_data);
    void *user_data;
    bool has_position;

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
    bool in_cluster; /* a Cluster is open on the wire, or would be if it were not for `skips` */
    bool is_marked;  /* the last thing on the wire is an end-of-fragment tag */
    GPtrArray *tags; /* name, value, name... of the fragment; they follow its last frame */
    uint64_t fragment;
    int64_t timecode_ms;
    int64_t last_us, max_us, end_us, gap_us; /* of the frames so far */
    int64_t floor_ms; /* latest of the piece before: what is not later would be refused */
    uint32_t n_frames;
};

KvgBody *
kvg_body_new(KvgSpool *spool,
             KvgSession *session,
             unsigned call,
             KvgSessionAdmit (*on_event)(KvgSessionEvent *event, void *user_data),
             void *user_data)
{
    KvgBody *body = g_new0(KvgBody, 1);
    body->reader = kvg_spool_reader_new(spool);
    body->session = session;
    body->call = call;
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

static void
take_tracks(KvgBody *body, const KvgSpoolEvent *event)
{
    g_clear_pointer(&body->header, g_bytes_unref);
    body->header =
        kvg_mkv_write_header(event->tracks, event->n_tracks, body->segment_uid, "kvg " KVG_VERSION);
}

static void
begin_cluster(KvgBody *body, int64_t timecode_ms)
{
    body->in_cluster = true;
    body->is_marked = false;
    body->timecode_ms = timecode_ms;
    body->n_frames = 0;
    body->last_us = body->max_us = body->end_us = timecode_ms * 1000;
    body->gap_us = 0;
    if (body->skips)
        return;
    if (body->sent_header == NULL) {
        body->sent_header = g_bytes_ref(body->header);
        size_t len = 0;
        const void *data = g_bytes_get_data(body->header, &len);
        g_byte_array_append(body->head, data, (guint)len);
    }
    kvg_mkv_write_cluster(body->head, (uint64_t)MAX(timecode_ms, 0));
}

static void
begin_fragment(KvgBody *body, const KvgSpoolEvent *event)
{
    KvgSessionEvent begin = {.kind = KVG_SESSION_ON_BEGIN,
                             .fragment = event->fragment,
                             .timecode_ms = event->timecode_ms,
                             /* One Segment per request: other tracks need one of their own. */
                             .new_tracks = body->sent_header != NULL && body->header != NULL &&
                                           !g_bytes_equal(body->sent_header, body->header)};
    switch (body->on_event(&begin, body->user_data)) {
    case KVG_ADMIT_STOP:
        body->is_ended = true;
        return;
    case KVG_ADMIT_PASS:
        kvg_spool_seek(body->reader, event->fragment + 1);
        return;
    case KVG_ADMIT_READ_OVER:
        body->skips = true;
        break;
    case KVG_ADMIT_SEND:
        body->skips = body->header == NULL;
        break;
    }
    body->is_open = true;
    body->fragment = event->fragment;
    g_ptr_array_set_size(body->tags, 0);
    body->floor_ms = INT64_MIN;
    begin_cluster(body, event->timecode_ms);
}

/* The camera goes on in a fragment that was ended on the wire: in a Cluster of its own. */
static void
begin_piece(KvgBody *body, const KvgFrame *frame)
{
    body->floor_ms = body->max_us / 1000;
    begin_cluster(body, MAX(frame->pts_us / 1000, body->floor_ms + 1));
    KvgSessionEvent event = {
        .kind = KVG_SESSION_ON_PIECE, .fragment = body->fragment, .timecode_ms = body->timecode_ms};
    body->on_event(&event, body->user_data);
}

static void
put_frame(KvgBody *body, const KvgFrame *frame)
{
    if (!body->is_open)
        return;
    if (!body->in_cluster)
        begin_piece(body, frame);
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
    const int64_t at_ms = MAX(frame->pts_us / 1000, body->floor_ms + 1);
    const int64_t relative_ms = CLAMP(at_ms - body->timecode_ms, INT16_MIN, INT16_MAX);
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

/* The piece in the open Cluster is whole. @is_last: and with it the fragment. */
static void
end_piece(KvgBody *body, bool is_last)
{
    write_tags(body);
    const bool is_empty = !body->in_cluster;
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_FRAGMENT,
                             .fragment = body->fragment,
                             .is_last = is_last,
                             .timecode_ms = body->timecode_ms,
                             .latest_ms = body->max_us / 1000,
                             .media_ms = is_empty ? 0 : body->end_us / 1000 - body->timecode_ms,
                             .n_frames = is_empty ? 0 : body->n_frames};
    body->in_cluster = false;
    body->on_event(&event, body->user_data);
}

static void
end_fragment(KvgBody *body)
{
    if (!body->is_open)
        return;
    body->is_open = false;
    end_piece(body, true);
}

void
kvg_body_end_fragment(KvgBody *body)
{
    if (body->is_marked || !body->has_blocks || body->is_ended)
        return;
    if (body->is_open && body->in_cluster)
        end_piece(body, false);
    kvg_mkv_write_tag(body->head, KVG_END_OF_FRAGMENT, "");
    body->is_marked = true;
}

static void
pass_gap(KvgBody *body, const KvgSpoolEvent *spool_event)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_GAP,
                             .fragment = spool_event->fragment,
                             .gap_end = spool_event->gap_end};
    body->is_open = body->in_cluster = false;
    body->on_event(&event, body->user_data);
}

/* Nothing more is in the spool now. */
static KvgBodyStep
ask_whether_to_wait(KvgBody *body)
{
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_EMPTY};
    if (body->is_open || body->on_event(&event, body->user_data) != KVG_ADMIT_STOP)
        return KVG_BODY_STARVED;
    body->is_ended = true;
    return KVG_BODY_END;
}

/* Reads one spool event. */
static KvgBodyStep
pull(KvgBody *body, GError **error)
{
    if (!kvg_session_may_send(body->session, body->call))
        return KVG_BODY_STARVED;
    if (!body->has_position)
        kvg_spool_seek(body->reader, kvg_session_start(body->session, body->call));
    body->has_position = true;
    g_auto(KvgSpoolEvent) event = {0};
    if (!kvg_spool_read(body->reader, &event, error))
        return KVG_BODY_FAILED;
    switch (event.kind) {
    case KVG_SPOOL_NONE:
        return ask_whether_to_wait(body);
    case KVG_SPOOL_TRACKS:
        take_tracks(body, &event);
        break;
    case KVG_SPOOL_BEGIN:
        begin_fragment(body, &event);
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
        pass_gap(body, &event);
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
kvg_body_read(KvgBody *body, void *buffer, size_t size, size_t *len, GError **error)
{
    KvgBodyStep step = KVG_BODY_DATA;
    *len = 0;
    while (*len < size) {
        *len += copy_ready(body, (uint8_t *)buffer + *len, size - *len);
        if (body->head->len > 0 || body->payload != NULL)
            continue;
        if (*len == size)
            break;
        step = body->is_ended ? KVG_BODY_END : pull(body, error);
        if (step != KVG_BODY_DATA)
            break;
    }
    if (step == KVG_BODY_FAILED)
        return step;
    return *len > 0 ? KVG_BODY_DATA : step;
}
