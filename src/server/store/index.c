/* Two connections, so that a list never waits for the writer's transaction (WAL). */
#include "server/store/index.h"
#include "os/log.h"
#include "server/state/sql.h"
#include <errno.h>
#include <kvg/error.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LOG_DOMAIN "server-store"
#define VERSION 2
#define NUMBER_DIGITS 47

/* Version 2. */
static const char SCHEMA[] =
    "CREATE TABLE stream(id INTEGER PRIMARY KEY, arn TEXT NOT NULL UNIQUE);"
    "CREATE TABLE fragment(stream INTEGER NOT NULL, number TEXT NOT NULL, server_ms INTEGER NOT "
    "NULL,"
    " producer_ms INTEGER NOT NULL, length_ms INTEGER NOT NULL, segment INTEGER NOT NULL,"
    " offset INTEGER NOT NULL, head_bytes INTEGER NOT NULL, header_len INTEGER NOT NULL,"
    " media_len INTEGER NOT NULL, crc INTEGER NOT NULL, header_id INTEGER NOT NULL, PRIMARY "
    "KEY(stream, number)) WITHOUT ROWID;"
    "CREATE INDEX by_server ON fragment(stream, server_ms);"
    "CREATE INDEX by_producer ON fragment(stream, producer_ms);"
    "CREATE INDEX by_segment ON fragment(segment);"
    "CREATE TABLE position(id INTEGER PRIMARY KEY CHECK(id = 1), segment INTEGER, offset INTEGER);"
    "INSERT INTO position VALUES(1, 0, 0);"
    "PRAGMA user_version = 2;";

#define COLUMNS                                                                                    \
    "number, server_ms, producer_ms, length_ms, segment, offset, head_bytes, header_len, "         \
    "media_len, crc, header_id"

struct _KvgStoreIndex {
    char *path;
    pthread_mutex_t write_lock, read_lock;
    sqlite3 *writer; /* under write_lock */
    sqlite3_stmt *insert;
    sqlite3 *reader; /* under read_lock */
};

static bool
fail(sqlite3 *db, GError **error)
{
    const int code = sqlite3_errcode(db);
    g_set_error(error, KVG_ERROR, code == SQLITE_FULL ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "index of the video store: %s", sqlite3_errmsg(db));
    return false;
}

static bool
execute(sqlite3 *db, const char *sql, GError **error)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(db, error);
}

static sqlite3 *
connect_to(const char *path, int flags, GError **error)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        execute(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", error)) {
        sqlite3_busy_timeout(db, 10000);
        return db;
    }
    if (error != NULL && *error == NULL)
        fail(db, error);
    sqlite3_close(db);
    return NULL;
}

/* Whether the file is a whole index of our version, making it if it is new. */
static bool
check(sqlite3 *db, GError **error)
{
    g_autofree char *verdict = kvg_sql_text(db, "PRAGMA quick_check(1)", "");
    if (g_strcmp0(verdict, "ok") != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "%s",
                    verdict != NULL ? verdict : sqlite3_errmsg(db));
        return false;
    }
    const int64_t version = kvg_sql_int(db, -1, "PRAGMA user_version", "");
    if (version == VERSION)
        return true;
    if (version == 0 && kvg_sql_int(db, 1, "SELECT count(*) FROM sqlite_schema", "") == 0)
        return execute(db, SCHEMA, error);
    g_set_error(error, KVG_ERROR, KVG_ERROR_CORRUPT, "version %d is not ours", (int)version);
    return false;
}

static void
move_aside(const char *path, const GError *why)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    KVG_LOG_WARNING(LOG_DOMAIN, "PATH", path,
                    "%s cannot be used (%s): moved to %s.damaged and made again from the log", path,
                    why->message, path);
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *from = g_strconcat(path, suffixes[i], NULL);
        g_autofree char *to = g_strconcat(path, ".damaged", suffixes[i], NULL);
        if (rename(from, to) < 0 && errno != ENOENT)
            unlink(from);
    }
}

static sqlite3 *
open_writer(const char *path, GError **error)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    g_autoptr(GError) why = NULL;
    sqlite3 *db = connect_to(path, flags, &why);
    if (db != NULL && check(db, &why))
        return db;
    sqlite3_close(db);
    move_aside(path, why);
    db = connect_to(path, flags, error);
    if (db != NULL && check(db, error))
        return db;
    sqlite3_close(db);
    return NULL;
}

