/* The API without a network: every route is described and every description has a route, who is let
 * in, what pages of other sites may not do, what the board remembers. */
#include "agent/api_private.h"
#include "agent/board.h"
#include "agent/camera.h"
#include "agent/metrics.h"
#include <string.h>

static const char *const methods[] = {"GET", "POST", "PATCH", "PUT", "DELETE"};

static json_t *
operation(const json_t *paths, const char *pattern, const char *method)
{
    g_autofree char *name = g_ascii_strdown(method, -1);
    return json_object_get(json_object_get(paths, pattern), name);
}

static void
test_description(void)
{
    g_autofree char *path = g_build_filename(g_getenv("KVG_SOURCE"), "docs", "openapi.json", NULL);
    g_autoptr(json_t) document = json_load_file(path, 0, NULL);
    g_assert_nonnull(document);
    json_t *paths = json_object_get(document, "paths");
    size_t n, n_described = 0;
    const KvgApiRoute *routes = kvg_api_routes(&n);
    for (size_t i = 0; i < n; i++) {
        json_t *described = operation(paths, routes[i].pattern, routes[i].method);
        if (described == NULL)
            g_error("docs/openapi.json lacks %s %s", routes[i].method, routes[i].pattern);
        const json_t *security = json_object_get(described, "security");
        g_assert_cmpint(routes[i].is_public, ==, security != NULL);
    }
    const char *pattern;
    json_t *item;
    json_object_foreach(paths, pattern, item)
    {
        for (size_t m = 0; m < G_N_ELEMENTS(methods); m++)
            n_described += operation(paths, pattern, methods[m]) != NULL;
    }
    g_assert_cmpuint(n_described, ==, n);
}

