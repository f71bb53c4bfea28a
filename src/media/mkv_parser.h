/* Matroska parser by steps: put bytes, step() returns one event. The same parser serves a socket, a
 * file and a fuzzer. Takes known and unknown sizes, SimpleBlock and BlockGroup, Tags, a second EBML
 * header at a cluster boundary. Keeps no more than one element's content (bounded). No I/O. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _KvgMkvParser KvgMkvParser;

#define KVG_MKV_MAX_BLOCK (50u * 1024 * 1024)
#define KVG_MKV_MAX_HEADER (4u * 1024 * 1024)
#define KVG_MKV_MAX_TRACKS 8

typedef enum {
    KVG_MKV_NEED_MORE,
    KVG_MKV_DOCUMENT, /* an EBML header was read: whatever came before has ended */
    KVG_MKV_HEADER,   /* EBML..Tracks complete; kvg_mkv_parser_header(), _tracks() are valid */
    KVG_MKV_CLUSTER,  /* a Cluster's Timecode was read: `timecode` */
    KVG_MKV_BLOCK,    /* `track`, `relative`, `key`, `data` */
    KVG_MKV_TAG,      /* one SimpleTag: `name`, `value` */
    KVG_MKV_FAILED,   /* @error says why (NO_SPACE: a block above the maximum); final */
} KvgMkvEventKind;

/* Valid until the next step; `data` even until the next put, so that all blocks of a fragment that
 * was put whole may be gathered without a copy. A TAG's offsets are those of the whole Tags
 * element. */
typedef struct {
    KvgMkvEventKind kind;
    uint64_t offset;     /* of the first byte of this event's element in all bytes put so far */
    uint64_t end_offset; /* behind its last byte (CLUSTER: behind Timecode) */
    uint64_t timecode;   /* CLUSTER: in timecode-scale units */
    uint8_t track;       /* BLOCK */
    int16_t relative;
    bool key;
    int64_t duration; /* BLOCK from a BlockGroup with BlockDuration; -1 otherwise */
    const uint8_t *data;
    size_t len;
    const char *name; /* TAG, UTF-8 */
    const char *value;
} KvgMkvEvent;

KvgMkvParser *kvg_mkv_parser_new(void);
void kvg_mkv_parser_free(KvgMkvParser *parser);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgMkvParser, kvg_mkv_parser_free)
void kvg_mkv_parser_put(KvgMkvParser *parser, const void *data, size_t len);
KvgMkvEventKind kvg_mkv_parser_step(KvgMkvParser *parser, KvgMkvEvent *event, GError **error);
/* Offset of the first byte that may yet belong to an event: all before it was reported or is
 * skipped. */
uint64_t kvg_mkv_parser_offset(const KvgMkvParser *parser);
/* Whether the input could end here: within no element, and no Cluster of known size. */
bool kvg_mkv_parser_is_whole(const KvgMkvParser *parser);
/* Verbatim bytes from the EBML header to before the first Cluster, Segment size rewritten to 8-byte
 * unknown; and what the Tracks said. Valid until the next HEADER event. */
GBytes *kvg_mkv_parser_header(KvgMkvParser *parser);
const KvgTrack *kvg_mkv_parser_tracks(KvgMkvParser *parser, size_t *n);
uint64_t kvg_mkv_parser_timecode_scale_ns(KvgMkvParser *parser);
