/* The times of a GstBuffer in the terms of the timeline. */
#pragma once

#include "plugin/timeline.h"
#include <gst/gst.h>

/* Fills pts_us, dts_us and captured_us from @buffer and the segment of @pad. */
void kvg_buffer_time_read(GstPad *pad, GstBuffer *buffer, KvgTimelineInput *input);
/* Capture time by the source, if a reference timestamp says so in Unix or NTP time; else
 * KVG_TIMELINE_NONE. */
int64_t kvg_buffer_time_captured(GstBuffer *buffer);
/* A time of @pad's segment as running time; KVG_TIMELINE_NONE if it is none. */
int64_t kvg_buffer_time_running(GstPad *pad, GstClockTime time);
/* Whether what comes to @pad runs at the pace of the clock. Asks upstream. */
bool kvg_buffer_time_is_live(GstPad *pad);
