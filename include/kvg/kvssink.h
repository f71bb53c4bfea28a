/* What the signals of the GStreamer element kvssink hand over by pointer. Valid during the call. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

/**
 * KvgSinkFragmentAck: argument of the signal "fragment-ack", laid out as the FragmentAck of the AWS
 * producer, so that handlers written for that one keep working.
 * @version: 0
 * @ack_type: 1 BUFFERING, 2 RECEIVED, 3 PERSISTED, 4 ERROR, 5 IDLE
 * @timestamp: time code of the fragment as sent: milliseconds since 1970
 * @sequence_number: fragment number, decimal; "" for IDLE
 * @result: 200, or for ERROR the ErrorId of the service (4000 to 5001; 7000 for others)
 */
typedef struct {
    uint32_t version;
    int32_t ack_type;
    uint64_t timestamp;
    char sequence_number[129];
    int32_t result;
} KvgSinkFragmentAck;

/**
 * KvgSinkMetric: argument of the signal "stream-client-metric". Not the C++ object of the AWS
 * producer: read the property "stats" for more.
 * @frame_pts_us: of the key frame that was put, microseconds since 1970
 * @is_first: no key frame was put before it
 * @frame_rate: frames a second since the signal before; 0 for the first
 * @transfer_rate_bps: bits a second sent since the signal before; 0 for the first
 * @spool_bytes: recorded and not yet persisted
 * @frames: put since the element started
 */
typedef struct {
    int64_t frame_pts_us;
    bool is_first;
    double frame_rate;
    uint64_t transfer_rate_bps;
    uint64_t spool_bytes;
    uint64_t frames;
} KvgSinkMetric;

G_END_DECLS
