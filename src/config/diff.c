#include "config/diff.h"

static void
add_name(GPtrArray *names, const KvgConfigCamera *camera)
{
    g_ptr_array_add(names, g_strdup(camera->name));
}

KvgConfigDiff *
kvg_config_diff(const KvgConfig *before, const KvgConfig *after)
{
    KvgConfigDiff *diff = g_new0(KvgConfigDiff, 1);
    diff->added = g_ptr_array_new_with_free_func(g_free);
    diff->removed = g_ptr_array_new_with_free_func(g_free);
    diff->changed = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < KVG_CONFIG_N_SCOPES; i++)
        diff->scopes[i] = g_strcmp0(before->fingerprints[i], after->fingerprints[i]) != 0;
    for (guint i = 0; i < after->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(after->cameras, i);
        const KvgConfigCamera *old = kvg_config_find_camera(before, camera->name);
        if (old == NULL)
            add_name(diff->added, camera);
        else if (g_strcmp0(old->fingerprint, camera->fingerprint) != 0)
            add_name(diff->changed, camera);
    }
    for (guint i = 0; i < before->cameras->len; i++) {
        const KvgConfigCamera *camera = g_ptr_array_index(before->cameras, i);
        if (kvg_config_find_camera(after, camera->name) == NULL)
            add_name(diff->removed, camera);
    }
    return diff;
}

void
kvg_config_diff_free(KvgConfigDiff *diff)
{
    if (diff == NULL)
        return;
    g_ptr_array_unref(diff->added);
    g_ptr_array_unref(diff->removed);
    g_ptr_array_unref(diff->changed);
    g_free(diff);
}

bool
kvg_config_diff_is_empty(const KvgConfigDiff *diff)
{
    bool is_empty = diff->added->len + diff->removed->len + diff->changed->len == 0;
    for (int i = 0; i < KVG_CONFIG_N_SCOPES; i++)
        is_empty = is_empty && !diff->scopes[i];
    return is_empty;
}

static void
append_names(GString *out, const char *what, const GPtrArray *names)
{
    for (guint i = 0; i < names->len; i++)
        g_string_append_printf(out, "%s%s%s", i > 0 || out->len == 0 ? "" : "; ",
                               i == 0 ? what : ", ", (char *)g_ptr_array_index(names, i));
}

char *
kvg_config_diff_to_text(const KvgConfigDiff *diff)
{
    static const char *const scopes[KVG_CONFIG_N_SCOPES] = {
        [KVG_CONFIG_SCOPE_CAMERAS] = "keys of the site: all cameras start again",
        [KVG_CONFIG_SCOPE_CONTROL] = "identity.mqtt_endpoint",
        [KVG_CONFIG_SCOPE_API] = "keys of the API: they take effect when the agent is restarted",
        [KVG_CONFIG_SCOPE_WORKERS] = "workers: all cameras start again",
        [KVG_CONFIG_SCOPE_NOBODY] = "keys that running cameras do not need",
    };
    g_autoptr(GString) out = g_string_new(NULL);
    for (int i = 0; i < KVG_CONFIG_N_SCOPES; i++) {
        if (diff->scopes[i])
            g_string_append_printf(out, "%s%s", out->len > 0 ? "; " : "changed ", scopes[i]);
    }
    append_names(out, "added ", diff->added);
    append_names(out, "removed ", diff->removed);
    append_names(out, "changed ", diff->changed);
    return out->len > 0 ? g_string_free(g_steal_pointer(&out), FALSE)
                        : g_strdup("nothing has changed");
}
