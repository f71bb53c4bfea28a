#include "agent/watch.h"

#include <sys/stat.h>

struct _KvgWatch {
    GPtrArray *paths;
    char *known; /* how they were when they were taken notice of */
    char *last;  /* how they were at the last look */
};

/* What changes with the content, or with what the path leads to. */
static void
append_state(GString *out, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        g_string_append(out, "-;");
    else
        g_string_append_printf(out, "%llx/%llx/%llx/%llx.%lx/%llx.%lx;",
                               (unsigned long long)info.st_dev, (unsigned long long)info.st_ino,
                               (unsigned long long)info.st_size,
                               (unsigned long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
                               (unsigned long long)info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

static char *
look(const KvgWatch *watch)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < watch->paths->len; i++)
        append_state(out, g_ptr_array_index(watch->paths, i));
    return g_string_free(out, FALSE);
}

KvgWatch *
kvg_watch_new(void)
{
    KvgWatch *watch = g_new0(KvgWatch, 1);
    watch->paths = g_ptr_array_new_with_free_func(g_free);
    return watch;
}

void
kvg_watch_free(KvgWatch *watch)
{
    g_ptr_array_unref(watch->paths);
    g_free(watch->known);
    g_free(watch->last);
    g_free(watch);
}

void
kvg_watch_set(KvgWatch *watch, const KvgConfig *config)
{
    GHashTableIter at;
    void *path;
    g_ptr_array_set_size(watch->paths, 0);
    g_ptr_array_add(watch->paths, g_strdup(config->path));
    g_hash_table_iter_init(&at, config->files);
    while (g_hash_table_iter_next(&at, &path, NULL))
        g_ptr_array_add(watch->paths, g_strdup(path));
    g_free(watch->known);
    watch->known = look(watch);
    g_free(watch->last);
    watch->last = g_strdup(watch->known);
}

bool
kvg_watch_tick(KvgWatch *watch)
{
    char *now = look(watch);
    const bool is_settled = g_strcmp0(now, watch->last) == 0;
    g_free(watch->last);
    watch->last = now;
    if (!is_settled || g_strcmp0(now, watch->known) == 0)
        return false;
    g_free(watch->known);
    watch->known = g_strdup(now);
    return true;
}
