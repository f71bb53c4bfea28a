#include "testcam/control.h"
#include "base/json.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_REBOOT_S 3600
#define MAX_JUMP_S (100 * 365 * 86400ll)

static bool
refuse(GError **error, const char *key, const char *wanted)
{
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: must be %s", key, wanted);
    return false;
}

static bool
set_flag(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    TestcamFault *fault = testcam_camera_fault(camera);
    const bool on = json_is_true(value);
    if (!json_is_boolean(value))
        return refuse(error, key, "true or false");
    if (strcmp(key, "silent") == 0)
        atomic_store(&fault->silent, on);
    else if (strcmp(key, "hang") == 0)
        testcam_camera_hang(camera, on);
    else if (strcmp(key, "garbage") == 0)
        atomic_store(&fault->garbage, on);
    else if (strcmp(key, "frozen") == 0)
        atomic_store(&fault->frozen, on);
    else if (testcam_camera_options(camera)->username == NULL)
        return refuse(error, key, "of a camera with a password");
    else
        testcam_camera_lock(camera, on);
    return true;
}

static bool
set_jump(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    TestcamFault *fault = testcam_camera_fault(camera);
    const int64_t seconds = json_integer_value(value);
    if (!json_is_integer(value) || seconds < -MAX_JUMP_S || seconds > MAX_JUMP_S)
        return refuse(error, key, "a number of seconds within a century");
    atomic_store(strcmp(key, "rtp_jump_s") == 0 ? &fault->rtp_jump_s : &fault->ntp_jump_s, seconds);
    return true;
}

static bool
set_loss(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    const double loss = json_number_value(value);
    if (!json_is_number(value) || loss < 0 || loss > 1)
        return refuse(error, key, "within 0 and 1");
    atomic_store(&testcam_camera_fault(camera)->loss_ppm, (uint32_t)(loss * 1000000));
    return true;
}

static bool
set_codec(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    const TestcamCodec codec = testcam_codec_from_string(json_string_value(value));
    if (codec == TESTCAM_N_CODECS)
        return refuse(error, key, "h264, h265 or mjpeg");
    return testcam_camera_recode(camera, codec, error);
}

static bool
cut(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    if (!json_is_true(value))
        return refuse(error, key, "true");
    testcam_camera_cut(camera);
    return true;
}

static bool
reboot(TestcamCamera *camera, const char *key, const json_t *value, GError **error)
{
    const int64_t seconds = json_integer_value(value);
    if (!json_is_integer(value) || seconds < 1 || seconds > MAX_REBOOT_S)
        return refuse(error, key, "within 1 and 3600");
    testcam_camera_reboot(camera, (int)seconds);
    return true;
}

static bool
resize(TestcamCamera *camera, const json_t *command, GError **error)
{
    const int64_t width = kvg_json_get_int(command, "width", 0);
    const int64_t height = kvg_json_get_int(command, "height", 0);
    if (width == 0 && height == 0)
        return true;
    if (width < 64 || width > 4096 || height < 64 || height > 4096)
        return refuse(error, "width and height", "both there, within 64 and 4096");
    return testcam_camera_resize(camera, (int)width, (int)height, error);
}

static const struct {
    const char *key;
    bool (*act)(TestcamCamera *camera, const char *key, const json_t *value, GError **error);
} actions[] = {
    {"silent", set_flag},     {"hang", set_flag},
    {"garbage", set_flag},    {"frozen", set_flag},
    {"locked", set_flag},     {"rtp_jump_s", set_jump},
    {"ntp_jump_s", set_jump}, {"loss", set_loss},
    {"codec", set_codec},     {"cut", cut},
    {"reboot_s", reboot},
};

static bool
is_known(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(key, actions[i].key) == 0)
            return true;
    }
    return strcmp(key, "camera") == 0 || strcmp(key, "width") == 0 || strcmp(key, "height") == 0;
}

/* In the order of the table, so that a cut comes after what new connections shall meet. */
static bool
act(TestcamCamera *camera, const json_t *command, GError **error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)command, key, value)
    {
        if (!is_known(key))
            return refuse(error, key, "left out, it is not known");
    }
    if (!resize(camera, command, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        value = json_object_get(command, actions[i].key);
        if (value != NULL && !actions[i].act(camera, actions[i].key, value, error))
            return false;
    }
    return true;
}

static TestcamCamera *
find(GPtrArray *cameras, const char *name)
{
    for (guint i = 0; i < cameras->len; i++) {
        TestcamCamera *camera = g_ptr_array_index(cameras, i);
        if (g_strcmp0(testcam_camera_options(camera)->name, name) == 0)
            return camera;
    }
    return NULL;
}

char *
testcam_control(GPtrArray *cameras, const char *line)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) command = kvg_json_parse_object(line, strlen(line), &error);
    if (command != NULL) {
        TestcamCamera *camera = find(cameras, kvg_json_get_string(command, "camera"));
        if (camera == NULL)
            refuse(&error, "camera", "the name of one of the cameras");
        else
            act(camera, command, &error);
    }
    g_autoptr(json_t) answer = error == NULL
                                   ? json_pack("{s:b}", "ok", 1)
                                   : json_pack("{s:b, s:s}", "ok", 0, "message", error->message);
    return kvg_json_to_text(answer);
}
