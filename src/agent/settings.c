#include "agent/settings.h"

#include <kvg/error.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
    uint32_t least, most;
    bool is_even;
} numbers[] = {
    {"bitrate_kbps", offsetof(KvgSettings, bitrate_kbps), 32, 50000, false},
    {"width", offsetof(KvgSettings, width), 64, 7680, true},
    {"height", offsetof(KvgSettings, height), 64, 4320, true},
    {"fps", offsetof(KvgSettings, fps), 1, 60, false},
    {"fragment_ms", offsetof(KvgSettings, fragment_ms), 1000, 10000, false},
};

static uint32_t *
number_at(KvgSettings *settings, size_t i)
{
    return (uint32_t *)(void *)((char *)settings + numbers[i].offset);
}

static bool
refuse(GError **error, const char *name, const json_t *value, const char *possible)
{
    g_autofree char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s: %.64s is not possible; it is %s", name,
                text != NULL ? text : "?", possible);
    return false;
}

static bool
set_streaming(KvgSettings *settings, const json_t *value, GError **error)
{
    if (!json_is_null(value) && !json_is_boolean(value))
        return refuse(error, "streaming", value, "true or false");
    settings->has_streaming = json_is_boolean(value);
    settings->streaming = json_is_true(value);
    return true;
}

static bool
set_number(KvgSettings *settings, size_t i, const json_t *value, GError **error)
{
    const json_int_t number = json_integer_value(value);
    const bool fits = json_is_integer(value) && number >= numbers[i].least &&
                      number <= numbers[i].most && !(numbers[i].is_even && number % 2 != 0);
    if (!fits && !json_is_null(value)) {
        g_autofree char *possible =
            g_strdup_printf("%s number from %u to %u", numbers[i].is_even ? "an even" : "a whole",
                            numbers[i].least, numbers[i].most);
        return refuse(error, numbers[i].name, value, possible);
    }
    *number_at(settings, i) = fits ? (uint32_t)number : 0;
    return true;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *
names_to_json(GPtrArray *names)
{
    if (names->len == 0)
        return NULL;
    json_t *array = json_array();
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++)
        json_array_append_new(array, json_string(g_ptr_array_index(names, i)));
    return array;
}

bool
kvg_settings_merge(KvgSettings *settings, const json_t *change, json_t **ignored, GError **error)
{
    KvgSettings merged = *settings;
    g_autoptr(GPtrArray) unknown = g_ptr_array_new();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)change, name, value)
    {
        size_t i = 0;
        while (i < G_N_ELEMENTS(numbers) && strcmp(numbers[i].name, name) != 0)
            i++;
        if (strcmp(name, "streaming") == 0) {
            if (!set_streaming(&merged, value, error))
                return false;
        } else if (i == G_N_ELEMENTS(numbers)) {
            g_ptr_array_add(unknown, (void *)(uintptr_t)name);
        } else if (!set_number(&merged, i, value, error)) {
            return false;
        }
    }
    *settings = merged;
    if (ignored != NULL)
        *ignored = names_to_json(unknown);
    return true;
}

json_t *
kvg_settings_to_json(const KvgSettings *settings)
{
    KvgSettings copy = *settings;
    json_t *json = json_object();
    if (settings->has_streaming)
        json_object_set_new(json, "streaming", json_boolean(settings->streaming));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (*number_at(&copy, i) != 0)
            json_object_set_new(json, numbers[i].name, json_integer(*number_at(&copy, i)));
    }
    return json;
}

bool
kvg_settings_equal(const KvgSettings *a, const KvgSettings *b)
{
    return a->has_streaming == b->has_streaming && a->streaming == b->streaming &&
           a->bitrate_kbps == b->bitrate_kbps && a->width == b->width && a->height == b->height &&
           a->fps == b->fps && a->fragment_ms == b->fragment_ms;
}

void
kvg_settings_apply(const KvgSettings *settings, KvgConfigCamera *camera)
{
    if (settings->has_streaming)
        camera->streaming = settings->streaming;
    if (settings->bitrate_kbps != 0)
        camera->bitrate_bps = settings->bitrate_kbps * 1000;
    if (settings->width != 0)
        camera->width = settings->width;
    if (settings->height != 0)
        camera->height = settings->height;
    if (settings->fps != 0)
        camera->fps = settings->fps;
    if (settings->fragment_ms != 0)
        camera->fragment_ms = settings->fragment_ms;
    if (settings->bitrate_kbps != 0 || settings->width != 0 || settings->height != 0 ||
        settings->fps != 0)
        camera->passthrough = false;
}
