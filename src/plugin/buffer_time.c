#include "plugin/buffer_time.h"

static int64_t
to_running_us(const GstSegment *segment, GstClockTime time)
{
    guint64 running = 0;
    if (!GST_CLOCK_TIME_IS_VALID(time) || segment->format != GST_FORMAT_TIME)
        return KVG_TIMELINE_NONE;
    const int sign = gst_segment_to_running_time_full(segment, GST_FORMAT_TIME, time, &running);
    return sign == 0 ? KVG_TIMELINE_NONE : sign * (int64_t)(running / 1000);
}

static const GstSegment *
segment_of(GstEvent *event)
{
    const GstSegment *segment = NULL;
    if (event != NULL)
        gst_event_parse_segment(event, &segment);
    return segment;
}

int64_t
kvg_buffer_time_captured(GstBuffer *buffer)
{
    static GstStaticCaps unix_caps = GST_STATIC_CAPS("timestamp/x-unix");
    static GstStaticCaps ntp_caps = GST_STATIC_CAPS("timestamp/x-ntp");
    const uint64_t ntp_to_unix_us = UINT64_C(2208988800) * G_USEC_PER_SEC;

    g_autoptr(GstCaps) unix_reference = gst_static_caps_get(&unix_caps);
    GstReferenceTimestampMeta *meta =
        gst_buffer_get_reference_timestamp_meta(buffer, unix_reference);
    if (meta != NULL)
        return (int64_t)(meta->timestamp / 1000);
    g_autoptr(GstCaps) ntp_reference = gst_static_caps_get(&ntp_caps);
    meta = gst_buffer_get_reference_timestamp_meta(buffer, ntp_reference);
    if (meta != NULL && meta->timestamp / 1000 > ntp_to_unix_us)
        return (int64_t)(meta->timestamp / 1000 - ntp_to_unix_us);
    return KVG_TIMELINE_NONE;
}

void
kvg_buffer_time_read(GstPad *pad, GstBuffer *buffer, KvgTimelineInput *input)
{
    g_autoptr(GstEvent) event = gst_pad_get_sticky_event(pad, GST_EVENT_SEGMENT, 0);
    const GstSegment *segment = segment_of(event);
    input->pts_us = input->dts_us = KVG_TIMELINE_NONE;
    input->captured_us = kvg_buffer_time_captured(buffer);
    if (segment == NULL)
        return;
    input->pts_us = to_running_us(segment, GST_BUFFER_PTS(buffer));
    input->dts_us = to_running_us(segment, GST_BUFFER_DTS(buffer));
}

int64_t
kvg_buffer_time_running(GstPad *pad, GstClockTime time)
{
    g_autoptr(GstEvent) event = gst_pad_get_sticky_event(pad, GST_EVENT_SEGMENT, 0);
    const GstSegment *segment = segment_of(event);
    return segment != NULL ? to_running_us(segment, time) : KVG_TIMELINE_NONE;
}

bool
kvg_buffer_time_is_live(GstPad *pad)
{
    g_autoptr(GstQuery) query = gst_query_new_latency();
    gboolean live = FALSE;
    if (gst_pad_peer_query(pad, query))
        gst_query_parse_latency(query, &live, NULL, NULL);
    return live != FALSE;
}
