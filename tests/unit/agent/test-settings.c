/* Settings of a camera: what is taken, what is refused and how, and what they do to the
 * configuration. */
#include "agent/settings.h"

#include <kvg/error.h>
#include <string.h>

static json_t *
parse(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    json_t *value = json_loads(json, 0, NULL);
    g_assert_nonnull(value);
    return value;
}

static void
test_merge(void)
{
    static const struct {
        const char *change, *after, *ignored;
    } rows[] = {
        {"{'streaming':false}", "{'streaming':false}", NULL},
        {"{'streaming':null}", "{}", NULL},
        {"{'width':640,'height':360}", "{'height':360,'width':640}", NULL},
        {"{'width':null}", "{'height':360}", NULL},
        {"{'height':null,'fps':60,'bitrate_kbps':32}", "{'bitrate_kbps':32,'fps':60}", NULL},
        {"{'fragment_ms':1000,'zoom':1,'alarm':2}",
         "{'bitrate_kbps':32,'fps':60,'fragment_ms':1000}", "['alarm','zoom']"},
        {"{}", "{'bitrate_kbps':32,'fps':60,'fragment_ms':1000}", NULL},
    };
    KvgSettings settings = {0};
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(json_t) change = parse(rows[i].change);
        g_autoptr(json_t) expected = parse(rows[i].after);
        g_autoptr(json_t) ignored = NULL;
        g_autoptr(GError) error = NULL;
        g_assert_true(kvg_settings_merge(&settings, change, &ignored, &error));
        g_assert_no_error(error);
        g_autoptr(json_t) after = kvg_settings_to_json(&settings);
        g_assert_true(json_equal(after, expected));
        g_autoptr(json_t) names = rows[i].ignored != NULL ? parse(rows[i].ignored) : NULL;
        g_assert_true(names == NULL ? ignored == NULL : json_equal(ignored, names));
    }
}

static void
test_refusals(void)
{
    static const struct {
        const char *change, *message;
    } rows[] = {
        {"{'streaming':1}", "streaming: 1 is not possible; it is true or false"},
        {"{'streaming':'on'}", "streaming: \"on\" is not possible; it is true or false"},
        {"{'fps':0}", "fps: 0 is not possible; it is a whole number from 1 to 60"},
        {"{'fps':61}", "fps: 61 is not possible; it is a whole number from 1 to 60"},
        {"{'fps':12.5}", "fps: 12.5 is not possible; it is a whole number from 1 to 60"},
        {"{'width':641}", "width: 641 is not possible; it is an even number from 64 to 7680"},
        {"{'height':{}}", "height: {} is not possible; it is an even number from 64 to 4320"},
        {"{'bitrate_kbps':31}",
         "bitrate_kbps: 31 is not possible; it is a whole number from 32 to 50000"},
        {"{'fragment_ms':10001}",
         "fragment_ms: 10001 is not possible; it is a whole number from 1000 to 10000"},
        {"{'fps':10,'width':-2}",
         "width: -2 is not possible; it is an even number from 64 to 7680"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        KvgSettings settings = {.fps = 7};
        const KvgSettings before = settings;
        g_autoptr(json_t) change = parse(rows[i].change);
        g_autoptr(GError) error = NULL;
        g_assert_false(kvg_settings_merge(&settings, change, NULL, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, rows[i].message);
        g_assert_true(kvg_settings_equal(&settings, &before));
    }
}

static void
test_apply(void)
{
    const KvgConfigCamera given = {.streaming = true,
                                   .passthrough = true,
                                   .width = 1280,
                                   .height = 720,
                                   .bitrate_bps = 1500000};
    KvgConfigCamera camera = given;
    kvg_settings_apply(&(KvgSettings){0}, &camera);
    g_assert_cmpmem(&camera, sizeof camera, &given, sizeof given);
    kvg_settings_apply(&(KvgSettings){.has_streaming = true, .fragment_ms = 2000}, &camera);
    g_assert_false(camera.streaming);
    g_assert_true(camera.passthrough);
    g_assert_cmpuint(camera.fragment_ms, ==, 2000);
    kvg_settings_apply(&(KvgSettings){.bitrate_kbps = 800, .fps = 5}, &camera);
    g_assert_false(camera.passthrough);
    g_assert_cmpuint(camera.bitrate_bps, ==, 800000);
    g_assert_cmpuint(camera.fps, ==, 5);
    g_assert_cmpuint(camera.width, ==, 1280);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/settings/merge", test_merge);
    g_test_add_func("/agent/settings/refusals", test_refusals);
    g_test_add_func("/agent/settings/apply", test_apply);
    return g_test_run();
}
