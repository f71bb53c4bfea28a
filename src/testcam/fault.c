#include "testcam/fault.h"
#include <gst/rtp/rtp.h>

#define RTP_HZ 90000

static void
fill_with_garbage(GstRTPBuffer *rtp)
{
    uint8_t *payload = gst_rtp_buffer_get_payload(rtp);
    const unsigned len = gst_rtp_buffer_get_payload_len(rtp);
    for (unsigned i = 0; i < len; i++)
        payload[i] = (uint8_t)g_random_int();
}

/* Takes @packet. */
static GstBuffer *
spoil_packet(TestcamFault *fault, GstBuffer *packet)
{
    packet = gst_buffer_make_writable(packet);
    GstRTPBuffer rtp = GST_RTP_BUFFER_INIT;
    if (!gst_rtp_buffer_map(packet, GST_MAP_READWRITE, &rtp))
        return packet;
    uint32_t timestamp =
        gst_rtp_buffer_get_timestamp(&rtp) + (uint32_t)(atomic_load(&fault->rtp_jump_s) * RTP_HZ);
    if (!atomic_load(&fault->frozen))
        fault->frozen_at = timestamp;
    gst_rtp_buffer_set_timestamp(&rtp, fault->frozen_at);
    if (atomic_load(&fault->garbage))
        fill_with_garbage(&rtp);
    gst_rtp_buffer_unmap(&rtp);
    return packet;
}

static bool
is_lost(TestcamFault *fault)
{
    const uint32_t loss_ppm = atomic_load(&fault->loss_ppm);
    return loss_ppm > 0 && (uint32_t)g_random_int_range(0, 1000000) < loss_ppm;
}

static gboolean
on_listed_packet(GstBuffer **packet, guint i, void *user_data)
{
    TestcamFault *fault = user_data;
    if (is_lost(fault))
        gst_clear_buffer(packet);
    else
        *packet = spoil_packet(fault, *packet);
    return TRUE;
}

static GstPadProbeReturn
on_rtp(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    TestcamFault *fault = user_data;
    if (atomic_load(&fault->silent))
        return GST_PAD_PROBE_DROP;
    if (GST_PAD_PROBE_INFO_TYPE(info) & GST_PAD_PROBE_TYPE_BUFFER_LIST) {
        GstBufferList *list = gst_buffer_list_make_writable(GST_PAD_PROBE_INFO_BUFFER_LIST(info));
        gst_buffer_list_foreach(list, on_listed_packet, fault);
        info->data = list;
        return gst_buffer_list_length(list) > 0 ? GST_PAD_PROBE_OK : GST_PAD_PROBE_DROP;
    }
    if (is_lost(fault))
        return GST_PAD_PROBE_DROP;
    info->data = spoil_packet(fault, GST_PAD_PROBE_INFO_BUFFER(info));
    return GST_PAD_PROBE_OK;
}

static void
jump_report(TestcamFault *fault, GstBuffer *report)
{
    GstRTCPBuffer rtcp = GST_RTCP_BUFFER_INIT;
    GstRTCPPacket packet;
    if (!gst_rtcp_buffer_map(report, GST_MAP_READWRITE, &rtcp))
        return;
    if (gst_rtcp_buffer_get_first_packet(&rtcp, &packet) &&
        gst_rtcp_packet_get_type(&packet) == GST_RTCP_TYPE_SR) {
        guint32 ssrc, rtp_time, packets, octets;
        guint64 ntp_time;
        gst_rtcp_packet_sr_get_sender_info(&packet, &ssrc, &ntp_time, &rtp_time, &packets, &octets);
        ntp_time += (guint64)atomic_load(&fault->ntp_jump_s) << 32;
        gst_rtcp_packet_sr_set_sender_info(&packet, ssrc, ntp_time, rtp_time, packets, octets);
    }
    gst_rtcp_buffer_unmap(&rtcp);
}

static GstPadProbeReturn
on_rtcp(GstPad *pad, GstPadProbeInfo *info, void *user_data)
{
    TestcamFault *fault = user_data;
    if (atomic_load(&fault->silent))
        return GST_PAD_PROBE_DROP;
    if (atomic_load(&fault->ntp_jump_s) == 0)
        return GST_PAD_PROBE_OK;
    GstBuffer *report = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
    jump_report(fault, report);
    info->data = report;
    return GST_PAD_PROBE_OK;
}

void
testcam_fault_watch_rtp(TestcamFault *fault, GstPad *pad)
{
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, on_rtp,
                      fault, NULL);
}

void
testcam_fault_watch_rtcp(TestcamFault *fault, GstPad *pad)
{
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_rtcp, fault, NULL);
}
