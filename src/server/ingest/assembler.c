/* Fragments of an uploaded Matroska stream. The parser says what stands where; the bytes themselves
 * are kept here from the present Cluster on and cut by the parser's offsets, so that what the
 * parser skips (Cues, Void) is stored as it was sent.
 *
 *   no fragment --Cluster--> open --Cluster, new EBML header, end-of-fragment tag, end--> complete
 */
#include "server/ingest/assembler.h"

#include "media/mkv_parser.h"
#include <kvg/error.h>
#include <string.h>

#define END_OF_FRAGMENT "AWS_KINESISVIDEO_END_OF_FRAGMENT"
/* A buffer that grew for one large fragment is given back. */
#define KEEP_BUFFER_BYTES (1024u * 1024)

typedef struct {
    uint8_t number;
    unsigned type;
    unsigned n_frames;           /* in this fragment */
    int64_t last_ms, earlier_ms; /* the two latest frames of this fragment */
    int64_t last_duration_ms;    /* of the latest; -1: not given */
    int64_t interval_ms;         /* between the two latest frames ever seen; 0: unknown */
} Track;

struct _KvgAssembler {
    KvgMkvParser *parser;
    KvgMkvEvent next; /* taken from the parser, not yet handled */
    bool has_next;
    GByteArray *tail; /* what was put since tail_offset */
    size_t tail_start;
    uint64_t tail_offset; /* of tail->data[tail_start] in the whole input */
    bool is_finished;     /* the stream has ended */

    GBytes *header;
    uint64_t scale_ns;
    Track tracks[KVG_MKV_MAX_TRACKS];
    size_t n_tracks;

    bool is_open;
    uint64_t timecode;
    int64_t start_ms;
    unsigned n_frames;
    int64_t earliest_ms, latest_ms;
    unsigned n_tags;
    bool in_header;         /* the parser is in a header that no Cluster has followed yet */
    unsigned n_header_tags; /* Tags there belong to the fragment that comes */
    bool is_ending;         /* an end-of-fragment tag was read in the Tags at ending_offset */
    uint64_t ending_offset, ending_end;

    bool has_previous;
    int64_t previous_latest_ms;
    bool has_frames; /* some frame came in this stream */
    int error_id;
    const char *reason;
};

/* ---- the buffer ---- */

static size_t
tail_len(const KvgAssembler *assembler)
{
    return assembler->tail->len - assembler->tail_start;
}

static const uint8_t *
tail_at(const KvgAssembler *assembler, uint64_t offset)
{
    return assembler->tail->data + assembler->tail_start + (offset - assembler->tail_offset);
}

static void
tail_drop(KvgAssembler *assembler, uint64_t offset)
{
    if (offset <= assembler->tail_offset)
        return;
    const size_t n = (size_t)MIN(offset - assembler->tail_offset, tail_len(assembler));
    assembler->tail_start += n;
    assembler->tail_offset += n;
}

/* Moves what is left to the front once it is the smaller part. */
static void
tail_compact(KvgAssembler *assembler)
{
    const size_t left = tail_len(assembler);
    if (assembler->tail_start == 0 || left > assembler->tail_start)
        return;
    if (assembler->tail->len > KEEP_BUFFER_BYTES && left < KEEP_BUFFER_BYTES) {
        GByteArray *fresh = g_byte_array_sized_new((guint)left);
        g_byte_array_append(fresh, assembler->tail->data + assembler->tail_start, (guint)left);
        g_byte_array_unref(assembler->tail);
        assembler->tail = fresh;
    } else {
        g_byte_array_remove_range(assembler->tail, 0, (guint)assembler->tail_start);
    }
    assembler->tail_start = 0;
}

/* ---- outcome ---- */

static void
name_fragment(const KvgAssembler *assembler, KvgAssemblerEvent *event)
{
    event->has_fragment = assembler->is_open;
    event->timecode = assembler->is_open ? assembler->timecode : 0;
    event->start_ms = assembler->is_open ? assembler->start_ms : 0;
}

static bool
fail(KvgAssembler *assembler, int error_id, const char *reason)
{
    if (assembler->error_id == 0) {
        assembler->error_id = error_id;
        assembler->reason = reason;
    }
    return false;
}

/* Units of the timecode scale to milliseconds. */
static bool
scale_to_ms(uint64_t scale_ns, int64_t units, int64_t *ms)
{
    int64_t whole;
    if (__builtin_mul_overflow(units / 1000000, (int64_t)scale_ns, &whole))
        return false;
    const int64_t part = units % 1000000 * (int64_t)scale_ns / 1000000;
    return !__builtin_add_overflow(whole, part, ms);
}