KvgStoreIndex *
kvg_store_index_open(const char *path, GError **error)
{
    sqlite3 *writer = open_writer(path, error);
    if (writer == NULL)
        return NULL;
    g_autoptr(KvgStoreIndex) index = g_new0(KvgStoreIndex, 1);
    pthread_mutex_init(&index->write_lock, NULL);
    pthread_mutex_init(&index->read_lock, NULL);
    index->path = g_strdup(path);
    index->writer = writer;
    index->reader = connect_to(path, SQLITE_OPEN_READWRITE, error);
    if (index->reader == NULL)
        return NULL;
    const char insert[] = "INSERT OR REPLACE INTO fragment(stream, " COLUMNS ") VALUES("
                          "(SELECT id FROM stream WHERE arn = ?12),"
                          "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    if (sqlite3_prepare_v2(writer, insert, -1, &index->insert, NULL) != SQLITE_OK) {
        fail(writer, error);
        return NULL;
    }
    return g_steal_pointer(&index);
}

void
kvg_store_index_close(KvgStoreIndex *index)
{
    if (index == NULL)
        return;
    sqlite3_finalize(index->insert);
    sqlite3_close(index->reader);
    sqlite3_close(index->writer);
    pthread_mutex_destroy(&index->write_lock);
    pthread_mutex_destroy(&index->read_lock);
    g_free(index->path);
    g_free(index);
}

KvgLogPosition
kvg_store_index_position(KvgStoreIndex *index)
{
    KvgLogPosition position = {0};
    pthread_mutex_lock(&index->write_lock);
    {
        g_auto(KvgStatement) row =
            kvg_sql_query(index->writer, "SELECT segment, offset FROM position", "");
        if (kvg_sql_step(row)) {
            position.segment = (uint64_t)sqlite3_column_int64(row, 0);
            position.offset = (uint64_t)sqlite3_column_int64(row, 1);
        }
    }
    pthread_mutex_unlock(&index->write_lock);
    return position;
}

void
kvg_store_index_forget(KvgStoreIndex *index)
{
    pthread_mutex_lock(&index->write_lock);
    kvg_sql_run(index->writer, "DELETE FROM fragment", "");
    kvg_sql_run(index->writer, "UPDATE position SET segment = 0, offset = 0", "");
    pthread_mutex_unlock(&index->write_lock);
}

static bool
insert_record(KvgStoreIndex *index, const KvgLogRecord *record, GError **error)
{
    if (kvg_sql_run(index->writer, "INSERT OR IGNORE INTO stream(arn) VALUES(?1)", "t",
                    record->stream_arn) < 0)
        return fail(index->writer, error);
    sqlite3_stmt *insert = index->insert;
    const int64_t values[] = {record->info.server_ms,       record->info.producer_ms,
                              record->info.length_ms,       (int64_t)record->at.segment,
                              (int64_t)record->at.offset,   record->head_bytes,
                              record->header_len,           record->media_len,
                              (int64_t)record->payload_crc, record->info.header_id};
    sqlite3_bind_text(insert, 1, record->info.number, -1, SQLITE_STATIC);
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        sqlite3_bind_int64(insert, (int)i + 2, values[i]);
    sqlite3_bind_text(insert, 12, record->stream_arn, -1, SQLITE_STATIC);
    const bool ok = sqlite3_step(insert) == SQLITE_DONE || fail(index->writer, error);
    sqlite3_reset(insert);
    return ok;
}

static bool
add_all(KvgStoreIndex *index, const GArray *records, KvgLogPosition position, GError **error)
{
    if (!execute(index->writer, "BEGIN IMMEDIATE", error))
        return false;
    for (guint i = 0; i < records->len; i++) {
        if (!insert_record(index, &g_array_index(records, KvgLogRecord, i), error))
            return false;
    }
    if (kvg_sql_run(index->writer, "UPDATE position SET segment = ?1, offset = ?2", "ii",
                    (int64_t)position.segment, (int64_t)position.offset) < 0)
        return fail(index->writer, error);
    return execute(index->writer, "COMMIT", error);
}

