#include "agent/failure.h"
#include <gst/gst.h>
#include <string.h>

static bool
says(const GError *error, const char *debug, const char *text)
{
    return strstr(error->message, text) != NULL || (debug != NULL && strstr(debug, text) != NULL);
}

static bool
is_unreachable(const GError *error)
{
    return g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ) ||
           g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ_WRITE);
}

static char *
rtsp_words(const char *source, const GError *error, const char *debug)
{
    if (says(error, debug, "Unauthorized") ||
        g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_AUTHORIZED))
        return g_strdup_printf("%s refuses user and password; correct username and password_file",
                               source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND))
        return g_strdup_printf("%s: the camera knows no such path; correct the URL", source);
    if (says(error, debug, "certificate"))
        return g_strdup_printf(
            "%s shows a certificate that is not trusted; give rtsp.ca_bundle, or "
            "its fingerprint as rtsp.certificate",
            source);
    if (says(error, debug, "refused"))
        return g_strdup_printf("%s refuses the connection; is the camera on, is the port right?",
                               source);
    if (is_unreachable(error))
        return g_strdup_printf("%s cannot be reached; check the address, the network, the camera",
                               source);
    return NULL;
}

/* "v4l2:/dev/video0" and "file:..." and "shm:...": what is wrong is on this machine. */
static char *
local_words(const char *source, const GError *error, const char *debug)
{
    const bool is_device = g_str_has_prefix(source, "v4l2:");
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_BUSY) ||
        says(error, debug, "busy"))
        return g_strdup_printf("%s is in use by another program; end that one", source);
    if (g_str_has_prefix(source, "shm:"))
        return g_strdup_printf("%s: no program writes frames there; it is looked for again",
                               source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND) ||
        is_unreachable(error))
        return g_strdup_printf(is_device ? "%s does not work as a camera; is it plugged in?"
                                         : "%s cannot be read; is the file there?",
                               source);
    if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_TYPE_NOT_FOUND) ||
        g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE) ||
        g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_DEMUX))
        return g_strdup_printf("%s is not a video file that can be read", source);
    return NULL;
}

char *
kvg_failure_to_words(const char *source,
                     const GError *error,
                     const char *debug,
                     KvgPipelineEnd *how)
{
    const bool is_local = !g_str_has_prefix(source, "rtsp");
    *how = is_local ? KVG_PIPELINE_NEEDS_HELP : KVG_PIPELINE_FAILED;
    char *words = is_local ? local_words(source, error, debug) : rtsp_words(source, error, debug);
    if (words != NULL)
        return words;
    if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_CODEC_NOT_FOUND) ||
        g_error_matches(error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN)) {
        *how = KVG_PIPELINE_NEEDS_HELP;
        return g_strdup_printf("%s sends video that no installed decoder takes", source);
    }
    /* GStreamer's own sentence holds no URL. */
    return g_strdup_printf("%s: %s", source, error->message);
}
