/* Matroska parser by steps. Elements are walked flat: the only nesting kept is "inside a Cluster",
 * because Segment and Cluster may be of unknown size and end where an element of their level
 * begins. Small masters (Info, Tracks, Tags, BlockGroup) are waited for whole, the rest is skipped
 * unread.
 *
 *   START -> HEAD (collecting EBML..Tracks) -> BODY (between clusters) <-> CLUSTER
 *              ^--------- a new EBML header at a cluster boundary --------'
 */
#include "media/mkv_parser.h"

#include "base/bytes.h"
#include "media/ebml.h"
#include <kvg/error.h>
#include <math.h>
#include <string.h>

#define MAX_TAGS_BYTES (1024u * 1024)
#define MAX_TAGS_PER_ELEMENT 256u
#define MAX_CODEC_ID 64u
/* A block group's own elements beside the block. */
#define MAX_GROUP_EXTRA 65536u
/* A buffer that grew for one large block is given back when it is empty. */
#define KEEP_BUFFER_BYTES (1024u * 1024)

typedef enum { STATE_START, STATE_HEAD, STATE_BODY, STATE_CLUSTER, STATE_FAILED } State;

typedef struct {
    GByteArray *bytes; /* verbatim, Segment size rewritten */
    uint64_t offset;
    uint64_t timecode_scale_ns;
    KvgTrack tracks[KVG_MKV_MAX_TRACKS];
    size_t n_tracks;
    bool has_segment, has_tracks;
} Header;

struct _KvgMkvParser {
    uint8_t *buffer;
    size_t len, capacity, at;
    uint64_t base; /* offset of buffer[0] in the whole input */
    uint64_t skip; /* bytes still to be thrown away */
    State state;
    Header *header;  /* what HEADER reported */
    Header *pending; /* being collected */
    GBytes *header_bytes;
    uint64_t cluster_offset;
    uint64_t cluster_end; /* UINT64_MAX: unknown size */
    bool has_timecode;
    GPtrArray *tags; /* name, value, name, value ... still to be reported */
    guint next_tag;
    uint64_t tags_offset, tags_end;
    GError *failure;
};

typedef struct {
    uint32_t id;
    uint64_t size;
    bool is_unknown;
    size_t head_len;
} Element;

typedef enum { HEAD_OK, HEAD_NEED_MORE, HEAD_BAD } HeadResult;

static void
clear_tracks(Header *header)
{
    for (size_t i = 0; i < header->n_tracks; i++) {
        g_free((char *)(uintptr_t)header->tracks[i].codec_id);
        g_free((char *)(uintptr_t)header->tracks[i].name);
        g_clear_pointer(&header->tracks[i].codec_private, g_bytes_unref);
    }
    header->n_tracks = 0;
}

static void
header_free(Header *header)
{
    if (header == NULL)
        return;
    clear_tracks(header);
    g_byte_array_unref(header->bytes);
    g_free(header);
}

static Header *
header_new(uint64_t offset)
{
    Header *header = g_new0(Header, 1);
    header->bytes = g_byte_array_new();
    header->offset = offset;
    header->timecode_scale_ns = 1000000;
    return header;
}

static HeadResult
parse_head(const uint8_t *data, size_t len, Element *element)
{
    if (len == 0)
        return HEAD_NEED_MORE;
    if (data[0] < 0x10)
        return HEAD_BAD;
    const size_t id_len = data[0] >= 0x80 ? 1 : data[0] >= 0x40 ? 2 : data[0] >= 0x20 ? 3 : 4;
    if (len < id_len + 1)
        return HEAD_NEED_MORE;
    element->id = 0;
    for (size_t i = 0; i < id_len; i++)
        element->id = element->id << 8 | data[i];
    const uint8_t first = data[id_len];
    if (first == 0)
        return HEAD_BAD;
    size_t width = 1;
    while ((first & 0x80u >> (width - 1)) == 0)
        width++;
    if (len < id_len + width)
        return HEAD_NEED_MORE;
    uint64_t size = first & (0xffu >> width);
    for (size_t i = 1; i < width; i++)
        size = size << 8 | data[id_len + i];
    element->size = size;
    element->is_unknown = size == (1ull << (7 * width)) - 1;
    element->head_len = id_len + width;
    return HEAD_OK;
}

