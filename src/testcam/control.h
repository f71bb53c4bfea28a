/* Commands to the cameras while they run: one JSON object a line, answered by one. */
#pragma once

#include "testcam/camera.h"

/* Does what @line says to one of @cameras; the answer without its end of line (g_free).
 *
 *   {"camera": "gate", ...} with any of
 *   "silent", "hang", "garbage", "frozen", "locked": true or false
 *   "rtp_jump_s", "ntp_jump_s": seconds added to the RTP clock, to the wall clock of its reports
 *   "loss": 0 to 1, part of the RTP packets left out
 *   "width" and "height": in mid-stream        "codec": "h264", "h265" or "mjpeg"
 *   "cut": true, connections end now           "reboot_s": and are refused for so long
 */
char *testcam_control(GPtrArray *cameras, const char *line);