bool
kvg_store_index_add(KvgStoreIndex *index,
                    const GArray *records,
                    KvgLogPosition position,
                    GError **error)
{
    pthread_mutex_lock(&index->write_lock);
    const bool ok = add_all(index, records, position, error);
    if (!ok)
        sqlite3_exec(index->writer, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&index->write_lock);
    return ok;
}

static void
read_row(KvgStatement row, KvgLogRecord *record)
{
    *record = (KvgLogRecord){.info = {.server_ms = sqlite3_column_int64(row, 1),
                                      .producer_ms = sqlite3_column_int64(row, 2),
                                      .length_ms = sqlite3_column_int64(row, 3),
                                      .header_id = (uint32_t)sqlite3_column_int64(row, 10)},
                             .at = {.segment = (uint64_t)sqlite3_column_int64(row, 4),
                                    .offset = (uint64_t)sqlite3_column_int64(row, 5)},
                             .head_bytes = (uint32_t)sqlite3_column_int64(row, 6),
                             .header_len = (uint32_t)sqlite3_column_int64(row, 7),
                             .media_len = (uint32_t)sqlite3_column_int64(row, 8),
                             .payload_crc = (uint32_t)sqlite3_column_int64(row, 9)};
    record->info.size_bytes = (uint64_t)record->header_len + record->media_len;
    g_strlcpy(record->info.number, kvg_sql_column(row, 0), sizeof record->info.number);
}

/* The newest few are found by walking the primary key backwards (the '+' keeps the planner from the
 * time index); a range in the past by the time index. */
static const char *
list_sql(KvgStoreOrder order, bool newest)
{
#define LIST                                                                                       \
    "SELECT " COLUMNS " FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = ?1) "
    if (order == KVG_STORE_BY_SERVER_TIME)
        return newest ? LIST "AND +server_ms BETWEEN ?2 AND ?3 ORDER BY number DESC LIMIT ?4"
                      : LIST "AND server_ms BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4";
    return newest ? LIST "AND +producer_ms BETWEEN ?2 AND ?3 ORDER BY number DESC LIMIT ?4"
                  : LIST "AND producer_ms BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4";
#undef LIST
}

static void
reverse(GArray *infos)
{
    for (guint i = 0; i < infos->len / 2; i++) {
        KvgFragmentInfo *a = &g_array_index(infos, KvgFragmentInfo, i);
        KvgFragmentInfo *b = &g_array_index(infos, KvgFragmentInfo, infos->len - 1 - i);
        const KvgFragmentInfo kept = *a;
        *a = *b;
        *b = kept;
    }
}

/* Closes @row. */
static GArray *
read_infos(KvgStoreIndex *index, KvgStatement row, GError **error)
{
    GArray *infos = g_array_new(FALSE, FALSE, sizeof(KvgFragmentInfo));
    while (kvg_sql_step(row)) {
        KvgLogRecord record;
        read_row(row, &record);
        g_array_append_val(infos, record.info);
    }
    const int code = sqlite3_errcode(index->reader);
    if (row == NULL || (code != SQLITE_DONE && code != SQLITE_OK && code != SQLITE_ROW)) {
        fail(index->reader, error);
        g_clear_pointer(&infos, g_array_unref);
    }
    sqlite3_finalize(row);
    return infos;
}

GArray *
kvg_store_index_list(KvgStoreIndex *index,
                     const char *stream_arn,
                     KvgStoreOrder order,
                     int64_t from_ms,
                     int64_t to_ms,
                     size_t max,
                     bool newest,
                     GError **error)
{
    pthread_mutex_lock(&index->read_lock);
    GArray *infos =
        read_infos(index,
                   kvg_sql_query(index->reader, list_sql(order, newest), "tiii", stream_arn,
                                 from_ms, to_ms, (int64_t)MIN(max, (size_t)INT64_MAX)),
                   error);
    pthread_mutex_unlock(&index->read_lock);
    if (infos != NULL && newest)
        reverse(infos);
    return infos;
}