/* The next child in a master that is wholly in memory. */
static bool
next_child(KvgReader *reader, uint32_t *id, KvgReader *content)
{
    if (reader->failed || kvg_reader_left(reader) == 0)
        return false;
    Element child;
    if (parse_head(reader->at, kvg_reader_left(reader), &child) != HEAD_OK || child.is_unknown ||
        child.size > kvg_reader_left(reader) - child.head_len) {
        reader->failed = true;
        return false;
    }
    kvg_reader_take(reader, child.head_len);
    const uint8_t *at = kvg_reader_take(reader, (size_t)child.size);
    *id = child.id;
    *content = kvg_reader_init(at, (size_t)child.size);
    return true;
}

/* An unsigned integer of 0..8 bytes that fills the element. */
static uint64_t
read_uint(KvgReader *content)
{
    if (kvg_reader_left(content) > 8) {
        content->failed = true;
        return 0;
    }
    uint64_t value = 0;
    while (kvg_reader_left(content) > 0)
        value = value << 8 | kvg_reader_u8(content);
    return value;
}

static uint64_t
read_uint_capped(KvgReader *content, uint64_t max)
{
    const uint64_t value = read_uint(content);
    return MIN(value, max);
}

static double
read_float(KvgReader *content)
{
    double value = 0;
    if (kvg_reader_left(content) == 4) {
        const uint32_t bits = kvg_reader_u32(content);
        float single;
        memcpy(&single, &bits, sizeof single);
        value = (double)single;
    } else if (kvg_reader_left(content) == 8) {
        const uint64_t bits = kvg_reader_u64(content);
        memcpy(&value, &bits, sizeof value);
    }
    return isfinite(value) && value > 0 && value < 1e7 ? value : 0;
}

/* Text up to the first NUL (Matroska pads with them); NULL if it is not UTF-8 or too long. */
static char *
read_text(const KvgReader *content, size_t max)
{
    const size_t room = kvg_reader_left(content);
    const uint8_t *end = room == 0 ? NULL : memchr(content->at, 0, room);
    const size_t len = end != NULL ? (size_t)(end - content->at) : room;
    if (len == 0)
        return g_strdup("");
    if (len > max || !g_utf8_validate_len((const char *)content->at, len, NULL))
        return NULL;
    return g_strndup((const char *)content->at, len);
}

static bool
corrupt(GError **error, const char *what)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "Matroska: %s", what);
    return false;
}

static bool
too_large(GError **error, uint64_t size)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_NO_SPACE,
                "Matroska: a block of %" G_GUINT64_FORMAT " bytes; at most %u are possible", size,
                KVG_MKV_MAX_BLOCK);
    return false;
}

static bool
parse_ebml(KvgReader content, GError **error)
{
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id == EBML_DOC_TYPE) {
            g_autofree char *type = read_text(&child, 16);
            if (g_strcmp0(type, "matroska") != 0 && g_strcmp0(type, "webm") != 0)
                return corrupt(error, "the document type is not matroska");
        } else if (id == EBML_READ_VERSION && read_uint(&child) > 1) {
            return corrupt(error, "the EBML version is not supported");
        } else if (id == EBML_MAX_ID_LENGTH && read_uint(&child) > 4) {
            return corrupt(error, "ids longer than four bytes");
        } else if (id == EBML_MAX_SIZE_LENGTH && read_uint(&child) > 8) {
            return corrupt(error, "sizes longer than eight bytes");
        }
    }
    return content.failed ? corrupt(error, "damaged EBML header") : true;
}

static bool
parse_info(Header *header, KvgReader content, GError **error)
{
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id != MKV_TIMECODE_SCALE)
            continue;
        header->timecode_scale_ns = read_uint(&child);
        if (child.failed || header->timecode_scale_ns == 0 ||
            header->timecode_scale_ns > 1000000000)
            return corrupt(error, "timecode scale out of range");
    }
    return content.failed ? corrupt(error, "damaged Info") : true;
}

