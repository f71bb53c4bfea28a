/* Streams an H.264 elementary stream (Annex B) to Kinesis Video Streams, as fast as it would play.
 *
 *   cc -o stream-file stream-file.c $(pkg-config --cflags --libs kvg)
 *   ./stream-file STREAM FILE.h264 [FPS]
 *
 * AWS_REGION, AWS_ENDPOINT_URL and AWS_CA_BUNDLE say where to. Keys come from where AWS's tools
 * look for them; with KVG_IOT_ENDPOINT, from the certificate STREAM.cert.pem in the working
 * directory. */
#include <kvg/kvg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    KvgStream *stream;
    const uint8_t *sps;
    size_t sps_len;
    GBytes *avcc;        /* what the stream was last told; NULL: nothing */
    GByteArray *picture; /* NAL units with their lengths */
    bool has_slice, is_key;
    int64_t next_us, frame_us;
} Player;

/* Start of the first NAL unit at or after @at; @len if there is none. */
static size_t
find_nal(const uint8_t *data, size_t len, size_t at)
{
    for (; at + 3 < len; at++) {
        if (data[at] == 0 && data[at + 1] == 0 && data[at + 2] == 1)
            return at + 3;
    }
    return len;
}

/* The parameter sets as Matroska wants them (avcC, ISO/IEC 14496-15). */
static bool
set_track(Player *player, const uint8_t *pps, size_t pps_len, GError **error)
{
    const uint8_t *sps = player->sps;
    const uint8_t head[] = {1,
                            sps[1],
                            sps[2],
                            sps[3],
                            0xff,
                            0xe1,
                            (uint8_t)(player->sps_len >> 8),
                            (uint8_t)player->sps_len};
    const uint8_t middle[] = {1, (uint8_t)(pps_len >> 8), (uint8_t)pps_len};
    GByteArray *out = g_byte_array_new();
    g_byte_array_append(out, head, sizeof head);
    g_byte_array_append(out, sps, (guint)player->sps_len);
    g_byte_array_append(out, middle, sizeof middle);
    g_byte_array_append(out, pps, (guint)pps_len);
    g_autoptr(GBytes) avcc = g_byte_array_free_to_bytes(out);
    if (player->avcc != NULL && g_bytes_equal(avcc, player->avcc))
        return true;
    g_clear_pointer(&player->avcc, g_bytes_unref);
    player->avcc = g_bytes_ref(avcc);
    const KvgTrack track = {
        .number = 1, .type = KVG_TRACK_VIDEO, .codec_id = "V_MPEG4/ISO/AVC", .codec_private = avcc};
    return kvg_stream_set_tracks(player->stream, &track, 1, error);
}

/* The file has no times: pictures follow each other evenly, shown in the order they are coded in.
 */
static bool
put_picture(Player *player, GError **error)
{
    g_autoptr(GBytes) data = g_byte_array_free_to_bytes(player->picture);
    const KvgFrame frame = {.track = 1,
                            .key = player->is_key,
                            .pts_us = player->next_us,
                            .dts_us = player->next_us,
                            .duration_us = player->frame_us,
                            .data = data};
    const bool is_useless = !player->has_slice || player->avcc == NULL; /* to a decoder */
    player->picture = g_byte_array_new();
    player->has_slice = player->is_key = false;
    if (is_useless)
        return true;
    player->next_us += player->frame_us;
    g_usleep((gulong)MAX(player->next_us - g_get_real_time(), 0));
    return kvg_stream_put_frame(player->stream, &frame, error);
}

static bool
take_nal(Player *player, const uint8_t *nal, size_t len, GError **error)
{
    const uint8_t type = nal[0] & 0x1f;
    const bool is_slice = type == 1 || type == 5;
    const bool is_first = is_slice ? (nal[1] & 0x80) != 0 : type >= 6 && type <= 9;
    if (is_first && player->has_slice && !put_picture(player, error))
        return false;
    if (type == 7 && len > 3) {
        player->sps = nal;
        player->sps_len = len;
    } else if (type == 8 && player->sps != NULL) {
        return set_track(player, nal, len, error);
    } else if (is_slice || type == 6) {
        const uint8_t size[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                                (uint8_t)len};
        g_byte_array_append(player->picture, size, sizeof size);
        g_byte_array_append(player->picture, nal, (guint)len);
        player->has_slice = player->has_slice || is_slice;
        player->is_key = player->is_key || type == 5;
    }
    return true;
}

static bool
play(Player *player, const uint8_t *data, size_t len, GError **error)
{
    size_t next = 0;
    for (size_t at = find_nal(data, len, 0); at < len; at = next) {
        next = find_nal(data, len, at);
        size_t end = next < len ? next - 3 : len;
        while (end > at && data[end - 1] == 0)
            end--;
        if (end > at + 1 && !take_nal(player, data + at, end - at, error))
            return false;
    }
    return put_picture(player, error);
}

static KvgCredentials *
choose_credentials(const char *name, GError **error)
{
    const char *endpoint = g_getenv("KVG_IOT_ENDPOINT");
    if (endpoint == NULL)
        return kvg_credentials_new_default(NULL, error);
    g_autofree char *certificate = g_strconcat(name, ".cert.pem", NULL);
    g_autofree char *key = g_strconcat(name, ".private.key", NULL);
    const KvgIotIdentity identity = {.endpoint = endpoint,
                                     .role_alias = "KvgCamera",
                                     .thing_name = name,
                                     .certificate_path = certificate,
                                     .key_path = key,
                                     .ca_path = g_getenv("AWS_CA_BUNDLE")};
    return kvg_credentials_new_iot(&identity);
}

static bool
run(const char *name, const char *path, int fps, GError **error)
{
    g_autofree char *spool = g_build_filename(g_get_user_cache_dir(), "kvg-stream-file", NULL);
    const KvgProducerOptions options = {
        .region = g_getenv("AWS_REGION") != NULL ? g_getenv("AWS_REGION") : "us-east-1",
        .endpoint = g_getenv("AWS_ENDPOINT_URL"),
        .ca_path = g_getenv("AWS_CA_BUNDLE"),
        .spool_path = spool};
    g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, error);
    g_autoptr(KvgCredentials) credentials = file != NULL ? choose_credentials(name, error) : NULL;
    g_autoptr(KvgProducer) producer =
        credentials != NULL ? kvg_producer_new(&options, error) : NULL;
    if (producer == NULL)
        return false;
    const KvgStreamOptions stream = {
        .name = name, .credentials = credentials, .create = true, .retention_hours = 24};
    Player player = {.frame_us = G_USEC_PER_SEC / fps, .next_us = g_get_real_time()};
    player.stream = kvg_producer_open_stream(producer, &stream, error);
    if (player.stream == NULL)
        return false;
    player.picture = g_byte_array_new();
    const bool played = play(&player, (const uint8_t *)g_mapped_file_get_contents(file),
                             g_mapped_file_get_length(file), error);
    KvgStreamStats stats;
    kvg_stream_get_stats(player.stream, &stats);
    fprintf(stderr, "%s: %" G_GUINT64_FORMAT " frames, %s: %s\n", name, stats.frames_put,
            kvg_stream_state_to_string(stats.state), stats.reason);
    g_byte_array_unref(player.picture);
    g_clear_pointer(&player.avcc, g_bytes_unref);
    /* Waits for what is still on its way. What does not get there in time is sent next time. */
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
