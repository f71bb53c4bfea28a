#include "server/maintain.h"

#include "os/file.h"
#include "server/store/care.h"
#include <kvg/error.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SMALL_BYTES 65536

bool
kvg_server_maintains(const KvgServerArguments *a)
{
    return a->does_check || a->does_repair || a->does_compact || a->backup_path != NULL;
}

static void
say_line(const char *line, void *user_data)
{
    printf("%s\n", line);
}

static bool
check(const KvgStoreOptions *store, GError **error)
{
    KvgStoreCheck result;
    if (!kvg_store_check(store, &result, say_line, NULL, error))
        return false;
    if (result.damaged + result.not_listed + result.not_there == 0)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT,
                        "not all is well; --repair makes the index again from what is whole");
    return false;
}

static bool
compact(const KvgStoreOptions *store, GError **error)
{
    uint64_t freed_bytes;
    if (!kvg_store_compact(store, &freed_bytes, say_line, NULL, error))
        return false;
    printf("%" G_GUINT64_FORMAT " bytes freed\n", freed_bytes);
    return true;
}

/* ---- backup ---- */

/* A whole copy of the database as of one moment, whoever writes it. */
static bool
copy_state(const char *from, const char *to, GError **error)
{
    sqlite3 *db = NULL;
    g_autofree char *failure = NULL;
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", to);
    if (sqlite3_open_v2(from, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(db, 10000) != SQLITE_OK ||
        sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        failure = g_strdup(sqlite3_errmsg(db));
    sqlite3_free(sql);
    sqlite3_close(db);
    if (failure == NULL && chmod(to, 0600) == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", from,
                failure != NULL ? failure : "the copy's mode cannot be set");
    return false;
}

static bool
copy_file(const char *from_folder, const char *to_folder, const char *name, GError **error)
{
    g_autofree char *from = g_build_filename(from_folder, name, NULL);
    g_autofree char *to = g_build_filename(to_folder, name, NULL);
    size_t len;
    g_autofree char *content = kvg_file_read(from, MAX_SMALL_BYTES, &len, error);
    const unsigned mode = g_str_has_suffix(name, ".pem") ? 0644 : 0600;
    return content != NULL && kvg_file_replace(to, content, len, mode, error);
}

static bool
back_up(const KvgServerArguments *a, const KvgStoreOptions *store, GError **error)
{
    static const char *const files[] = {"ca.pem", "ca.key", "credentials"};
    if (g_file_test(a->backup_path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s is there already; give a new folder",
                    a->backup_path);
        return false;
    }
    g_autofree char *from_state = g_build_filename(a->data_path, "state.db", NULL);
    g_autofree char *to_state = g_build_filename(a->backup_path, "state.db", NULL);
    g_autofree char *to_store = g_build_filename(a->backup_path, "store", NULL);
    if (!kvg_dir_make(a->backup_path, 0700, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (!copy_file(a->data_path, a->backup_path, files[i], error))
            return false;
    }
    /* The streams last, so that the copy knows every stream whose video it holds. */
    if (!kvg_store_backup(store, to_store, error) || !copy_state(from_state, to_state, error))
        return false;
    printf("copied to %s\n", a->backup_path);
    return true;
}

int
kvg_server_maintain(const KvgServerArguments *a)
{
    g_autofree char *path = g_build_filename(a->data_path, "store", NULL);
    const KvgStoreOptions store = {.path = path};
    g_autoptr(GError) error = NULL;
    if ((!a->does_repair || kvg_store_repair(&store, &error)) &&
        (!a->does_compact || compact(&store, &error)) &&
        (a->backup_path == NULL || back_up(a, &store, &error)) &&
        (!a->does_check || check(&store, &error)))
        return EXIT_SUCCESS;
    fprintf(stderr, "kvg-server: %s\n", error->message);
    return EXIT_FAILURE;
}