static bool
parse_video(KvgTrack *track, KvgReader content)
{
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id == MKV_PIXEL_WIDTH)
            track->width = (uint32_t)read_uint_capped(&child, 65535);
        else if (id == MKV_PIXEL_HEIGHT)
            track->height = (uint32_t)read_uint_capped(&child, 65535);
    }
    return !content.failed;
}

static bool
parse_audio(KvgTrack *track, KvgReader content)
{
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id == MKV_SAMPLING_FREQUENCY)
            track->sample_rate_hz = read_float(&child);
        else if (id == MKV_CHANNELS)
            track->channels = (uint8_t)read_uint_capped(&child, 255);
        else if (id == MKV_BIT_DEPTH)
            track->bit_depth = (uint8_t)read_uint_capped(&child, 255);
    }
    return !content.failed;
}

/* Later copies of a text element replace earlier ones. */
static void
set_text(const char **field, char *value)
{
    g_free((char *)(uintptr_t)*field);
    *field = value;
}

static bool
parse_track_child(KvgTrack *track, uint32_t id, KvgReader *child, uint64_t *number)
{
    switch (id) {
    case MKV_TRACK_NUMBER:
        *number = read_uint(child);
        return !child->failed;
    case MKV_TRACK_TYPE:
        track->type = (KvgTrackType)read_uint_capped(child, 255);
        return !child->failed;
    case MKV_TRACK_NAME:
        set_text(&track->name, read_text(child, 1024));
        return true;
    case MKV_CODEC_ID:
        set_text(&track->codec_id, read_text(child, MAX_CODEC_ID));
        return track->codec_id != NULL;
    case MKV_CODEC_PRIVATE:
        g_clear_pointer(&track->codec_private, g_bytes_unref);
        track->codec_private = g_bytes_new(child->at, kvg_reader_left(child));
        return true;
    case MKV_VIDEO:
        return parse_video(track, *child);
    case MKV_AUDIO:
        track->channels = 1;
        return parse_audio(track, *child);
    default:
        return true;
    }
}

static bool
parse_track(Header *header, KvgReader content, GError **error)
{
    if (header->n_tracks == KVG_MKV_MAX_TRACKS)
        return corrupt(error, "too many tracks");
    /* Counted before it is filled, so that whatever it owns is freed with the header. */
    KvgTrack *track = &header->tracks[header->n_tracks++];
    uint64_t number = 0;
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (!parse_track_child(track, id, &child, &number))
            return corrupt(error, "damaged TrackEntry");
    }
    if (content.failed)
        return corrupt(error, "damaged TrackEntry");
    if (number < 1 || number > 255)
        return corrupt(error, "track number out of range");
    if (track->codec_id == NULL)
        return corrupt(error, "track without codec id");
    for (size_t i = 0; i + 1 < header->n_tracks; i++) {
        if (header->tracks[i].number == number)
            return corrupt(error, "two tracks of the same number");
    }
    track->number = (uint8_t)number;
    return true;
}

static bool
parse_tracks(Header *header, KvgReader content, GError **error)
{
    if (header->has_tracks)
        return corrupt(error, "Tracks appears twice");
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id == MKV_TRACK_ENTRY && !parse_track(header, child, error))
            return false;
    }
    if (content.failed)
        return corrupt(error, "damaged Tracks");
    if (header->n_tracks == 0)
        return corrupt(error, "Tracks is empty");
    header->has_tracks = true;
    return true;
}

static bool
parse_simple_tag(GPtrArray *tags, KvgReader content, GError **error)
{
    g_autofree char *name = NULL;
    g_autofree char *value = NULL;
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id != MKV_TAG_NAME && id != MKV_TAG_STRING)
            continue;
        char *text = read_text(&child, MAX_TAGS_BYTES);
        if (text == NULL)
            return corrupt(error, "a tag is not UTF-8");
        char **field = id == MKV_TAG_NAME ? &name : &value;
        g_free(*field);
        *field = text;
    }
    if (content.failed)
        return corrupt(error, "damaged SimpleTag");
    if (name == NULL)
        return true;
    if (tags->len >= 2 * MAX_TAGS_PER_ELEMENT)
        return corrupt(error, "too many tags");
    g_ptr_array_add(tags, g_steal_pointer(&name));
    g_ptr_array_add(tags, value != NULL ? g_steal_pointer(&value) : g_strdup(""));
    return true;
}

