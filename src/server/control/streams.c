/* Streams in state.db, and the expiry of their fragments. A deleted stream leaves its ARN behind
 * until the store has no more of it, so a crash between the two loses no disk space. */
#include "server/control/streams.h"

#include "base/clock.h"
#include <kvg/error.h>
#include <string.h>

#define HOUR_MS (INT64_C(3600) * 1000)

/* A change of a stream takes time: until change_ends_ms its status is what change says. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS stream (name TEXT PRIMARY KEY, arn TEXT NOT NULL UNIQUE,"
    " version TEXT NOT NULL, media_type TEXT, device_name TEXT, kms_key_id TEXT,"
    " created_ms INTEGER NOT NULL, retention_hours INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS stream_tag (arn TEXT NOT NULL, key TEXT NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (arn, key)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS deleted_stream (arn TEXT PRIMARY KEY) WITHOUT ROWID;"
    /* kind: image, notification, edge; hub: of edge, the device it is for */
    "CREATE TABLE IF NOT EXISTS stream_configuration (arn TEXT NOT NULL, kind TEXT NOT NULL,"
    " hub TEXT, document TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,"
    " PRIMARY KEY (arn, kind)) WITHOUT ROWID;";
/* Tables of an older kvg-server lack these. */
static const char second_schema[] =
    "ALTER TABLE stream ADD COLUMN storage_tier TEXT NOT NULL DEFAULT 'HOT';"
    "ALTER TABLE stream ADD COLUMN change TEXT;"
    "ALTER TABLE stream ADD COLUMN change_ends_ms INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX stream_being_deleted ON stream (change_ends_ms) WHERE change = 'DELETING';";

bool
kvg_control_open(KvgServer *server, GError **error)
{
    static const char has_second[] =
        "SELECT count(*) FROM pragma_table_info('stream') WHERE name = 'storage_tier'";
    sqlite3 *db = kvg_state_lock(server->state);
    const bool is_done = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
                         sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK &&
                         (kvg_sql_int(db, 0, has_second, "") == 1 ||
                          sqlite3_exec(db, second_schema, NULL, NULL, NULL) == SQLITE_OK) &&
                         sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (!is_done)
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "state.db: %s", sqlite3_errmsg(db));
    kvg_state_unlock(server->state);
    return is_done;
}

void
kvg_stream_info_clear(KvgStreamInfo *info)
{
    g_free(info->name);
    g_free(info->arn);
    g_free(info->version);
    g_free(info->media_type);
    g_free(info->device_name);
    g_free(info->kms_key_id);
    g_free(info->status);
    g_free(info->storage_tier);
    memset(info, 0, sizeof *info);
}

char *
kvg_stream_new_version(void)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *version = g_malloc0(21);
    for (size_t i = 0; i < 20; i++)
        version[i] = letters[g_random_int_range(0, (gint32)sizeof letters - 1)];
    return version;
}

static char *
optional_text(KvgStatement row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL ? NULL
                                                           : g_strdup(kvg_sql_column(row, column));
}

void
kvg_stream_from_row(KvgStatement row, int64_t now_ms, KvgStreamInfo *info)
{
    const int64_t left_ms = sqlite3_column_int64(row, 10) - now_ms;
    const bool is_changing = left_ms > 0 && left_ms <= KVG_STREAM_CHANGE_MAX_MS;
    *info = (KvgStreamInfo){
        .name = g_strdup(kvg_sql_column(row, 0)),
        .arn = g_strdup(kvg_sql_column(row, 1)),
        .version = g_strdup(kvg_sql_column(row, 2)),
        .media_type = optional_text(row, 3),
        .device_name = optional_text(row, 4),
        .kms_key_id = optional_text(row, 5),
        .created_ms = sqlite3_column_int64(row, 6),
        .retention_hours = sqlite3_column_int64(row, 7),
        .storage_tier = g_strdup(kvg_sql_column(row, 8)),
        .status = g_strdup(is_changing ? kvg_sql_column(row, 9) : "ACTIVE"),
    };
}

bool
kvg_stream_find(sqlite3 *db, const char *name, const char *arn, int64_t now_ms, KvgStreamInfo *info)
{
    memset(info, 0, sizeof *info);
    if (!name && !arn)
        return false;
    g_auto(KvgStatement) row =
        kvg_sql_query(db,
                      "SELECT " KVG_STREAM_COLUMNS " FROM stream"
                      " WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR arn = ?2)",
                      "tt", name, arn);
    if (!kvg_sql_step(row))
        return false;
    kvg_stream_from_row(row, now_ms, info);
    return true;
}

bool
kvg_stream_begin_change(sqlite3 *db, const char *arn, const char *change, int64_t ends_ms)
{
    g_autofree char *version = kvg_stream_new_version();
    return kvg_sql_run(db,
                       "UPDATE stream SET version = ?2, change = ?3, change_ends_ms = ?4"
                       " WHERE arn = ?1",
                       "ttti", arn, version, change, ends_ms) == 1;
}

