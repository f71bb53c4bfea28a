/* Cuts an uploaded Matroska stream into fragments and judges them by the rules of PutMedia. Bytes
 * in, events out; no I/O. Hides where in the byte stream a fragment begins and ends, and keeps no
 * more of it than the unfinished fragment. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVG_ASSEMBLER_MAX_FRAGMENT (50u * 1024 * 1024)
#define KVG_ASSEMBLER_MAX_SPAN_MS 20000
#define KVG_ASSEMBLER_MAX_TRACKS 3
#define KVG_ASSEMBLER_MAX_TAGS 10
#define KVG_ASSEMBLER_MAX_TAG_NAME 128
#define KVG_ASSEMBLER_MAX_TAG_VALUE 256

typedef enum {
    KVG_ASSEMBLER_NEED_MORE,
    KVG_ASSEMBLER_BEGIN,    /* a Cluster's timecode was read: a fragment has begun */
    KVG_ASSEMBLER_FRAGMENT, /* the fragment that began last is complete and valid */
    KVG_ASSEMBLER_FAILED,   /* `error_id`, `reason`; final */
} KvgAssemblerEventKind;

typedef struct {
    KvgAssemblerEventKind kind;
    bool has_fragment; /* `timecode`, `start_ms` are those of a fragment (always, unless FAILED) */
    uint64_t timecode; /* of the Cluster, as sent */
    int64_t start_ms;  /* the same in milliseconds */
    /* FRAGMENT */
    GBytes *header;    /* what stood before the first Cluster, see kvg_mkv_parser_header() */
    GBytes *media;     /* the Cluster and what followed it, as sent */
    int64_t length_ms; /* from the earliest frame to the end of the last one */
    unsigned n_frames;
    /* FAILED */
    int error_id;       /* 4001... as in acknowledgements */
    const char *reason; /* static text */
} KvgAssemblerEvent;
void kvg_assembler_event_clear(KvgAssemblerEvent *event);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgAssemblerEvent, kvg_assembler_event_clear)

typedef struct _KvgAssembler KvgAssembler;
KvgAssembler *kvg_assembler_new(void);
void kvg_assembler_free(KvgAssembler *assembler);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgAssembler, kvg_assembler_free)
/* Adds bytes, or the end of the stream; then step until NEED_MORE. */
void kvg_assembler_put(KvgAssembler *assembler, const void *data, size_t len);
void kvg_assembler_finish(KvgAssembler *assembler);
/* @event is cleared first; zero it before the first call. */
KvgAssemblerEventKind kvg_assembler_step(KvgAssembler *assembler, KvgAssemblerEvent *event);
/* What is kept in memory at present, about. */
size_t kvg_assembler_held_bytes(const KvgAssembler *assembler);
/* The fragment that has begun and is not complete: what stood before the first Cluster, and its
 * bytes so far (borrowed until the next call). False: there is none. */
bool kvg_assembler_peek(const KvgAssembler *assembler,
                        GBytes **header,
                        const uint8_t **data,
                        size_t *len);