static bool
parse_tags(KvgMkvParser *parser, KvgReader content, GError **error)
{
    g_ptr_array_set_size(parser->tags, 0);
    parser->next_tag = 0;
    uint32_t id;
    KvgReader tag;
    while (next_child(&content, &id, &tag)) {
        if (id != MKV_TAG)
            continue;
        KvgReader child;
        while (next_child(&tag, &id, &child)) {
            if (id == MKV_SIMPLE_TAG && !parse_simple_tag(parser->tags, child, error))
                return false;
        }
        if (tag.failed)
            return corrupt(error, "damaged Tag");
    }
    return content.failed ? corrupt(error, "damaged Tags") : true;
}

static bool
parse_block(KvgReader content, KvgMkvEvent *event, GError **error)
{
    if (kvg_reader_left(&content) > KVG_MKV_MAX_BLOCK + 16)
        return too_large(error, kvg_reader_left(&content));
    uint64_t track = kvg_reader_u8(&content);
    if (track & 0x80)
        track &= 0x7f;
    else if (track & 0x40)
        track = (track & 0x3f) << 8 | kvg_reader_u8(&content);
    else
        return corrupt(error, "bad track number in a block");
    const uint16_t relative = kvg_reader_u16(&content);
    const uint8_t flags = kvg_reader_u8(&content);
    if (content.failed || track < 1 || track > 255)
        return corrupt(error, "damaged block");
    if (flags & 0x06) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED, "Matroska: laced blocks");
        return false;
    }
    event->kind = KVG_MKV_BLOCK;
    event->track = (uint8_t)track;
    event->relative = (int16_t)relative;
    event->key = flags & 0x80;
    event->duration = -1;
    event->data = content.at;
    event->len = kvg_reader_left(&content);
    return true;
}

static bool
parse_block_group(KvgReader content, KvgMkvEvent *event, GError **error)
{
    bool has_block = false;
    bool has_reference = false;
    int64_t duration = -1;
    uint32_t id;
    KvgReader child;
    while (next_child(&content, &id, &child)) {
        if (id == MKV_BLOCK) {
            if (has_block)
                return corrupt(error, "two blocks in a BlockGroup");
            if (!parse_block(child, event, error))
                return false;
            has_block = true;
        } else if (id == MKV_REFERENCE_BLOCK) {
            has_reference = true;
        } else if (id == MKV_BLOCK_DURATION) {
            const uint64_t value = read_uint(&child);
            if (child.failed || value > G_MAXINT32)
                return corrupt(error, "block duration out of range");
            duration = (int64_t)value;
        }
    }
    if (content.failed || !has_block)
        return corrupt(error, "damaged BlockGroup");
    event->key = !has_reference;
    event->duration = duration;
    return true;
}

/* The largest content that is waited for whole; 0: skip it unread. */
static uint64_t
max_content(const KvgMkvParser *parser, uint32_t id)
{
    if (parser->state == STATE_START || parser->state == STATE_HEAD)
        return KVG_MKV_MAX_HEADER;
    switch (id) {
    case EBML_HEADER:
        return KVG_MKV_MAX_HEADER;
    case MKV_TAGS:
        return MAX_TAGS_BYTES;
    case MKV_TIMECODE:
        return 8;
    case MKV_SIMPLE_BLOCK:
        return KVG_MKV_MAX_BLOCK + 16;
    case MKV_BLOCK_GROUP:
        return KVG_MKV_MAX_BLOCK + MAX_GROUP_EXTRA;
    default:
        return 0;
    }
}

static bool
is_top_level(uint32_t id)
{
    switch (id) {
    case EBML_HEADER:
    case MKV_SEGMENT:
    case MKV_CLUSTER:
    case MKV_TAGS:
    case MKV_CUES:
    case MKV_SEEK_HEAD:
    case MKV_INFO:
    case MKV_TRACKS:
    case MKV_CHAPTERS:
    case MKV_ATTACHMENTS:
        return true;
    default:
        return false;
    }
}

