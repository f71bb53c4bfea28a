#include "agent/pipeline_private.h"
#include "agent/rtsp_tls.h"
#include <string.h>

#define TIMEOUT_US 5000000

/* What RTP calls it; how it is unpacked; what it is then. The rest goes through a decoder. */
static const struct {
    const char *encoding, *depayloader, *caps;
} payloads[] = {{"H264", "rtph264depay", "video/x-h264"},
                {"H265", "rtph265depay", "video/x-h265"},
                {"MPEG4-GENERIC", "rtpmp4gdepay", "audio/mpeg,mpegversion=(int)4"},
                {"MP4A-LATM", "rtpmp4adepay", "audio/mpeg,mpegversion=(int)4"}};

/* ---- streams ---- */

/* One video and, unless it is off, one sound; the rest is not set up at all. */
static gboolean
on_select_stream(GstElement *source, guint number, GstCaps *caps, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    const char *media = gst_structure_get_string(gst_caps_get_structure(caps, 0), "media");
    const bool is_audio = g_strcmp0(media, "audio") == 0;
    unsigned *chosen = is_audio ? &pipeline->audio_stream : &pipeline->video_stream;
    if (g_strcmp0(media, "video") != 0 && (!is_audio || !pipeline->camera->audio))
        return FALSE;
    if (*chosen == 0)
        *chosen = number + 1;
    return *chosen == number + 1;
}

static void
unpack(KvgPipeline *pipeline, GstPad *pad, size_t payload)
{
    GstElement *depayloader = kvg_pipeline_add(pipeline, payloads[payload].depayloader);
    if (depayloader == NULL || !kvg_pipeline_link(pad, &depayloader, 1))
        return;
    g_autoptr(GstPad) out = gst_element_get_static_pad(depayloader, "src");
    g_autoptr(GstCaps) caps = gst_caps_from_string(payloads[payload].caps);
    kvg_intake(pipeline, out, caps);
}

static void
take_video(KvgPipeline *pipeline, GstPad *pad, const char *encoding)
{
    g_autofree char *codec = g_ascii_strdown(encoding, -1);
    if (pipeline->has_video) { /* another payload type in the same stream */
        g_autofree char *name = kvg_codec_to_name(codec);
        kvg_pipeline_end(pipeline, KVG_PIPELINE_CHANGED, "the camera has changed to %s", name);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(payloads); i++) {
        if (strcmp(encoding, payloads[i].encoding) == 0) {
            unpack(pipeline, pad, i);
            return;
        }
    }
    pipeline->has_video = true;
    kvg_intake_decode(pipeline, pad, codec);
}

static void
take_audio(KvgPipeline *pipeline, GstPad *pad, const char *encoding, GstCaps *caps)
{
    for (size_t i = 0; i < G_N_ELEMENTS(payloads); i++) {
        if (g_ascii_strcasecmp(encoding, payloads[i].encoding) == 0) {
            unpack(pipeline, pad, i);
            return;
        }
    }
    kvg_audio_take(pipeline, pad, caps);
}

static void
on_pad(GstElement *source, GstPad *pad, void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autoptr(GstCaps) caps = gst_pad_query_caps(pad, NULL);
    if (gst_caps_get_size(caps) == 0)
        return;
    const GstStructure *structure = gst_caps_get_structure(caps, 0);
    const char *encoding = gst_structure_get_string(structure, "encoding-name");
    const char *media = gst_structure_get_string(structure, "media");
    if (encoding == NULL)
        return;
    if (g_strcmp0(media, "video") == 0)
        take_video(pipeline, pad, encoding);
    else if (g_strcmp0(media, "audio") == 0)
        take_audio(pipeline, pad, encoding, caps);
}

/* ---- rtsps ---- */

/* Asked about each certificate that the store or file in charge does not vouch for. */
static gboolean
on_certificate(GstElement *source,
               GTlsConnection *connection,
               GTlsCertificate *certificate,
               GTlsCertificateFlags errors,
               void *user_data)
{
    KvgPipeline *pipeline = user_data;
    g_autofree char *seen = NULL;
    if (kvg_rtsp_tls_is_pinned(&pipeline->camera->rtsp, certificate, &seen))
        return TRUE;
    kvg_pipeline_end(pipeline, KVG_PIPELINE_FAILED,
                     pipeline->camera->rtsp.certificate != NULL
                         ? "%s shows the certificate sha256:%s, not the one of rtsp.certificate"
                         : "%s shows a certificate that is not trusted; give rtsp.ca_bundle, or if "
                           "it is the camera's, rtsp.certificate: sha256:%s",
                     pipeline->shown_source, seen);
    return FALSE;
}

static bool
set_up_tls(KvgPipeline *pipeline, GstElement *source)
{
    const KvgConfigRtsp *rtsp = &pipeline->camera->rtsp;
    g_autoptr(GError) error = NULL;
    g_autoptr(GTlsDatabase) trusted = NULL;
    if (!kvg_rtsp_tls_trust(rtsp, &trusted, &error)) {
        kvg_pipeline_end(pipeline, KVG_PIPELINE_NEEDS_HELP, "%s", error->message);
        return false;
    }
    if (g_strcmp0(rtsp->certificate, "insecure") == 0) {
        g_object_set(source, "tls-validation-flags", 0, NULL);
        return true;
    }
    g_object_set(source, "tls-database", trusted, NULL);
    g_signal_connect(source, "accept-certificate", G_CALLBACK(on_certificate), pipeline);
    return true;
}

/* ---- source ---- */

static const char *
protocols(KvgRtspTransport transport)
{
    switch (transport) {
    case KVG_RTSP_UDP:
        return "udp";
    case KVG_RTSP_AUTO:
        return "udp+tcp";
    case KVG_RTSP_TCP:
        break;
    }
    return "tcp";
}

static void
add_rtsp(KvgPipeline *pipeline)
{
    const KvgConfigCamera *camera = pipeline->camera;
    GstElement *source = kvg_pipeline_add(pipeline, "rtspsrc");
    if (source == NULL)
        return;
    g_object_set(source, "location", camera->source, "latency", camera->rtsp.latency_ms,
                 "tcp-timeout", (guint64)TIMEOUT_US, "timeout", (guint64)TIMEOUT_US, "user-id",
                 camera->username, "user-pw", camera->password, "user-agent", "kvg/" KVG_VERSION,
                 "add-reference-timestamp-meta", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source), "protocols", protocols(camera->rtsp.transport));
    if (g_str_has_prefix(camera->source, "rtsps:")) {
        /* With TLS, GStreamer wants to be told so for each transport. */
        gst_util_set_object_arg(G_OBJECT(source), "protocols", "tls+tcp");
        if (!set_up_tls(pipeline, source))
            return;
    }
    g_signal_connect(source, "select-stream", G_CALLBACK(on_select_stream), pipeline);
    g_signal_connect(source, "pad-added", G_CALLBACK(on_pad), pipeline);
}

const KvgSource kvg_source_rtsp = {.prefix = "rtsp:", .add = add_rtsp};
const KvgSource kvg_source_rtsps = {.prefix = "rtsps:", .add = add_rtsp};
