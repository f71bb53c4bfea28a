/* What a V4L2 camera is asked for. */
#pragma once

#include "config/config.h"
#include <gst/gst.h>

/* Of what the device offers, the best for @wanted: its own H.264 saves the processor most; raw
 * pictures are next if it delivers them fast enough; MJPEG is what USB cameras send large pictures
 * in. NULL and KVG_ERROR_UNSUPPORTED naming what there is. */
GstCaps *kvg_v4l2_choose(const GstCaps *offered, const KvgConfigV4l2 *wanted, GError **error);
