/* What is wrong with a camera's packets: probes where they leave the payloader (RTP) and the RTP
 * session (RTCP). Set from the control thread, read in streaming threads. */
#pragma once

#include <gst/gst.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    atomic_bool silent;  /* nothing is sent */
    atomic_bool garbage; /* random bytes in place of the payload */
    atomic_bool frozen;  /* the RTP timestamp stands still */
    _Atomic int64_t rtp_jump_s, ntp_jump_s;
    _Atomic uint32_t loss_ppm; /* of RTP packets, left out at random */
    uint32_t frozen_at;        /* streaming thread */
} TestcamFault;

/* @fault must outlive the pads. */
void testcam_fault_watch_rtp(TestcamFault *fault, GstPad *pad);
void testcam_fault_watch_rtcp(TestcamFault *fault, GstPad *pad);