static bool
forget(sqlite3 *db, const char *arn)
{
    static const char *const statements[] = {
        "INSERT OR IGNORE INTO deleted_stream (arn) VALUES (?1)",
        "DELETE FROM stream_tag WHERE arn = ?1",
        "DELETE FROM stream_configuration WHERE arn = ?1",
        "DELETE FROM stream WHERE arn = ?1",
    };
    bool is_done = sqlite3_exec(db, "SAVEPOINT forget", NULL, NULL, NULL) == SQLITE_OK;
    for (size_t i = 0; i < G_N_ELEMENTS(statements) && is_done; i++)
        is_done = kvg_sql_run(db, statements[i], "t", arn) >= 0;
    if (!is_done)
        sqlite3_exec(db, "ROLLBACK TO forget", NULL, NULL, NULL);
    return sqlite3_exec(db, "RELEASE forget", NULL, NULL, NULL) == SQLITE_OK && is_done;
}

void
kvg_stream_finish_deletions(sqlite3 *db, int64_t now_ms)
{
    for (;;) {
        g_autofree char *arn = kvg_sql_text(db,
                                            "SELECT arn FROM stream WHERE change = 'DELETING'"
                                            " AND (change_ends_ms <= ?1 OR change_ends_ms > ?2)",
                                            "ii", now_ms, now_ms + KVG_STREAM_CHANGE_MAX_MS);
        if (!arn || !forget(db, arn))
            return;
    }
}

bool
kvg_control_find_stream(KvgServer *server, const char *name, const char *arn, KvgStreamInfo *info)
{
    const int64_t now_ms = kvg_clock_wall_ms();
    sqlite3 *db = kvg_state_lock(server->state);
    kvg_stream_finish_deletions(db, now_ms);
    const bool is_found =
        kvg_stream_find(db, name, arn, now_ms, info) &&
        (strcmp(info->status, "ACTIVE") == 0 || strcmp(info->status, "UPDATING") == 0);
    kvg_state_unlock(server->state);
    if (!is_found)
        kvg_stream_info_clear(info);
    return is_found;
}

typedef struct {
    char *arn;
    int64_t before_ms;
    bool is_deleted;
} Expiry;

static void
expiry_clear(void *data)
{
    g_free(((Expiry *)data)->arn);
}

static GArray *
collect_expiries(KvgServer *server, int64_t now_ms)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(Expiry));
    g_array_set_clear_func(all, expiry_clear);
    sqlite3 *db = kvg_state_lock(server->state);
    kvg_stream_finish_deletions(db, now_ms);
    g_auto(KvgStatement) live = kvg_sql_query(db, "SELECT arn, retention_hours FROM stream", "");
    while (kvg_sql_step(live)) {
        const Expiry one = {.arn = g_strdup(kvg_sql_column(live, 0)),
                            .before_ms = now_ms - sqlite3_column_int64(live, 1) * HOUR_MS};
        g_array_append_val(all, one);
    }
    g_auto(KvgStatement) dead = kvg_sql_query(db, "SELECT arn FROM deleted_stream", "");
    while (kvg_sql_step(dead)) {
        const Expiry one = {
            .arn = g_strdup(kvg_sql_column(dead, 0)), .before_ms = INT64_MAX, .is_deleted = true};
        g_array_append_val(all, one);
    }
    kvg_state_unlock(server->state);
    return all;
}

/* The name in the ARN, unless a stream of that name was made anew. */
static void
forget_metrics(KvgServer *server, const char *arn)
{
    g_auto(GStrv) parts = g_strsplit(arn, "/", 3);
    g_auto(KvgStreamInfo) again = {0};
    if (g_strv_length(parts) == 3 && !kvg_control_find_stream(server, parts[1], NULL, &again))
        kvg_metrics_forget(server->metrics, parts[1]);
}

/* The clock outlives the process, or a restart would believe any jump. */
static int64_t
step_clock(KvgServer *server, KvgExpiryClock *clock, bool *is_held)
{
    const int64_t mono_ms = kvg_clock_mono_us() / 1000;
    sqlite3 *db = kvg_state_lock(server->state);
    if (!clock->has_started) {
        g_auto(KvgStatement) row =
            kvg_sql_query(db, "SELECT value FROM setting WHERE name = 'expiry-time'", "");
        if (kvg_sql_step(row))
            kvg_expiry_clock_resume(clock, sqlite3_column_int64(row, 0), mono_ms);
    }
    const int64_t now_ms = kvg_expiry_clock_step(clock, kvg_clock_wall_ms(), mono_ms, is_held);
    kvg_sql_run(db, "INSERT OR REPLACE INTO setting VALUES ('expiry-time', ?1)", "i", now_ms);
    kvg_state_unlock(server->state);
    return now_ms;
}

void
kvg_control_expire(KvgServer *server, KvgExpiryClock *clock)
{
    if (!server->store)
        return;
    bool is_held;
    const bool was_held = clock->jump_since_ms != 0;
    const int64_t now_ms = step_clock(server, clock, &is_held);
    if (is_held && !was_held)
        g_warning("the clock has jumped ahead; if it stays there for an hour, video expires by it");
    g_autoptr(GArray) all = collect_expiries(server, now_ms);
    for (guint i = 0; i < all->len; i++) {
        const Expiry *one = &g_array_index(all, Expiry, i);
        g_autoptr(GError) error = NULL;
        if (!kvg_store_expire(server->store, one->arn, one->before_ms, &error)) {
            g_warning("expire fragments of %s: %s", one->arn, error->message);
            continue;
        }
        if (!one->is_deleted)
            continue;
        forget_metrics(server, one->arn);
        kvg_sql_run(kvg_state_lock(server->state), "DELETE FROM deleted_stream WHERE arn = ?1", "t",
                    one->arn);
        kvg_state_unlock(server->state);
    }
}
