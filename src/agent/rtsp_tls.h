/* Whose certificate an rtsps:// camera may show. */
#pragma once

#include "config/config.h"
#include <gio/gio.h>

/**
 * kvg_rtsp_tls_trust:
 * @trusted: (out): what is to verify certificates; NULL: a fingerprint alone decides
 *
 * By @rtsp: the system's store, or the authorities of a file in its place. KVG_ERROR_INVALID if the
 * file cannot be used. The first call takes the system's store away from GIO: whatever does not ask
 * here trusts nobody, because GStreamer asks GIO first, and only about what that refuses the file
 * or us.
 */
bool kvg_rtsp_tls_trust(const KvgConfigRtsp *rtsp, GTlsDatabase **trusted, GError **error);
/* Whether @certificate is the one of rtsp.certificate. @seen: (out): its fingerprint, owned. */
bool kvg_rtsp_tls_is_pinned(const KvgConfigRtsp *rtsp, GTlsCertificate *certificate, char **seen);
