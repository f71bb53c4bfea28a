/* Binding and stepping; see sql.h. A failing statement is logged here, once, so that callers only
 * see "no row" or -1. */
#include "server/state/sql.h"

#include "os/log.h"
#include <stdarg.h>

#define LOG_DOMAIN "server-state"

static void
log_failure(sqlite3 *db, const char *sql)
{
    KVG_LOG_WARNING(LOG_DOMAIN, "SQL", sql, "state.db: %s", sqlite3_errmsg(db));
}

static int
bind_all(sqlite3_stmt *statement, const char *types, va_list args)
{
    int status = SQLITE_OK;
    for (int i = 0; types[i] != '\0' && status == SQLITE_OK; i++) {
        if (types[i] == 't') {
            status =
                sqlite3_bind_text(statement, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        } else if (types[i] == 'i') {
            status = sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t));
        } else {
            const void *bytes = va_arg(args, const void *);
            status = sqlite3_bind_blob(statement, i + 1, bytes, va_arg(args, int), SQLITE_STATIC);
        }
    }
    return status;
}

static KvgStatement
prepare(sqlite3 *db, const char *sql, const char *types, va_list args)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        bind_all(statement, types, args) != SQLITE_OK) {
        log_failure(db, sql);
        sqlite3_finalize(statement);
        return NULL;
    }
    return statement;
}

KvgStatement
kvg_sql_query(sqlite3 *db, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    KvgStatement statement = prepare(db, sql, types, args);
    va_end(args);
    return statement;
}

bool
kvg_sql_step(KvgStatement statement)
{
    if (statement == NULL)
        return false;
    const int status = sqlite3_step(statement);
    if (status != SQLITE_ROW && status != SQLITE_DONE)
        log_failure(sqlite3_db_handle(statement), sqlite3_sql(statement));
    return status == SQLITE_ROW;
}

int
kvg_sql_run(sqlite3 *db, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    g_auto(KvgStatement) statement = prepare(db, sql, types, args);
    va_end(args);
    if (statement == NULL)
        return -1;
    if (sqlite3_step(statement) != SQLITE_DONE) {
        log_failure(db, sql);
        return -1;
    }
    return sqlite3_changes(db);
}

char *
kvg_sql_text(sqlite3 *db, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    g_auto(KvgStatement) statement = prepare(db, sql, types, args);
    va_end(args);
    return kvg_sql_step(statement) ? g_strdup((const char *)sqlite3_column_text(statement, 0))
                                   : NULL;
}

int64_t
kvg_sql_int(sqlite3 *db, int64_t fallback, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    g_auto(KvgStatement) statement = prepare(db, sql, types, args);
    va_end(args);
    return kvg_sql_step(statement) ? sqlite3_column_int64(statement, 0) : fallback;
}

const char *
kvg_sql_column(KvgStatement statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text != NULL ? text : "";
}
