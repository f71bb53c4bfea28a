#include "cli/install.h"
#include "os/file.h"
#include <kvg/error.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES (16u * 1024 * 1024)

typedef struct {
    char *name, *path, *text;
    size_t len;
    unsigned mode;
    bool may_replace;
} Item;

struct _KvgInstall {
    char *folder;
    GPtrArray *items; /* Item */
};

static void
item_free(void *data)
{
    Item *item = data;
    explicit_bzero(item->text, item->len);
    g_free(item->text);
    g_free(item->name);
    g_free(item->path);
    g_free(item);
}

KvgInstall *
kvg_install_new(const char *folder)
{
    KvgInstall *install = g_new0(KvgInstall, 1);
    install->folder = g_strdup(folder);
    install->items = g_ptr_array_new_with_free_func(item_free);
    return install;
}

void
kvg_install_free(KvgInstall *install)
{
    if (install == NULL)
        return;
    g_ptr_array_unref(install->items);
    g_free(install->folder);
    g_free(install);
}

void
kvg_install_add(KvgInstall *install,
                const char *name,
                const char *text,
                size_t len,
                unsigned mode,
                bool may_replace)
{
    Item *item = g_new0(Item, 1);
    item->name = g_strdup(name);
    item->path =
        g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(install->folder, name, NULL);
    item->text = g_memdup2(text, len + 1);
    item->len = len;
    item->mode = mode;
    item->may_replace = may_replace;
    g_ptr_array_add(install->items, item);
}

GPtrArray *
kvg_install_names(const KvgInstall *install)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < install->items->len; i++)
        g_ptr_array_add(names, ((Item *)install->items->pdata[i])->name);
    return names;
}

static const char *
fate(const Item *item)
{
    struct stat info;
    if (lstat(item->path, &info) != 0)
        return "new";
    size_t len = 0;
    g_autofree char *text = kvg_file_read(item->path, MAX_FILE_BYTES, &len, NULL);
    const bool same = text != NULL && len == item->len && memcmp(text, item->text, len) == 0 &&
                      (info.st_mode & 0777 & ~item->mode) == 0;
    if (text != NULL)
        explicit_bzero(text, len);
    return same ? "unchanged" : "changed";
}

const char *
kvg_install_fate(const KvgInstall *install, const char *name)
{
    for (guint i = 0; i < install->items->len; i++) {
        const Item *item = g_ptr_array_index(install->items, i);
        if (strcmp(item->name, name) == 0)
            return fate(item);
    }
    return "unchanged";
}

bool
kvg_install_check(const KvgInstall *install, bool force, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < install->items->len && !force; i++) {
        const Item *item = g_ptr_array_index(install->items, i);
        if (!item->may_replace && strcmp(fate(item), "changed") == 0)
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", item->path);
    }
    if (names->len == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                "nothing was written: there with another content: %s; --force replaces them, "
                "--output takes another folder",
                names->str);
    return false;
}

static bool
write_item(const Item *item, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(item->path);
    const bool is_private = (item->mode & 0077) == 0;
    if (strcmp(fate(item), "unchanged") == 0)
        return true;
    return (g_file_test(folder, G_FILE_TEST_IS_DIR) ||
            kvg_dir_make(folder, is_private ? 0700 : 0755, error)) &&
           kvg_file_replace(item->path, item->text, item->len, item->mode, error);
}

bool
kvg_install_write(const KvgInstall *install, KvgInstallPart part, GError **error)
{
    const guint n = install->items->len - (part == KVG_INSTALL_ALL_BUT_LAST ? 1 : 0);
    for (guint i = 0; i < n; i++) {
        if (!write_item(install->items->pdata[i], error))
            return false;
    }
    return true;
}
