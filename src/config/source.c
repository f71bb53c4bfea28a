#include "config/source.h"

#include "base/text.h"

#include <string.h>

#define SHM_FORMATS "I420|NV12|YUY2|UYVY|BGR|RGB|BGRx|RGBx|BGRA|RGBA|GRAY8"
#define SIZE_KEY(field, text)                                                                      \
    KVG_CONFIG_NUMBER, KVG_CONFIG_AT(KvgConfigCamera, field), .least = 16, .most = 7680,           \
                                                              .about = text

const char *
kvg_config_shm_format(const KvgConfigShm *shm)
{
    static const char *const names[] = {"I420", "NV12", "YUY2", "UYVY", "BGR",  "RGB",
                                        "BGRx", "RGBx", "BGRA", "RGBA", "GRAY8"};
    return names[MIN(shm->format, G_N_ELEMENTS(names) - 1)];
}

const KvgConfigKey kvg_config_rtsp_keys[] = {
    {"transport", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfigCamera, rtsp.transport),
     .words = "tcp|udp|auto", .standard = "tcp",
     .about = "How packets travel; auto tries UDP and falls back to TCP"},
    {"latency", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfigCamera, rtsp.latency_ms), .most = 10000,
     .remedy = "write a duration up to 10s, like 200ms", .standard = "200ms",
     .about = "How late a packet may be"},
    {"ca_bundle", KVG_CONFIG_PATH, KVG_CONFIG_AT(KvgConfigCamera, rtsp.ca_bundle),
     .about = "For rtsps: the authorities to trust (PEM), in place of the system's"},
    {"certificate", KVG_CONFIG_TEXT, KVG_CONFIG_AT(KvgConfigCamera, rtsp.certificate),
     .words = "verify", .pattern = "^(insecure|sha256:[0-9A-Fa-f]{64})$",
     .remedy = "write verify, sha256: and 64 hexadecimal digits, or insecure", .standard = "verify",
     .about = "For rtsps: verify the camera's certificate, take only this one, or any"},
    {.name = NULL}};

const KvgConfigKey kvg_config_v4l2_keys[] = {
    {"format", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfigCamera, v4l2.format),
     .words = "auto|h264|raw|mjpeg", .standard = "auto",
     .about = "What the camera is asked for; auto: H.264, then raw, then MJPEG"},
    {"width", SIZE_KEY(v4l2.width, "Width the camera is asked for; it takes the nearest")},
    {"height", SIZE_KEY(v4l2.height, "Height the camera is asked for; it takes the nearest")},
    {"fps", KVG_CONFIG_NUMBER, KVG_CONFIG_AT(KvgConfigCamera, v4l2.fps), .least = 1, .most = 120,
     .about = "Frames a second that the camera is asked for; it takes the nearest"},
    {.name = NULL}};

static void
read_file_time(KvgConfigLoader *loader, const char *key, yaml_node_t *node, void *target)
{
    KvgConfigCamera *camera = target;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(text, utc);
    const bool is_now = g_str_equal(text, "now");
    if (!is_now && !g_str_equal(text, "own") && date == NULL)
        kvg_config_problem(loader, &node->start_mark, key,
                           "write now, own, or a time like 2026-01-31T12:00:00Z");
    g_free(camera->file.time);
    camera->file.time = is_now ? NULL : g_steal_pointer(&text);
}

const KvgConfigKey kvg_config_file_keys[] = {
    {"play", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfigCamera, file.loop), .words = "once|loop",
     .standard = "once", .about = "Whether the file begins again at its end"},
    {"pace", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfigCamera, file.fast),
     .words = "real-time|fast", .standard = "real-time", .about = "How quickly it is played"},
    {"time", KVG_CONFIG_TEXT, .read = read_file_time, .standard = "now",
     .pattern = "^(now|own|[0-9]{4}-?[0-9]{2}-?[0-9]{2}T.*)$",
     .about = "Of its first picture: now, the file's own, or the one given"},
    {.name = NULL}};

const KvgConfigKey kvg_config_shm_keys[] = {
    {"format", KVG_CONFIG_CHOICE, KVG_CONFIG_AT(KvgConfigCamera, shm.format), .words = SHM_FORMATS,
     .standard = "I420", .about = "Pixels of the frames, by GStreamer's names"},
    {"width", SIZE_KEY(shm.width, "Width of the frames")},
    {"height", SIZE_KEY(shm.height, "Height of the frames")},
    {"fps", KVG_CONFIG_NUMBER, KVG_CONFIG_AT(KvgConfigCamera, shm.fps), .least = 1, .most = 120,
     .standard = "15", .about = "Frames a second"},
    {.name = NULL}};

/* ---- source ---- */