static Track *
find_track(KvgAssembler *assembler, uint8_t number)
{
    for (size_t i = 0; i < assembler->n_tracks; i++) {
        if (assembler->tracks[i].number == number)
            return &assembler->tracks[i];
    }
    return NULL;
}

/* The end of a track's last frame. A frame without a duration lasts as long as the one before. */
static int64_t
track_end_ms(const Track *track)
{
    const int64_t duration =
        track->last_duration_ms >= 0 ? track->last_duration_ms : track->interval_ms;
    return track->last_ms + MIN(duration, KVG_ASSEMBLER_MAX_SPAN_MS);
}

static bool
check_complete(KvgAssembler *assembler, size_t size)
{
    if (size > KVG_ASSEMBLER_MAX_FRAGMENT)
        return fail(assembler, 4001, "the fragment is larger than 50 MB");
    if (!assembler->has_frames)
        return fail(assembler, 4006, "a Cluster without frames");
    for (size_t i = 0; i < assembler->n_tracks; i++) {
        if (assembler->tracks[i].n_frames == 0)
            return fail(assembler, 4011, "a track has no frame in the fragment");
    }
    return true;
}

static void
complete(KvgAssembler *assembler, uint64_t end, KvgAssemblerEvent *event)
{
    const size_t size = (size_t)(end - assembler->tail_offset);
    if (!check_complete(assembler, size))
        return;
    event->kind = KVG_ASSEMBLER_FRAGMENT;
    name_fragment(assembler, event);
    event->header = g_bytes_ref(assembler->header);
    event->media = g_bytes_new(tail_at(assembler, assembler->tail_offset), size);
    event->n_frames = assembler->n_frames;
    int64_t end_ms = assembler->latest_ms;
    for (size_t i = 0; i < assembler->n_tracks; i++)
        end_ms = MAX(end_ms, track_end_ms(&assembler->tracks[i]));
    event->length_ms = end_ms - assembler->earliest_ms;
    assembler->has_previous = true;
    assembler->previous_latest_ms = assembler->latest_ms;
    assembler->is_open = assembler->is_ending = false;
    tail_drop(assembler, end);
}

/* ---- events of the parser ---- */

static bool
take_header(KvgAssembler *assembler)
{
    size_t n;
    const KvgTrack *tracks = kvg_mkv_parser_tracks(assembler->parser, &n);
    if (n > KVG_ASSEMBLER_MAX_TRACKS)
        return fail(assembler, 4012, "more than three tracks");
    /* A second header may change codec data, but not which tracks there are. */
    const bool is_first = assembler->header == NULL;
    if (!is_first && n != assembler->n_tracks)
        return fail(assembler, 4010, "a new header declares other tracks");
    for (size_t i = 0; i < n; i++) {
        const Track *known = find_track(assembler, tracks[i].number);
        if (!is_first && (known == NULL || known->type != (unsigned)tracks[i].type))
            return fail(assembler, 4010, "a new header declares other tracks");
    }
    for (size_t i = 0; is_first && i < n; i++)
        assembler->tracks[i] =
            (Track){.number = tracks[i].number, .type = (unsigned)tracks[i].type};
    assembler->n_tracks = n;
    assembler->scale_ns = kvg_mkv_parser_timecode_scale_ns(assembler->parser);
    g_clear_pointer(&assembler->header, g_bytes_unref);
    assembler->header = g_bytes_ref(kvg_mkv_parser_header(assembler->parser));
    return true;
}

static bool
take_cluster(KvgAssembler *assembler, const KvgMkvEvent *next, KvgAssemblerEvent *event)
{
    int64_t start_ms;
    if (!scale_to_ms(assembler->scale_ns, (int64_t)next->timecode, &start_ms))
        return fail(assembler, 4006, "the timecode is out of range");
    tail_drop(assembler, next->offset);
    assembler->is_open = true;
    assembler->timecode = next->timecode;
    assembler->start_ms = start_ms;
    assembler->n_frames = 0;
    assembler->n_tags = assembler->in_header ? assembler->n_header_tags : 0;
    assembler->in_header = false;
    for (size_t i = 0; i < assembler->n_tracks; i++)
        assembler->tracks[i].n_frames = 0;
    event->kind = KVG_ASSEMBLER_BEGIN;
    name_fragment(assembler, event);
    if (assembler->n_tags > KVG_ASSEMBLER_MAX_TAGS)
        fail(assembler, 4009, "more than ten tags in a fragment");
    return true;
}

