/* Segment files of the spool: a head with the version, then records, each a fixed head with its own
 * checksum and a payload. No I/O. Format: docs/internals/spool.md. */
#pragma once

#include <glib.h>
#include <kvg/frame.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVG_SEGMENT_HEAD_BYTES 16u
/* Version 2: fragments may be held. Segments without such ones are written as version 1. */
#define KVG_SEGMENT_VERSION 2u
#define KVG_SEGMENT_VERSION_PLAIN 1u
#define KVG_RECORD_HEAD_BYTES 56u
/* Zeros where a record would begin: the segment ends here, whatever follows. */
#define KVG_SEGMENT_END_BYTES 4u
#define KVG_RECORD_MAX_PAYLOAD (64u * 1024 * 1024)

typedef enum {
    KVG_RECORD_TRACKS = 1, /* of the fragments that follow */
    KVG_RECORD_BEGIN = 2,  /* time: timecode, wall clock in ms; ends where the next one begins */
    KVG_RECORD_FRAME = 3,  /* time: pts, dts, duration in us */
    KVG_RECORD_TAG = 4,    /* fragment metadata: a name and a value */
} KvgRecordKind;

typedef struct {
    KvgRecordKind kind;
    uint8_t track;
    bool key;
    bool held;     /* BEGIN: the fragment goes up only when it is asked for */
    uint32_t salt; /* of its segment: bytes of video cannot pass for a record */
    uint64_t fragment;
    int64_t time[3];
    uint32_t payload_len;
    uint32_t payload_crc;
} KvgRecord;

void kvg_segment_write_head(unsigned version, uint32_t salt, uint8_t head[KVG_SEGMENT_HEAD_BYTES]);
/* False if it is damaged. */
bool kvg_segment_read_head(const uint8_t head[KVG_SEGMENT_HEAD_BYTES],
                           unsigned *version,
                           uint32_t *salt);

void kvg_record_write_head(const KvgRecord *record, uint8_t head[KVG_RECORD_HEAD_BYTES]);
/* False unless the head is whole: magic, checksum, known kind, sane length. */
bool kvg_record_read_head(const uint8_t head[KVG_RECORD_HEAD_BYTES], KvgRecord *record);
/* The first offset at or after @from in @data where a head may begin; @len if there is none. */
size_t kvg_record_find_magic(const uint8_t *data, size_t len, size_t from);

/* Tracks as the payload of a TRACKS record. */
GBytes *kvg_record_pack_tracks(const KvgTrack *tracks, size_t n);
/* NULL for a damaged payload. Free with kvg_record_free_tracks(). */
KvgTrack *kvg_record_unpack_tracks(GBytes *payload, size_t *n);
void kvg_record_free_tracks(KvgTrack *tracks, size_t n);

/* A name and a value as the payload of a TAG record; NULL if either is longer than 65,535 bytes. */
GBytes *kvg_record_pack_tag(const char *name, const char *value);
/* False for a damaged payload; both g_free. */
bool kvg_record_unpack_tag(const void *payload, size_t len, char **name, char **value);
