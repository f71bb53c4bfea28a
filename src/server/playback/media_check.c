/* Track 1 is H.264 or H.265, or AAC if it is alone; track 2 is audio. */
#include "server/playback/media_check.h"

#include "server/playback/fragment.h"
#include <kvg/error.h>

#define UNSUPPORTED "UnsupportedStreamMediaTypeException"

static const char *
error_type_of_track(const KvgTrack *track, size_t n_tracks, bool takes_g711)
{
    const bool is_audio = track->type == KVG_TRACK_AUDIO;
    const bool is_alone = n_tracks == 1;
    const unsigned expected = is_audio && !is_alone ? 2 : 1;
    if (track->number != expected || (!is_audio && track->type != KVG_TRACK_VIDEO))
        return UNSUPPORTED;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) init = kvg_fmp4_write_init(track, &error);
    const bool is_g711 = g_strcmp0(track->codec_id, "A_MS/ACM") == 0;
    if ((is_g711 && (!takes_g711 || is_alone)) ||
        g_error_matches(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED))
        return UNSUPPORTED;
    if (init != NULL)
        return NULL;
    return track->codec_private == NULL || g_bytes_get_size(track->codec_private) == 0
               ? "MissingCodecPrivateDataException"
               : "InvalidCodecPrivateDataException";
}

bool
kvg_media_check(KvgReadCall *call, const KvgFragmentInfo *info, bool takes_g711)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgFragmentReader) reader =
        kvg_fragment_read(call->server->store, call->stream.arn, info->number, false, &error);
    if (reader == NULL) {
        kvg_read_fail(call, error);
        return false;
    }
    size_t n;
    const KvgTrack *tracks = kvg_fragment_reader_tracks(reader, &n);
    for (size_t i = 0; i < n; i++) {
        const char *type = error_type_of_track(&tracks[i], n, takes_g711);
        if (type == NULL)
            continue;
        kvg_respond_error(call->x, 400, type, "Track %u of the stream cannot be played (%s).",
                          tracks[i].number, tracks[i].codec_id);
        return false;
    }
    return true;
}
