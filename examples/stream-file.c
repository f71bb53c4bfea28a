/* Streams an H.264 elementary stream (Annex B, .h264) to Kinesis Video Streams in real time.
 *
 *   stream-file STREAM FILE.h264 [FPS]
 *
 * AWS_REGION (us-east-1), AWS_ENDPOINT_URL and AWS_CA_BUNDLE say where to; the credentials come
 * from the environment, the shared credentials file, or, when KVG_IOT_ENDPOINT is set, from a
 * device certificate: KVG_IOT_ROLE_ALIAS, KVG_IOT_CERTIFICATE, KVG_IOT_KEY, KVG_IOT_CA name the
 * rest, and the thing has the name of the stream. Nothing secret is on the command line. */
#include <kvg/kvg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Start of the next NAL unit at or after @at, behind its start code; @len if there is none. */
static size_t
next_nal(const uint8_t *data, size_t len, size_t at)
{
    for (; at + 3 < len; at++) {
        if (data[at] == 0 && data[at + 1] == 0 && data[at + 2] == 1)
            return at + 3;
    }
    return len;
}

/* avcC out of the parameter sets (ISO/IEC 14496-15, 5.3.3.1). */
static GBytes *
make_avcc(const uint8_t *sps, size_t sps_len, const uint8_t *pps, size_t pps_len)
{
    GByteArray *out = g_byte_array_new();
    const uint8_t head[] = {
        1, sps[1], sps[2], sps[3], 0xff, 0xe1, (uint8_t)(sps_len >> 8), (uint8_t)sps_len};
    const uint8_t middle[] = {1, (uint8_t)(pps_len >> 8), (uint8_t)pps_len};
    g_byte_array_append(out, head, sizeof head);
    g_byte_array_append(out, sps, (guint)sps_len);
    g_byte_array_append(out, middle, sizeof middle);
    g_byte_array_append(out, pps, (guint)pps_len);
    return g_byte_array_free_to_bytes(out);
}

typedef struct {
    KvgStream *stream;
    const uint8_t *sps;
    size_t sps_len;
    bool has_tracks;
    int64_t frame_us, next_us;
} Player;

static bool
put_picture(Player *player, const uint8_t *nal, size_t len, bool key, GError **error)
{
    const uint8_t head[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                            (uint8_t)len};
    GByteArray *unit = g_byte_array_new();
    g_byte_array_append(unit, head, sizeof head);
    g_byte_array_append(unit, nal, (guint)len);
    g_autoptr(GBytes) data = g_byte_array_free_to_bytes(unit);
    const KvgFrame frame = {.track = 1,
                            .key = key,
                            .pts_us = player->next_us,
                            .dts_us = player->next_us,
                            .duration_us = player->frame_us,
                            .data = data};
    player->next_us += player->frame_us;
    g_usleep((gulong)MAX(player->next_us - g_get_real_time(), 0));
    return kvg_stream_put_frame(player->stream, &frame, error);
}

/* One slice per picture is assumed, as most cameras and x264 with one thread make it. */
static bool
put_nal(Player *player, const uint8_t *nal, size_t len, GError **error)
{
    const uint8_t type = len > 4 ? nal[0] & 0x1f : 0;
    if (type == 7) {
        player->sps = nal;
        player->sps_len = len;
    }
    if (type == 8 && player->sps != NULL && !player->has_tracks) {
        g_autoptr(GBytes) avcc = make_avcc(player->sps, player->sps_len, nal, len);
        const KvgTrack track = {.number = 1,
                                .type = KVG_TRACK_VIDEO,
                                .codec_id = "V_MPEG4/ISO/AVC",
                                .codec_private = avcc};
        player->has_tracks = true;
        return kvg_stream_set_tracks(player->stream, &track, 1, error);
    }
    if (type != 1 && type != 5)
        return true;
    return !player->has_tracks || put_picture(player, nal, len, type == 5, error);
}

static bool
play(Player *player, const uint8_t *data, size_t len, GError **error)
{
    size_t at = next_nal(data, len, 0);
    while (at < len) {
        const size_t next = next_nal(data, len, at);
        size_t end = next < len ? next - 3 : len;
        while (end > at && data[end - 1] == 0)
            end--;
        if (!put_nal(player, data + at, end - at, error))
            return false;
        at = next;
    }
    return true;
}

static KvgCredentials *
choose_credentials(const char *stream, GError **error)
{
    const char *endpoint = g_getenv("KVG_IOT_ENDPOINT");
    if (endpoint == NULL)
        return kvg_credentials_new_default(NULL, error);
    const KvgIotIdentity identity = {.endpoint = endpoint,
                                     .role_alias = g_getenv("KVG_IOT_ROLE_ALIAS"),
                                     .thing_name = stream,
                                     .certificate_path = g_getenv("KVG_IOT_CERTIFICATE"),
                                     .key_path = g_getenv("KVG_IOT_KEY"),
                                     .ca_path = g_getenv("KVG_IOT_CA")};
    return kvg_credentials_new_iot(&identity);
}

static bool
run(const char *name, const char *path, int fps, GError **error)
{
    g_autofree char *data = NULL;
    gsize len = 0;
    if (!g_file_get_contents(path, &data, &len, error))
        return false;
    g_autoptr(KvgCredentials) credentials = choose_credentials(name, error);
    if (credentials == NULL)
        return false;
    const char *region = g_getenv("AWS_REGION");
    g_autofree char *spool = g_build_filename(g_get_user_cache_dir(), "kvg-stream-file", NULL);
    const KvgProducerOptions options = {.region = region != NULL ? region : "us-east-1",
                                        .endpoint = g_getenv("AWS_ENDPOINT_URL"),
                                        .ca_path = g_getenv("AWS_CA_BUNDLE"),
                                        .spool_path = spool};
    g_autoptr(KvgProducer) producer = kvg_producer_new(&options, error);
    if (producer == NULL)
        return false;
    const KvgStreamOptions stream = {
        .name = name, .credentials = credentials, .create = true, .retention_hours = 24};
    Player player = {.frame_us = G_USEC_PER_SEC / fps, .next_us = g_get_real_time()};
    player.stream = kvg_producer_open_stream(producer, &stream, error);
    if (player.stream == NULL)
        return false;
    const bool played = play(&player, (const uint8_t *)data, len, error);
    KvgStreamStats stats;
    kvg_stream_get_stats(player.stream, &stats);
    fprintf(stderr, "%s: %" G_GUINT64_FORMAT " frames, %s: %s\n", name, stats.frames_put,
            kvg_stream_state_to_string(stats.state), stats.reason);
    return kvg_stream_close(player.stream, 10000, played ? error : NULL) && played;
}

int
main(int argc, char **argv)
{
    const int fps = argc > 3 ? atoi(argv[3]) : 25;
    if (argc < 3 || fps < 1 || fps > 240) {
        fprintf(stderr, "usage: stream-file STREAM FILE.h264 [FPS]\n");
        return 2;
    }
    g_autoptr(GError) error = NULL;
    if (run(argv[1], argv[2], fps, &error))
        return 0;
    fprintf(stderr, "stream-file: %s\n", error->message);
    return 1;
}
