/* SQLite with one line per statement: parameters by a type string, statements closed by scope. */
#pragma once

#include <glib.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* A prepared statement that finalizes itself: g_auto(KvgStatement) rows = ... */
typedef sqlite3_stmt *KvgStatement;
static inline void
kvg_statement_clear(KvgStatement *statement)
{
    sqlite3_finalize(*statement);
    *statement = NULL;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgStatement, kvg_statement_clear)

/* Prepares @sql and binds ?1, ?2, ... by @types: 't' const char * (NULL binds NULL), 'i' int64_t,
 * 'b' const void * followed by int length. Text must live until the statement ends. NULL and a
 * warning in the log on failure; every step function below takes NULL. */
KvgStatement kvg_sql_query(sqlite3 *db, const char *sql, const char *types, ...);
/* Whether there is a (further) row. */
bool kvg_sql_step(KvgStatement statement);
/* Runs a statement without rows: the number of changed rows, or -1. */
int kvg_sql_run(sqlite3 *db, const char *sql, const char *types, ...);
/* First column of the first row as text (g_free), or NULL. */
char *kvg_sql_text(sqlite3 *db, const char *sql, const char *types, ...);
/* First column of the first row, or @fallback. */
int64_t kvg_sql_int(sqlite3 *db, int64_t fallback, const char *sql, const char *types, ...);
/* Column as text, "" for NULL; valid until the next step. */
const char *kvg_sql_column(KvgStatement statement, int column);
