/* HLS players, as many as wanted on as many streams: each has its own connection, asks for its
 * playlist once a second and fetches every new segment. One JSON line when --seconds are over. */
#include "aws/hls.h"
#include "measure.h"
#include <stdio.h>
#include <string.h>

#define RELOAD_US G_USEC_PER_SEC

static int port, seconds = 10, n_players = 200, n_streams = 20;
static char *ca_path;
static const char *prefix = "load";

typedef enum { WANTS_MASTER, WANTS_PLAYLIST, WANTS_SEGMENT } Want;

typedef struct {
    CURL *easy;
    char *url; /* of the master playlist, then of the media playlist */
    Want want;
    GString *text;
    GQueue segments;  /* char *, to be fetched */
    GHashTable *seen; /* of segment URLs */
    bool has_started; /* the first playlist's segments but the last are left out */
    bool is_busy;
    int64_t due_us;
} Player;

static CURLM *multi;
static Player *players;
static KvgLatencies playlists;
static uint64_t n_segments, n_bytes, n_errors;

static size_t
on_write(char *data, size_t size, size_t n, void *user_data)
{
    Player *player = user_data;
    if (player->want == WANTS_SEGMENT)
        n_bytes += size * n;
    else
        g_string_append_len(player->text, data, (gssize)(size * n));
    return size * n;
}

static void
fetch(Player *player, const char *url, Want want)
{
    player->want = want;
    player->is_busy = true;
    g_string_truncate(player->text, 0);
    curl_easy_setopt(player->easy, CURLOPT_URL, url);
    curl_multi_add_handle(multi, player->easy);
}

/* @reference against the playlist's own URL (g_free). */
static char *
resolve(const Player *player, const char *reference)
{
    return g_uri_resolve_relative(player->url, reference, G_URI_FLAGS_ENCODED, NULL);
}

static void
take_master(Player *player, char **lines)
{
    for (char **line = lines; *line != NULL; line++) {
        if (**line == '\0' || **line == '#')
            continue;
        char *url = resolve(player, *line);
        g_free(player->url);
        player->url = url;
        return;
    }
    n_errors++;
}

static void
take_playlist(Player *player, char **lines)
{
    for (char **line = lines; *line != NULL; line++) {
        if (**line == '\0' || **line == '#' || g_hash_table_contains(player->seen, *line))
            continue;
        g_hash_table_add(player->seen, g_strdup(*line));
        if (player->has_started)
            g_queue_push_tail(&player->segments, resolve(player, *line));
    }
    player->has_started = true;
}

static void
on_done(Player *player, CURLcode result)
{
    long status = 0;
    curl_easy_getinfo(player->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_off_t took_us = 0;
    curl_easy_getinfo(player->easy, CURLINFO_TOTAL_TIME_T, &took_us);
    curl_multi_remove_handle(multi, player->easy);
    player->is_busy = false;
    const Want want = player->want;
    if (result != CURLE_OK || status != 200) {
        if (n_errors++ == 0)
            fprintf(stderr, "player: HTTP %ld, %s\n", status, curl_easy_strerror(result));
    } else if (want == WANTS_SEGMENT) {
        n_segments++;
    } else {
        g_auto(GStrv) lines = g_strsplit(player->text->str, "\n", -1);
        if (want == WANTS_MASTER)
            take_master(player, lines);
        else
            take_playlist(player, lines);
        kvg_latencies_add(&playlists, took_us * 1000);
    }
    if (want == WANTS_MASTER)
        player->want = status == 200 ? WANTS_PLAYLIST : WANTS_MASTER;
}

static void
go_on(Player *player, int64_t now_us)
{
    if (player->is_busy)
        return;
    g_autofree char *segment = g_queue_pop_head(&player->segments);
    if (segment != NULL) {
        fetch(player, segment, WANTS_SEGMENT);
        return;
    }
    if (now_us < player->due_us)
        return;
    player->due_us += RELOAD_US;
    fetch(player, player->url, player->want == WANTS_MASTER ? WANTS_MASTER : WANTS_PLAYLIST);
}

static void
play(int64_t end_us)
{
    int64_t now_us;
    while ((now_us = g_get_monotonic_time()) < end_us) {
        int running = 0, left = 0;
        for (int i = 0; i < n_players; i++)
            go_on(&players[i], now_us);
        curl_multi_perform(multi, &running);
        const CURLMsg *message;
        while ((message = curl_multi_info_read(multi, &left)) != NULL) {
            Player *player = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&player);
            on_done(player, message->data.result);
        }
        curl_multi_poll(multi, NULL, 0, 20, NULL);
    }
}

static void
start_player(Player *player, const char *url, int64_t due_us)
{
    player->easy = curl_easy_init();
    player->url = g_strdup(url);
    player->text = g_string_new(NULL);
    player->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    player->due_us = due_us;
    curl_easy_setopt(player->easy, CURLOPT_CAINFO, ca_path);
    curl_easy_setopt(player->easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(player->easy, CURLOPT_WRITEDATA, player);
    curl_easy_setopt(player->easy, CURLOPT_PRIVATE, player);
}

static bool
run(GError **error)
{
    g_autofree char *endpoint = g_strdup_printf("https://127.0.0.1:%d", port);
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(NULL, error);
    if (credentials == NULL)
        return false;
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)n_players);
    players = g_new0(Player, n_players);
    kvg_latencies_init(&playlists);
    for (int stream = 0; stream < n_streams; stream++) {
        g_autofree char *name = g_strdup_printf("%s%d", prefix, stream);
        const KvgArchiveOptions options = {
            .region = "us-east-1", .endpoint = endpoint, .ca_path = ca_path, .stream = name};
        g_autoptr(KvgArchive) archive = kvg_archive_new(&options, credentials);
        const KvgHlsRequest request = {0};
        g_autofree char *url = kvg_archive_hls_url(archive, &request, error);
        if (url == NULL)
            return false;
        for (int i = stream; i < n_players; i += n_streams)
            start_player(&players[i], url,
                         g_get_monotonic_time() + i * RELOAD_US / n_players + RELOAD_US / 2);
    }
    play(g_get_monotonic_time() + seconds * G_USEC_PER_SEC);
    g_autofree char *text = kvg_latencies_to_json(&playlists);
    printf("{\"cpu_s\":%.3f,\"segments\":%" G_GUINT64_FORMAT ",\"bytes\":%" G_GUINT64_FORMAT
           ",\"errors\":%" G_GUINT64_FORMAT ",\"playlist_us\":%s}\n",
           kvg_measure_cpu_s(), n_segments, n_bytes, n_errors, text);
    return true;
}

int
main(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        {"port", 0, 0, G_OPTION_ARG_INT, &port, "Of the service on loopback", "N"},
        {"ca", 0, 0, G_OPTION_ARG_STRING, &ca_path, "CA of the service", "FILE"},
        {"prefix", 0, 0, G_OPTION_ARG_STRING, &prefix, "Of the streams' names", "NAME"},
        {"players", 0, 0, G_OPTION_ARG_INT, &n_players, "How many", "N"},
        {"streams", 0, 0, G_OPTION_ARG_INT, &n_streams, "That they watch", "N"},
        {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "How long", "N"},
        {0},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- HLS players");
    g_option_context_add_main_entries(context, entries, NULL);
    if (g_option_context_parse(context, &argc, &argv, &error) && run(&error))
        return 0;
    fprintf(stderr, "bench-players: %s\n", error->message);
    return 1;
}