/* Keeps the two latest frames of a track; frames come in decoding order. */
static void
count_frame(Track *track, int64_t time_ms, int64_t duration_ms)
{
    const bool is_first = track->n_frames++ == 0;
    if (is_first || time_ms > track->last_ms) {
        track->earlier_ms = is_first ? time_ms : track->last_ms;
        track->last_ms = time_ms;
        track->last_duration_ms = duration_ms;
    } else if (time_ms > track->earlier_ms || track->n_frames == 2) {
        track->earlier_ms = time_ms;
    }
    if (track->n_frames > 1)
        track->interval_ms = track->last_ms - track->earlier_ms;
}

static bool
take_block(KvgAssembler *assembler, const KvgMkvEvent *next)
{
    Track *track = find_track(assembler, next->track);
    if (track == NULL)
        return fail(assembler, 4010, "a frame of a track that was not declared");
    int64_t time_ms, duration_ms = -1;
    const int64_t units = (int64_t)assembler->timecode + next->relative;
    if (!scale_to_ms(assembler->scale_ns, units, &time_ms) ||
        (next->duration >= 0 && !scale_to_ms(assembler->scale_ns, next->duration, &duration_ms)))
        return fail(assembler, 4006, "a frame's time is out of range");
    if (assembler->has_previous && time_ms <= assembler->previous_latest_ms)
        return fail(assembler, 4004, "a frame is not later than the fragment before");
    const bool is_first = assembler->n_frames++ == 0;
    assembler->has_frames = true;
    assembler->earliest_ms = is_first ? time_ms : MIN(assembler->earliest_ms, time_ms);
    assembler->latest_ms = is_first ? time_ms : MAX(assembler->latest_ms, time_ms);
    if (assembler->latest_ms - assembler->earliest_ms > KVG_ASSEMBLER_MAX_SPAN_MS)
        return fail(assembler, 4002, "the fragment is longer than 20 s");
    count_frame(track, time_ms, duration_ms);
    return true;
}

static bool
take_tag(KvgAssembler *assembler, const KvgMkvEvent *next)
{
    if (strlen(next->name) > KVG_ASSEMBLER_MAX_TAG_NAME ||
        strlen(next->value) > KVG_ASSEMBLER_MAX_TAG_VALUE)
        return fail(assembler, 4009, "a tag is too long");
    if (assembler->in_header) {
        if (assembler->n_header_tags <= KVG_ASSEMBLER_MAX_TAGS)
            assembler->n_header_tags++;
        return true;
    }
    /* Behind an end-of-fragment tag there is no fragment for it to belong to. */
    if (!assembler->is_open)
        return true;
    if (++assembler->n_tags > KVG_ASSEMBLER_MAX_TAGS)
        return fail(assembler, 4009, "more than ten tags in a fragment");
    if (strcmp(next->name, END_OF_FRAGMENT) == 0) {
        assembler->is_ending = true;
        assembler->ending_offset = next->offset;
        assembler->ending_end = next->end_offset;
    }
    return true;
}

static bool
take_failure(KvgAssembler *assembler, const GError *error)
{
    if (g_error_matches(error, KVG_ERROR, KVG_ERROR_NO_SPACE))
        return fail(assembler, 4001, "the fragment is larger than 50 MB");
    return fail(assembler, 4006, "the data is not valid Matroska");
}

/* Nothing more to parse: what is left may have grown too large, or be the end. */
static bool
take_rest(KvgAssembler *assembler, KvgAssemblerEvent *event)
{
    if (!assembler->is_open)
        tail_drop(assembler, kvg_mkv_parser_offset(assembler->parser));
    if (tail_len(assembler) > KVG_ASSEMBLER_MAX_FRAGMENT)
        return fail(assembler, 4001, "the fragment is larger than 50 MB");
    if (!assembler->is_finished)
        return true;
    if (!kvg_mkv_parser_is_whole(assembler->parser))
        return fail(assembler, 4006, "the stream ends within an element");
    if (!assembler->has_frames)
        return fail(assembler, 4006, "the stream has no frames");
    if (assembler->is_open)
        complete(assembler, assembler->tail_offset + tail_len(assembler), event);
    return true;
}

/* Whether what the parser reported next lies behind the open fragment. */
static bool
ends_fragment(const KvgAssembler *assembler, uint64_t *end)
{
    const KvgMkvEvent *next = &assembler->next;
    if (!assembler->is_open)
        return false;
    if (assembler->is_ending &&
        (next->kind != KVG_MKV_TAG || next->offset != assembler->ending_offset)) {
        *end = assembler->ending_end;
        return true;
    }
    *end = next->offset;
    return next->kind == KVG_MKV_DOCUMENT || next->kind == KVG_MKV_CLUSTER;
}

