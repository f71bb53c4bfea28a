#include "agent/decision.h"
#include <string.h>

void
kvg_media_clear(KvgMedia *media)
{
    g_clear_pointer(&media->encode_reason, g_free);
}

char *
kvg_codec_to_name(const char *codec)
{
    static const struct {
        const char *codec, *name;
    } names[] = {{"h264", "H.264"},       {"h265", "H.265"},     {"jpeg", "MJPEG"},
                 {"raw", "raw pictures"}, {"mp4v-es", "MPEG-4"}, {"av1", "AV1"},
                 {"vp8", "VP8"},          {"vp9", "VP9"}};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i].codec, codec) == 0)
            return g_strdup(names[i].name);
    }
    return g_ascii_strup(codec, -1);
}

const char *
kvg_media_unplayable(const char *codec, const char *profile)
{
    static const char *const h264[] = {"high-10", "high-4:2:2", "high-4:4:4", "cavlc-4:4:4"};
    for (size_t i = 0; strcmp(codec, "h264") == 0 && i < G_N_ELEMENTS(h264); i++) {
        if (g_str_has_prefix(profile, h264[i]))
            return "no browser plays this profile of H.264";
    }
    if (strcmp(codec, "h265") == 0 && (strstr(profile, "4:2:2") || strstr(profile, "4:4:4")))
        return "no browser plays this profile of H.265";
    return NULL;
}

const char *
kvg_media_unsuitable(const KvgMedia *media)
{
    if (media->reorders)
        return "the camera sends B-frames: some players show them out of order";
    if (media->gop_ms > KVG_LONG_GOP_MS)
        return "more than 10 s between key frames: players start late, seeking is coarse";
    return NULL;
}

static void
add_picture(GString *text, const KvgMedia *media)
{
    if (media->width != 0 && media->height != 0)
        g_string_append_printf(text, " %ux%u", media->width, media->height);
    if (media->fps > 0)
        g_string_append_printf(text, " at %.4g frames/s", media->fps);
}

static char *
encoded_words(const KvgMedia *media, const char *name)
{
    GString *text = g_string_new("encoded: ");
    g_string_append(text, media->encode_reason != NULL ? media->encode_reason : "asked for");
    g_string_append_printf(text, "; %s", name);
    add_picture(text, media);
    if (media->out_width != 0)
        g_string_append_printf(text, " becomes H.264 %ux%u at %u frames/s, %u kbit/s",
                               media->out_width, media->out_height, media->out_fps,
                               media->bitrate_bps / 1000);
    if (media->encoder != NULL)
        g_string_append_printf(text, ", by %s", media->encoder);
    return g_string_free(text, FALSE);
}

char *
kvg_media_decision(const KvgMedia *media)
{
    if (media->codec[0] == '\0')
        return NULL;
    g_autofree char *name = kvg_codec_to_name(media->codec);
    if (media->encoded)
        return encoded_words(media, name);
    GString *text = g_string_new("passthrough: ");
    g_string_append(text, name);
    if (media->profile[0] != '\0')
        g_string_append_printf(text, " %s", media->profile);
    add_picture(text, media);
    if (media->gop_ms > 0)
        g_string_append_printf(text, ", key frame each %.1f s", (double)media->gop_ms / 1000);
    const char *unsuitable = kvg_media_unsuitable(media);
    if (unsuitable != NULL)
        g_string_append_printf(text, "; warning: %s (video: auto encodes it)", unsuitable);
    return g_string_free(text, FALSE);
}