/* Numbers are compared as numbers: all of ours have 47 digits, an asked one may have any. */
GArray *
kvg_store_index_list_after(KvgStoreIndex *index,
                           const char *stream_arn,
                           KvgStoreOrder order,
                           int64_t from_ms,
                           int64_t to_ms,
                           const char *after,
                           size_t max,
                           GError **error)
{
    const char *sql =
        order == KVG_STORE_BY_SERVER_TIME
            ? "SELECT " COLUMNS " FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = "
              "?1) AND number > ?5 AND +server_ms BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4"
            : "SELECT " COLUMNS " FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = "
              "?1) AND number > ?5 AND +producer_ms BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4";
    const size_t len = strlen(after);
    const char *from = len < NUMBER_DIGITS ? "" : len > NUMBER_DIGITS ? ":" : after;
    pthread_mutex_lock(&index->read_lock);
    GArray *infos = read_infos(index,
                               kvg_sql_query(index->reader, sql, "tiiit", stream_arn, from_ms,
                                             to_ms, (int64_t)MIN(max, (size_t)INT64_MAX), from),
                               error);
    pthread_mutex_unlock(&index->read_lock);
    return infos;
}

bool
kvg_store_index_find(KvgStoreIndex *index,
                     const char *stream_arn,
                     const char *number,
                     KvgLogRecord *record)
{
    pthread_mutex_lock(&index->read_lock);
    bool found;
    {
        g_auto(KvgStatement) row = kvg_sql_query(
            index->reader,
            "SELECT " COLUMNS " FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = ?1)"
            " AND number = ?2",
            "tt", stream_arn, number);
        found = kvg_sql_step(row);
        if (found)
            read_row(row, record);
    }
    pthread_mutex_unlock(&index->read_lock);
    if (found)
        record->stream_arn = g_strdup(stream_arn);
    return found;
}

static bool
take_expired(KvgStoreIndex *index,
             const char *stream_arn,
             int64_t before_ms,
             size_t max,
             GArray *taken,
             GError **error)
{
    if (!execute(index->writer, "BEGIN IMMEDIATE", error))
        return false;
    {
        g_auto(KvgStatement) row = kvg_sql_query(
            index->writer,
            "SELECT " COLUMNS " FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = ?1)"
            " AND server_ms < ?2 ORDER BY server_ms LIMIT ?3",
            "tii", stream_arn, before_ms, (int64_t)max);
        while (kvg_sql_step(row)) {
            KvgLogRecord record;
            read_row(row, &record);
            record.stream_arn = g_strdup(stream_arn);
            g_array_append_val(taken, record);
        }
    }
    for (guint i = 0; i < taken->len; i++) {
        const KvgLogRecord *record = &g_array_index(taken, KvgLogRecord, i);
        if (kvg_sql_run(index->writer,
                        "DELETE FROM fragment WHERE stream = (SELECT id FROM stream WHERE arn = ?1)"
                        " AND number = ?2",
                        "tt", stream_arn, record->info.number) < 0)
            return fail(index->writer, error);
    }
    return execute(index->writer, "COMMIT", error);
}

GArray *
kvg_store_index_take_expired(
    KvgStoreIndex *index, const char *stream_arn, int64_t before_ms, size_t max, GError **error)
{
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE, sizeof(KvgLogRecord));
    g_array_set_clear_func(taken, kvg_log_record_destroy);
    pthread_mutex_lock(&index->write_lock);
    const bool ok = take_expired(index, stream_arn, before_ms, max, taken, error);
    if (!ok)
        sqlite3_exec(index->writer, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&index->write_lock);
    return ok ? g_steal_pointer(&taken) : NULL;
}

uint64_t
kvg_store_index_count(KvgStoreIndex *index)
{
    pthread_mutex_lock(&index->read_lock);
    const int64_t count = kvg_sql_int(index->reader, 0, "SELECT count(*) FROM fragment", "");
    pthread_mutex_unlock(&index->read_lock);
    return (uint64_t)count;
}

bool
kvg_store_index_uses(KvgStoreIndex *index, uint64_t segment)
{
    pthread_mutex_lock(&index->read_lock);
    const bool uses =
        kvg_sql_int(index->reader, 1, "SELECT EXISTS(SELECT 1 FROM fragment WHERE segment = ?1)",
                    "i", (int64_t)segment) != 0;
    pthread_mutex_unlock(&index->read_lock);
    return uses;
}