static void
test_match(void)
{
    static const struct {
        const char *pattern, *path, *camera, *file;
        bool fits;
    } table[] = {
        {"/healthz", "/healthz", NULL, NULL, true},
        {"/healthz", "/healthz/", NULL, NULL, false},
        {"/api/cameras/{camera}", "/api/cameras/gate", "gate", NULL, true},
        {"/api/cameras/{camera}", "/api/cameras/", NULL, NULL, false},
        {"/api/cameras/{camera}", "/api/cameras/a%20b", NULL, NULL, false},
        {"/api/cameras/{camera}", "/api/cameras/gate/history", NULL, NULL, false},
        {"/api/cameras/{camera}/history", "/api/cameras/gate/history", "gate", NULL, true},
        {"/play/{camera}/{file}", "/play/gate/live.m3u8", "gate", "live.m3u8", true},
        {"/play/{camera}/{file}", "/play/gate/", NULL, NULL, false},
        {"/play/{camera}/{file}", "/play/../gate/x", NULL, NULL, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        KvgApiRequest request = {0};
        g_assert_cmpint(kvg_api_match(table[i].pattern, table[i].path, &request), ==,
                        table[i].fits);
        g_assert_cmpstr(request.camera, ==, table[i].camera);
        g_assert_cmpstr(request.file, ==, table[i].file);
        g_free(request.camera);
        g_free(request.file);
    }
}

static void
test_origin(void)
{
    static const struct {
        const char *what;
        KvgAccessOrigin origin;
        bool is_own;
    } table[] = {
        {"a program", {"POST", "h:1", NULL, NULL, NULL, NULL, false}, true},
        {"our page", {"POST", "h:1", "http://h:1", "same-origin", "cors", "empty", false}, true},
        {"an old browser", {"POST", "h:1", "http://h:1", NULL, NULL, NULL, false}, true},
        {"its foreign page", {"POST", "h:1", "http://evil", NULL, NULL, NULL, false}, false},
        {"another port", {"POST", "h:1", "http://h:2", NULL, NULL, NULL, false}, false},
        {"another scheme", {"POST", "h:1", "http://h:1", NULL, NULL, NULL, true}, false},
        {"a sandbox", {"POST", "h:1", "null", NULL, NULL, NULL, false}, false},
        {"a foreign page", {"POST", "h", "https://e", "cross-site", "cors", "empty", false}, false},
        {"a neighbour", {"PATCH", "h", "https://x.h", "same-site", "cors", "empty", false}, false},
        {"a foreign picture", {"GET", "h", NULL, "cross-site", "no-cors", "image", false}, false},
        {"a foreign frame", {"GET", "h", NULL, "cross-site", "navigate", "iframe", false}, false},
        {"a link", {"GET", "h", NULL, "cross-site", "navigate", "document", false}, true},
        {"a form", {"POST", "h", NULL, "cross-site", "navigate", "document", false}, false},
        {"typed in", {"GET", "h", NULL, "none", "navigate", "document", false}, true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (kvg_access_is_own_page(&table[i].origin) != table[i].is_own)
            g_error("%s is judged wrongly", table[i].what);
    }
}

static void
test_tokens(void)
{
    char address[] = "127.0.0.1", first[] = "0123456789abcdef", second[] = "fedcba9876543210";
    KvgConfig config = {.api_address = address};
    KvgAccess *access = kvg_access_new(&config);
    g_assert_cmpint(kvg_access_try(access, "a", "x"), ==, KVG_ACCESS_NOT_NEEDED);
    config.api_token = first;
    kvg_access_reload(access, &config);
    g_assert_cmpint(kvg_access_try(access, "a", first), ==, KVG_ACCESS_YES);
    for (int i = 0; i < 10; i++)
        g_assert_cmpint(kvg_access_try(access, "a", second), ==, KVG_ACCESS_WRONG);
    g_assert_cmpint(kvg_access_try(access, "a", second), ==, KVG_ACCESS_TOO_OFTEN);
    g_assert_cmpint(kvg_access_try(access, "a", first), ==, KVG_ACCESS_TOO_OFTEN);
    g_assert_cmpint(kvg_access_try(access, "b", first), ==, KVG_ACCESS_YES);
    /* any number of addresses: bounded, and nobody else is shut out */
    for (int i = 0; i < 1000; i++) {
        g_autofree char *other = g_strdup_printf("10.0.%d.%d", i / 250, i % 250);
        g_assert_cmpint(kvg_access_try(access, other, ""), ==, KVG_ACCESS_WRONG);
    }
    config.api_token = second;
    kvg_access_reload(access, &config);
    g_assert_cmpint(kvg_access_try(access, "b", first), ==, KVG_ACCESS_WRONG);
    g_assert_cmpint(kvg_access_try(access, "b", second), ==, KVG_ACCESS_YES);
    kvg_access_free(access);
}

static void
test_history(void)
{
    char name[] = "gate", source[] = "rtsp://u:p@h/1";
    KvgConfigCamera camera = {.name = name, .source = source, .streaming = true};
    KvgConfig config = {.cameras = g_ptr_array_new()};
    g_ptr_array_add(config.cameras, &camera);
    KvgBoard *board = kvg_board_new(&config);
    g_assert_null(kvg_board_history(board, "nobody"));
    for (int i = 0; i < 250; i++) {
        g_autofree char *reason = g_strdup_printf("reason %d", i / 2);
        g_autoptr(json_t) report = json_pack("{s:s, s:s, s:s, s:i}", "name", "gate", "state",
                                             "backoff", "reason", reason, "frames", i);
        kvg_board_update(board, report);
    }
    g_autoptr(json_t) changes = kvg_board_history(board, "gate");
    g_assert_cmpuint(json_array_size(changes), ==, 100);
    const json_t *last = json_array_get(changes, 99), *first = json_array_get(changes, 0);
    g_assert_cmpstr(kvg_json_get_string(last, "reason"), ==, "reason 124");
    g_assert_cmpstr(kvg_json_get_string(first, "reason"), ==, "reason 25");
    g_assert_cmpint(kvg_json_get_int(first, "at_ms", 0), >, 1000000000000);
    kvg_board_free(board);
    g_ptr_array_unref(config.cameras);
}

/* In every state there is, one row is 1 and the others are 0, and the description knows the state.
 */
static void
test_states(void)
{
    g_autofree char *path = g_build_filename(g_getenv("KVG_SOURCE"), "docs", "openapi.json", NULL);
    g_autoptr(json_t) document = json_load_file(path, 0, NULL);
    json_t *described = NULL;
    g_assert_cmpint(json_unpack(document, "{s:{s:{s:{s:{s:{s:o}}}}}}", "components", "schemas",
                                "Camera", "properties", "state", "enum", &described),
                    ==, 0);
    g_assert_cmpuint(json_array_size(described), ==, KVG_CAMERA_N_STATES);
    for (int s = 0; s < KVG_CAMERA_N_STATES; s++) {
        const char *state = kvg_camera_state_to_string((KvgCameraState)s);
        g_assert_cmpstr(json_string_value(json_array_get(described, (size_t)s)), ==, state);
        g_autoptr(json_t) cameras = json_pack("[{s:s, s:s}]", "name", "gate", "state", state);
        g_autoptr(json_t) site = json_object();
        g_autofree char *text = kvg_metrics_text(cameras, site);
        for (int other = 0; other < KVG_CAMERA_N_STATES; other++) {
            g_autofree char *line =
                g_strdup_printf("\nkvg_camera_state{camera=\"gate\",state=\"%s\"} %d\n",
                                kvg_camera_state_to_string((KvgCameraState)other), other == s);
            g_assert_nonnull(strstr(text, line));
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/api/description", test_description);
    g_test_add_func("/agent/api/match", test_match);
    g_test_add_func("/agent/api/origin", test_origin);
    g_test_add_func("/agent/api/tokens", test_tokens);
    g_test_add_func("/agent/api/history", test_history);
    g_test_add_func("/agent/api/states", test_states);
    return g_test_run();
}