/* Segment and Cluster are entered, not waited for. */
static bool
enter_master(KvgMkvParser *parser, const Element *element, uint64_t offset, GError **error)
{
    if (element->id == MKV_SEGMENT) {
        if (parser->state != STATE_HEAD || parser->pending->has_segment)
            return corrupt(error, "a Segment without its own EBML header");
        static const uint8_t head[] = {0x18, 0x53, 0x80, 0x67, 0x01, 0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        parser->pending->has_segment = true;
        kvg_bytes_put(parser->pending->bytes, head, sizeof head);
    } else {
        parser->state = STATE_CLUSTER;
        parser->cluster_offset = offset;
        parser->cluster_end = UINT64_MAX;
        parser->has_timecode = false;
        if (!element->is_unknown) {
            if (element->size > UINT64_MAX / 2)
                return corrupt(error, "Cluster too large");
            parser->cluster_end = offset + element->head_len + element->size;
        }
    }
    parser->at += element->head_len;
    return true;
}

/* Reports the header when the first Cluster after it begins. */
static bool
finish_header(KvgMkvParser *parser, uint64_t offset, KvgMkvEvent *event, GError **error)
{
    if (!parser->pending->has_segment || !parser->pending->has_tracks)
        return corrupt(error, "a Cluster before Tracks");
    header_free(parser->header);
    parser->header = g_steal_pointer(&parser->pending);
    g_clear_pointer(&parser->header_bytes, g_bytes_unref);
    parser->header_bytes = g_bytes_new(parser->header->bytes->data, parser->header->bytes->len);
    parser->state = STATE_BODY;
    event->kind = KVG_MKV_HEADER;
    event->offset = parser->header->offset;
    event->end_offset = offset;
    return true;
}

/* One whole element of the header. */
static bool
take_header_element(KvgMkvParser *parser, uint32_t id, KvgReader content, GError **error)
{
    Header *header = parser->pending;
    if (!header->has_segment && id != EBML_VOID && id != EBML_CRC32)
        return corrupt(error, "an element outside the Segment");
    if (id == MKV_INFO)
        return parse_info(header, content, error);
    if (id == MKV_TRACKS)
        return parse_tracks(header, content, error);
    if (id == MKV_TAGS)
        return parse_tags(parser, content, error);
    return true;
}

static bool
take_timecode(KvgMkvParser *parser, KvgReader content, KvgMkvEvent *event, GError **error)
{
    if (parser->has_timecode)
        return corrupt(error, "a Cluster with two timecodes");
    event->timecode = read_uint(&content);
    if (content.failed || event->timecode > G_MAXINT64 / 2)
        return corrupt(error, "cluster timecode out of range");
    parser->has_timecode = true;
    event->kind = KVG_MKV_CLUSTER;
    event->offset = parser->cluster_offset;
    return true;
}

/* One whole element, content in memory. Leaves event->kind NEED_MORE if it makes no event. */
static bool
take_element(KvgMkvParser *parser,
             const Element *element,
             KvgReader content,
             KvgMkvEvent *event,
             GError **error)
{
    if (element->id == EBML_HEADER) {
        header_free(parser->pending);
        parser->pending = header_new(event->offset);
        parser->state = STATE_HEAD;
        event->kind = KVG_MKV_DOCUMENT;
        return parse_ebml(content, error);
    }
    if (parser->state == STATE_HEAD)
        return take_header_element(parser, element->id, content, error);
    if (element->id == MKV_TAGS)
        return parse_tags(parser, content, error);
    if (parser->state != STATE_CLUSTER)
        return true;
    if (element->id == MKV_TIMECODE)
        return take_timecode(parser, content, event, error);
    if (!parser->has_timecode)
        return corrupt(error, "a block before the cluster's timecode");
    if (element->id == MKV_SIMPLE_BLOCK)
        return parse_block(content, event, error);
    return parse_block_group(content, event, error);
}

/* Where an element may stand. Also leaves a Cluster that ends here. */
static bool
check_place(KvgMkvParser *parser, const Element *element, uint64_t offset, GError **error)
{
    if (parser->state == STATE_START && element->id != EBML_HEADER)
        return corrupt(error, "does not begin with an EBML header");
    if (parser->state == STATE_HEAD && element->id == EBML_HEADER)
        return corrupt(error, "two EBML headers before a Cluster");
    if (parser->state == STATE_CLUSTER) {
        if (parser->cluster_end == UINT64_MAX ? is_top_level(element->id)
                                              : offset >= parser->cluster_end)
            parser->state = STATE_BODY;
        else if (is_top_level(element->id))
            return corrupt(error, "a top-level element inside a Cluster of known size");
    }
    if (element->id == MKV_SEGMENT || element->id == MKV_CLUSTER)
        return true;
    if (element->is_unknown)
        return corrupt(error, "an element of unknown size");
    if (parser->state == STATE_CLUSTER && parser->cluster_end != UINT64_MAX &&
        (element->size > parser->cluster_end ||
         offset + element->head_len + element->size > parser->cluster_end))
        return corrupt(error, "an element longer than its Cluster");
    if (parser->state == STATE_BODY && !is_top_level(element->id) && element->id != EBML_VOID &&
        element->id != EBML_CRC32 && max_content(parser, element->id) != 0)
        return corrupt(error, "a block outside a Cluster");
    return true;
}

typedef enum { WALK_AGAIN, WALK_EVENT, WALK_NEED_MORE, WALK_FAILED } Walk;

static Walk
skip_bytes(KvgMkvParser *parser)
{
    const size_t n = (size_t)MIN((uint64_t)(parser->len - parser->at), parser->skip);
    parser->at += n;
    parser->skip -= n;
    return parser->skip == 0 ? WALK_AGAIN : WALK_NEED_MORE;
}

/* Takes one element off the buffer. */
static Walk
walk(KvgMkvParser *parser, KvgMkvEvent *event, GError **error)
{
    if (parser->skip > 0)
        return skip_bytes(parser);
    if (parser->len == parser->at) /* nothing was ever put: there is no buffer yet */
        return WALK_NEED_MORE;
    const uint8_t *at = parser->buffer + parser->at;
    const size_t left = parser->len - parser->at;
    Element element;
    const HeadResult result = parse_head(at, left, &element);
    if (result == HEAD_BAD) {
        corrupt(error, "bad element id or size");
        return WALK_FAILED;
    }
    if (result == HEAD_NEED_MORE)
        return WALK_NEED_MORE;
    const uint64_t offset = parser->base + parser->at;
    if (!check_place(parser, &element, offset, error))
        return WALK_FAILED;
    if (element.id == MKV_CLUSTER && parser->state == STATE_HEAD)
        return finish_header(parser, offset, event, error) ? WALK_EVENT : WALK_FAILED;
    if (element.id == MKV_CLUSTER || element.id == MKV_SEGMENT)
        return enter_master(parser, &element, offset, error) ? WALK_AGAIN : WALK_FAILED;

    const uint64_t max = max_content(parser, element.id);
    if (max == 0) {
        parser->at += element.head_len;
        parser->skip = element.size;
        return WALK_AGAIN;
    }
    if ((element.id == MKV_SIMPLE_BLOCK || element.id == MKV_BLOCK_GROUP) && element.size > max) {
        too_large(error, element.size);
        return WALK_FAILED;
    }
    const size_t collected = parser->state == STATE_HEAD ? parser->pending->bytes->len : 0;
    if (element.size > max || collected + element.size > MAX(max, KVG_MKV_MAX_HEADER)) {
        corrupt(error, "element too large");
        return WALK_FAILED;
    }
    if (left - element.head_len < element.size)
        return WALK_NEED_MORE;
    const size_t size = element.head_len + (size_t)element.size;
    event->offset = offset;
    event->end_offset = offset + size;
    const KvgReader content = kvg_reader_init(at + element.head_len, (size_t)element.size);
    if (!take_element(parser, &element, content, event, error))
        return WALK_FAILED;
    parser->at += size;
    if (parser->state == STATE_HEAD)
        kvg_bytes_put(parser->pending->bytes, at, size);
    if (element.id == MKV_TAGS) {
        parser->tags_offset = offset;
        parser->tags_end = offset + size;
    }
    return event->kind == KVG_MKV_NEED_MORE ? WALK_AGAIN : WALK_EVENT;
}

static bool
take_tag(KvgMkvParser *parser, KvgMkvEvent *event)
{
    if (parser->next_tag >= parser->tags->len)
        return false;
    event->kind = KVG_MKV_TAG;
    event->offset = parser->tags_offset;
    event->end_offset = parser->tags_end;
    event->name = g_ptr_array_index(parser->tags, parser->next_tag);
    event->value = g_ptr_array_index(parser->tags, parser->next_tag + 1);
    parser->next_tag += 2;
    return true;
}

KvgMkvParser *
kvg_mkv_parser_new(void)
{
    KvgMkvParser *parser = g_new0(KvgMkvParser, 1);
    parser->tags = g_ptr_array_new_with_free_func(g_free);
    return parser;
}

void
kvg_mkv_parser_free(KvgMkvParser *parser)
{
    if (parser == NULL)
        return;
    header_free(parser->header);
    header_free(parser->pending);
    g_clear_pointer(&parser->header_bytes, g_bytes_unref);
    g_ptr_array_unref(parser->tags);
    g_clear_error(&parser->failure);
    g_free(parser->buffer);
    g_free(parser);
}

/* Moves what is left to the front, but only when it is no more than what was used up: each byte is
 * then moved a constant number of times, whatever the sizes of the puts. */
static void
compact(KvgMkvParser *parser)
{
    const size_t left = parser->len - parser->at;
    if (parser->at == 0 || left > parser->at)
        return;
    if (left > 0)
        memmove(parser->buffer, parser->buffer + parser->at, left);
    parser->base += parser->at;
    parser->len = left;
    parser->at = 0;
    if (left == 0 && parser->capacity > KEEP_BUFFER_BYTES) {
        g_clear_pointer(&parser->buffer, g_free);
        parser->capacity = 0;
    }
}

void
kvg_mkv_parser_put(KvgMkvParser *parser, const void *data, size_t len)
{
    if (parser->state == STATE_FAILED || len == 0)
        return;
    compact(parser);
    if (len > parser->capacity - parser->len) {
        const size_t needed = parser->len + len;
        parser->capacity = MAX(needed, MAX(parser->capacity * 2, 4096));
        parser->buffer = g_realloc(parser->buffer, parser->capacity);
    }
    memcpy(parser->buffer + parser->len, data, len);
    parser->len += len;
}

KvgMkvEventKind
kvg_mkv_parser_step(KvgMkvParser *parser, KvgMkvEvent *event, GError **error)
{
    memset(event, 0, sizeof *event);
    event->kind = KVG_MKV_NEED_MORE;
    event->duration = -1;
    Walk result = parser->state == STATE_FAILED ? WALK_FAILED : WALK_AGAIN;
    while (result == WALK_AGAIN) {
        if (take_tag(parser, event))
            return event->kind;
        result = walk(parser, event, parser->failure == NULL ? &parser->failure : NULL);
    }
    if (result != WALK_FAILED)
        return event->kind;
    parser->state = STATE_FAILED;
    event->kind = KVG_MKV_FAILED;
    if (error != NULL)
        *error = g_error_copy(parser->failure);
    return event->kind;
}

uint64_t
kvg_mkv_parser_offset(const KvgMkvParser *parser)
{
    const bool is_at_timecode = parser->state == STATE_CLUSTER && !parser->has_timecode;
    return is_at_timecode ? parser->cluster_offset : parser->base + parser->at;
}

bool
kvg_mkv_parser_is_whole(const KvgMkvParser *parser)
{
    const uint64_t at = parser->base + parser->at;
    const bool is_in_cluster =
        parser->state == STATE_CLUSTER &&
        (!parser->has_timecode || (parser->cluster_end != UINT64_MAX && at < parser->cluster_end));
    return parser->at == parser->len && parser->skip == 0 && !is_in_cluster;
}

GBytes *
kvg_mkv_parser_header(KvgMkvParser *parser)
{
    return parser->header_bytes;
}

const KvgTrack *
kvg_mkv_parser_tracks(KvgMkvParser *parser, size_t *n)
{
    *n = parser->header != NULL ? parser->header->n_tracks : 0;
    return parser->header != NULL ? parser->header->tracks : NULL;
}

uint64_t
kvg_mkv_parser_timecode_scale_ns(KvgMkvParser *parser)
{
    return parser->header != NULL ? parser->header->timecode_scale_ns : 1000000;
}
