#include "agent/failure.h"
#include <gst/gst.h>
#include <string.h>

char *
kvg_failure_to_words(const char *source, const GError *error, const char *debug)
{
    const char *text = debug != NULL ? debug : "";
    const char *said = error->message;
    if (strstr(text, "Unauthorized") != NULL || strstr(said, "Unauthorized") != NULL ||
        g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_AUTHORIZED))
        return g_strdup_printf("%s refuses user and password; correct username and password_file",
                               source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND))
        return g_strdup_printf("%s: the camera knows no such path; correct the URL", source);
    if (strstr(text, "refused") != NULL)
        return g_strdup_printf("%s refuses the connection; is the camera on, is the port right?",
                               source);
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ) ||
        g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ_WRITE))
        return g_strdup_printf("%s cannot be reached; check the address, the network, the camera",
                               source);
    if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_CODEC_NOT_FOUND))
        return g_strdup_printf("%s sends video that no installed decoder takes", source);
    /* GStreamer's own sentence holds no URL. */
    return g_strdup_printf("%s: %s", source, said);
}