static void
take_next(KvgAssembler *assembler, const KvgMkvEvent *next, KvgAssemblerEvent *event)
{
    switch (next->kind) {
    case KVG_MKV_NEED_MORE:
        take_rest(assembler, event);
        break;
    case KVG_MKV_DOCUMENT:
        assembler->in_header = true;
        assembler->n_header_tags = 0;
        break;
    case KVG_MKV_HEADER:
        take_header(assembler);
        break;
    case KVG_MKV_CLUSTER:
        take_cluster(assembler, next, event);
        break;
    case KVG_MKV_BLOCK:
        take_block(assembler, next);
        break;
    case KVG_MKV_TAG:
        take_tag(assembler, next);
        break;
    case KVG_MKV_FAILED: /* said by the parser's error */
        break;
    }
}

/* ---- public ---- */

KvgAssembler *
kvg_assembler_new(void)
{
    KvgAssembler *assembler = g_new0(KvgAssembler, 1);
    assembler->parser = kvg_mkv_parser_new();
    assembler->tail = g_byte_array_new();
    return assembler;
}

void
kvg_assembler_free(KvgAssembler *assembler)
{
    if (assembler == NULL)
        return;
    kvg_mkv_parser_free(assembler->parser);
    g_byte_array_unref(assembler->tail);
    g_clear_pointer(&assembler->header, g_bytes_unref);
    g_free(assembler);
}

void
kvg_assembler_event_clear(KvgAssemblerEvent *event)
{
    g_clear_pointer(&event->header, g_bytes_unref);
    g_clear_pointer(&event->media, g_bytes_unref);
    memset(event, 0, sizeof *event);
}

void
kvg_assembler_put(KvgAssembler *assembler, const void *data, size_t len)
{
    if (assembler->error_id != 0 || assembler->is_finished || len == 0)
        return;
    tail_compact(assembler);
    /* A caller that does not step; the array counts in 32 bits. */
    if (len > G_MAXUINT / 2 || assembler->tail->len > G_MAXUINT / 2) {
        fail(assembler, 4001, "the fragment is too large");
        return;
    }
    g_byte_array_append(assembler->tail, data, (guint)len);
    kvg_mkv_parser_put(assembler->parser, data, len);
}

void
kvg_assembler_finish(KvgAssembler *assembler)
{
    assembler->is_finished = true;
}

KvgAssemblerEventKind
kvg_assembler_step(KvgAssembler *assembler, KvgAssemblerEvent *event)
{
    kvg_assembler_event_clear(event);
    bool has_more = true;
    while (assembler->error_id == 0 && has_more && event->kind == KVG_ASSEMBLER_NEED_MORE) {
        g_autoptr(GError) error = NULL;
        if (!assembler->has_next &&
            kvg_mkv_parser_step(assembler->parser, &assembler->next, &error) == KVG_MKV_FAILED) {
            take_failure(assembler, error);
            break;
        }
        /* Kept for the next step if a fragment completes first; "need more" is asked anew. */
        has_more = assembler->next.kind != KVG_MKV_NEED_MORE;
        assembler->has_next = has_more;
        uint64_t end;
        if (ends_fragment(assembler, &end)) {
            complete(assembler, end, event);
            continue;
        }
        assembler->has_next = false;
        const KvgMkvEvent next = assembler->next;
        take_next(assembler, &next, event);
    }
    if (event->kind == KVG_ASSEMBLER_NEED_MORE && assembler->error_id != 0) {
        event->kind = KVG_ASSEMBLER_FAILED;
        event->error_id = assembler->error_id;
        event->reason = assembler->reason;
        name_fragment(assembler, event);
    }
    return event->kind;
}

size_t
kvg_assembler_held_bytes(const KvgAssembler *assembler)
{
    /* The parser keeps what it has not used up yet, in a buffer that doubles. */
    const uint64_t total = assembler->tail_offset + tail_len(assembler);
    const uint64_t unparsed = total - kvg_mkv_parser_offset(assembler->parser);
    return assembler->tail->len + 2 * (size_t)MIN(unparsed, 2u * KVG_ASSEMBLER_MAX_FRAGMENT);
}

bool
kvg_assembler_peek(const KvgAssembler *assembler,
                   GBytes **header,
                   const uint8_t **data,
                   size_t *len)
{
    if (!assembler->is_open)
        return false;
    *header = assembler->header;
    *data = tail_at(assembler, assembler->tail_offset);
    *len = tail_len(assembler);
    return true;
}