static bool
test_source_is_valid(KvgConfigLoader *loader,
                     const yaml_mark_t *mark,
                     const char *key,
                     const char *source)
{
    static const char *const names[] = {"pattern", "width", "height", "fps", "sound"};
    const char *settings = source + strlen("test:");
    if (settings[0] == '\0')
        return true;
    g_auto(GStrv) parts = g_strsplit(settings, ",", 32);
    unsigned seen = 0;
    for (char **part = parts; *part != NULL; part++) {
        g_auto(GStrv) pair = g_strsplit(*part, "=", 2);
        unsigned which = 0;
        while (which < G_N_ELEMENTS(names) && g_strcmp0(pair[0], names[which]) != 0)
            which++;
        if (which == G_N_ELEMENTS(names) || pair[1] == NULL || (seen & 1U << which) != 0) {
            kvg_config_problem(
                loader, mark, key,
                "write test: or test:pattern=ball,width=640,height=360,fps=15, each once");
            return false;
        }
        seen |= 1U << which;
        uint64_t most = which == 3 ? 120 : 7680;
        bool good = which == 0   ? g_regex_match_simple("^[a-z0-9-]{1,32}$", pair[1], 0, 0)
                    : which == 4 ? g_str_equal(pair[1], "on") || g_str_equal(pair[1], "off")
                                 : g_ascii_string_to_unsigned(pair[1], 10, which == 3 ? 1 : 16,
                                                              most, NULL, NULL);
        if (!good) {
            g_autofree char *value = kvg_config_shown(pair[1]);
            kvg_config_problem(loader, mark, key, "bad value '%s' of %s", value, names[which]);
            return false;
        }
    }
    return true;
}

/* Takes user:password@ out of an RTSP URL: it must not travel on in what may be shown. */
static void
take_rtsp(KvgConfigLoader *loader,
          const yaml_mark_t *mark,
          const char *key,
          const char *source,
          KvgConfigCamera *camera)
{
    g_autofree char *user = NULL;
    g_autofree char *password = NULL;
    g_autofree char *host = NULL;
    int port = -1;
    if (!g_uri_split_with_user(source, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED, NULL, &user,
                               &password, NULL, &host, &port, NULL, NULL, NULL, NULL) ||
        host == NULL || host[0] == '\0' || port == 0 || strchr(source, ' ') != NULL) {
        kvg_config_problem(loader, mark, key, "not a URL; write rtsp://HOST[:PORT]/PATH");
        return;
    }
    if (user == NULL) {
        camera->source = g_strdup(source);
        return;
    }
    g_autofree char *plain_user = kvg_uri_unescape(user, strlen(user), false);
    g_autofree char *plain_password =
        password != NULL ? kvg_uri_unescape(password, strlen(password), false) : NULL;
    if (plain_user == NULL || (password != NULL && plain_password == NULL)) {
        kvg_config_problem(loader, mark, key,
                           "bad %%XX in the user or password of the URL; correct it");
        return;
    }
    const char *authority = strstr(source, "://") + 3;
    g_autofree char *area = g_strndup(authority, strcspn(authority, "/?#"));
    const char *at = strrchr(area, '@');
    if (at == NULL) {
        kvg_config_problem(loader, mark, key,
                           "write special characters of user and password as %%XX");
        return;
    }
    camera->source =
        g_strdup_printf("%.*s%s", (int)(authority - source), source, authority + (at - area) + 1);
    camera->username = g_steal_pointer(&plain_user);
    camera->password = g_steal_pointer(&plain_password);
}

/* "file:movies/a.mp4" from the folder of kvg.yaml. */
static void
take_path(KvgConfigLoader *loader,
          const yaml_mark_t *mark,
          const char *key,
          const char *text,
          KvgConfigCamera *camera)
{
    const char *path = strchr(text, ':') + 1;
    if (path[0] == '\0') {
        kvg_config_problem(loader, mark, key, "a path is missing behind %s", text);
        return;
    }
    g_autofree char *resolved = kvg_config_resolve(loader, path);
    camera->source = g_strdup_printf("%.*s%s", (int)(path - text), text, resolved);
}

void
kvg_config_read_source(KvgConfigLoader *loader,
                       const char *key,
                       yaml_node_t *node,
                       KvgConfigCamera *camera)
{
    const yaml_mark_t *mark = &node->start_mark;
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    if (g_str_has_prefix(text, "rtsp://") || g_str_has_prefix(text, "rtsps://"))
        take_rtsp(loader, mark, key, text, camera);
    else if (g_str_has_prefix(text, "file:") || g_str_has_prefix(text, "shm:"))
        take_path(loader, mark, key, text, camera);
    else if (g_str_has_prefix(text, "v4l2:/"))
        camera->source = g_steal_pointer(&text);
    else if (g_str_has_prefix(text, "v4l2:"))
        kvg_config_problem(loader, mark, key, "write v4l2:/dev/videoN");
    else if (!g_str_has_prefix(text, "test:"))
        kvg_config_problem(loader, mark, key,
                           "unknown kind of source; it begins with rtsp://, rtsps://, v4l2:, "
                           "file:, shm: or test:");
    else if (test_source_is_valid(loader, mark, key, text))
        camera->source = g_steal_pointer(&text);
}

void
kvg_config_check_source(KvgConfigLoader *loader,
                        const char *key,
                        const yaml_mark_t *mark,
                        const KvgConfigCamera *camera)
{
    if (camera->source == NULL)
        return;
    const KvgConfigFile *file = &camera->file;
    const bool is_file = g_str_has_prefix(camera->source, "file:");
    if (is_file && file->loop && file->fast)
        kvg_config_problem(loader, mark, key,
                           "file.play: loop and file.pace: fast would never stop; choose one");
    if (is_file && file->loop && file->time != NULL)
        kvg_config_problem(loader, mark, key,
                           "file.play: loop can only have file.time: now; its times would repeat");
    if (g_str_has_prefix(camera->source, "shm:") &&
        (camera->shm.width == 0 || camera->shm.height == 0))
        kvg_config_problem(loader, mark, key,
                           "shm.width or shm.height is missing; raw frames do not say their size");
}
