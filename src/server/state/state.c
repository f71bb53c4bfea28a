/* DIR/state.db: opening, the schema and its history, the one lock. What the tables mean is the
 * business of auth/ and iot/; control/ adds its own. The file holds secrets, so it is 0600.
 *
 * Schema history (PRAGMA user_version):
 *   1  settings, access keys, roles, things, certificates, IoT policies, role aliases
 *   2  IAM users beside the administrator, their policies and tags; keys may be inactive
 *   3  versions of IoT policies, thing groups, tags of the registry, certificates of other CAs
 *   4  provisioning templates and ownership tokens */
#include "server/server.h"

#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <pthread.h>
#include <sys/stat.h>

#define SCHEMA_VERSION 4
#define BUSY_TIMEOUT_MS 10000

struct _KvgState {
    pthread_mutex_t lock; /* db */
    sqlite3 *db;
};

static const char schema_1[] =
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE access_key (id TEXT PRIMARY KEY, secret TEXT NOT NULL, user_name TEXT NOT NULL,"
    " user_id TEXT NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    /* Role names are unique without regard to case. */
    "CREATE TABLE role (name TEXT PRIMARY KEY COLLATE NOCASE, role_id TEXT NOT NULL,"
    " path TEXT NOT NULL, description TEXT, trust TEXT NOT NULL,"
    " max_session_s INTEGER NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE role_policy (role TEXT NOT NULL COLLATE NOCASE REFERENCES role(name),"
    " name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (role, name)) WITHOUT ROWID;"
    "CREATE TABLE role_tag (role TEXT NOT NULL COLLATE NOCASE REFERENCES role(name) ON DELETE"
    " CASCADE, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (role, key)) WITHOUT ROWID;"
    "CREATE TABLE thing (name TEXT PRIMARY KEY, thing_id TEXT NOT NULL, type_name TEXT,"
    " attributes TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE certificate (id TEXT PRIMARY KEY, pem TEXT NOT NULL, status TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, not_before INTEGER NOT NULL,"
    " not_after INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE thing_certificate (thing TEXT NOT NULL REFERENCES thing(name),"
    " certificate TEXT NOT NULL REFERENCES certificate(id), PRIMARY KEY (thing, certificate))"
    " WITHOUT ROWID;"
    "CREATE INDEX thing_certificate_by_certificate ON thing_certificate (certificate, thing);"
    "CREATE TABLE iot_policy (name TEXT PRIMARY KEY, document TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE policy_certificate (policy TEXT NOT NULL REFERENCES iot_policy(name),"
    " certificate TEXT NOT NULL REFERENCES certificate(id), PRIMARY KEY (certificate, policy))"
    " WITHOUT ROWID;"
    "CREATE INDEX policy_certificate_by_policy ON policy_certificate (policy, certificate);"
    "CREATE TABLE role_alias (name TEXT PRIMARY KEY, role_arn TEXT NOT NULL,"
    " duration_s INTEGER NOT NULL, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

static const char schema_2[] =
    "CREATE TABLE iam_user (name TEXT PRIMARY KEY COLLATE NOCASE, user_id TEXT NOT NULL,"
    " path TEXT NOT NULL, created_ms INTEGER NOT NULL, is_administrator INTEGER NOT NULL DEFAULT 0)"
    " WITHOUT ROWID;"
    "INSERT INTO iam_user SELECT user_name, user_id, '/', created_ms, 1 FROM access_key LIMIT 1;"
    "ALTER TABLE access_key ADD COLUMN status TEXT NOT NULL DEFAULT 'Active';"
    "CREATE TABLE user_policy (user TEXT NOT NULL COLLATE NOCASE REFERENCES iam_user(name),"
    " name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;"
    "CREATE TABLE user_tag (user TEXT NOT NULL COLLATE NOCASE REFERENCES iam_user(name) ON DELETE"
    " CASCADE, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (user, key)) WITHOUT ROWID;"
    "PRAGMA user_version = 2;";

static const char schema_3[] =
    "CREATE TABLE policy_version (policy TEXT NOT NULL REFERENCES iot_policy(name) ON DELETE "
    "CASCADE,"
    " version INTEGER NOT NULL, document TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " PRIMARY KEY (policy, version)) WITHOUT ROWID;"
    "INSERT INTO policy_version SELECT name, 1, document, created_ms FROM iot_policy;"
    "ALTER TABLE iot_policy DROP COLUMN document;"
    "ALTER TABLE iot_policy ADD COLUMN default_version INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE iot_policy ADD COLUMN last_version INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE iot_policy ADD COLUMN modified_ms INTEGER NOT NULL DEFAULT 0;"
    "UPDATE iot_policy SET modified_ms = created_ms;"
    "CREATE TABLE thing_group (name TEXT PRIMARY KEY, group_id TEXT NOT NULL,"
    " parent TEXT REFERENCES thing_group(name), description TEXT NOT NULL, attributes TEXT NOT "
    "NULL,"
    " version INTEGER NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE thing_group_member (thing TEXT NOT NULL REFERENCES thing(name) ON DELETE CASCADE,"
    " thing_group TEXT NOT NULL REFERENCES thing_group(name) ON DELETE CASCADE,"
    " PRIMARY KEY (thing, thing_group)) WITHOUT ROWID;"
    "CREATE INDEX thing_group_member_by_group ON thing_group_member (thing_group, thing);"
    "CREATE TABLE policy_group (policy TEXT NOT NULL REFERENCES iot_policy(name),"
    " thing_group TEXT NOT NULL REFERENCES thing_group(name) ON DELETE CASCADE,"
    " PRIMARY KEY (thing_group, policy)) WITHOUT ROWID;"
    "CREATE TABLE iot_tag (arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (arn, key)) WITHOUT ROWID;"
    "ALTER TABLE certificate ADD COLUMN mode TEXT NOT NULL DEFAULT 'DEFAULT';"
    "ALTER TABLE certificate ADD COLUMN version INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE thing_certificate ADD COLUMN is_exclusive INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 3;";

static const char schema_4[] =
    "CREATE TABLE fleet_template (name TEXT PRIMARY KEY, body TEXT NOT NULL, role_arn TEXT NOT "
    "NULL,"
    " is_enabled INTEGER NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE fleet_token (token_digest TEXT PRIMARY KEY, certificate TEXT NOT NULL REFERENCES"
    " certificate(id) ON DELETE CASCADE, expires_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version = 4;";

static bool
execute(sqlite3 *db, const char *sql, GError **error)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "state.db: %s", sqlite3_errmsg(db));
    return false;
}

static int
user_version(sqlite3 *db)
{
    sqlite3_stmt *statement = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return version;
}

static bool
migrate(sqlite3 *db, GError **error)
{
    if (!execute(db, "BEGIN IMMEDIATE", error))
        return false;
    const int version = user_version(db);
    if (version < 0 || version > SCHEMA_VERSION) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED,
                    "state.db: schema version %d, this program knows up to %d", version,
                    SCHEMA_VERSION);
        return false;
    }
    if (version < 1 && !execute(db, schema_1, error))
        return false;
    if (version < 2 && !execute(db, schema_2, error))
        return false;
    if (version < 3 && !execute(db, schema_3, error))
        return false;
    if (version < 4 && !execute(db, schema_4, error))
        return false;
    return execute(db, "COMMIT", error);
}

/* SQLite would create the file by the umask. */
static bool
create_private(const char *path, GError **error)
{
    g_auto(KvgFd) fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && fchmod(fd, 0600) == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return false;
}

KvgState *
kvg_state_open(const char *path, GError **error)
{
    if (!create_private(path, error))
        return NULL;

    KvgState *state = g_new0(KvgState, 1);
    pthread_mutex_init(&state->lock, NULL);
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &state->db, flags, NULL) != SQLITE_OK) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", path, sqlite3_errmsg(state->db));
        kvg_state_close(state);
        return NULL;
    }
    sqlite3_busy_timeout(state->db, BUSY_TIMEOUT_MS);
    if (!execute(state->db,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                 "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
                 error) ||
        !migrate(state->db, error)) {
        g_prefix_error(error, "%s: ", path);
        kvg_state_close(state);
        return NULL;
    }
    return state;
}

void
kvg_state_close(KvgState *state)
{
    if (state == NULL)
        return;
    sqlite3_close_v2(state->db);
    pthread_mutex_destroy(&state->lock);
    g_free(state);
}

sqlite3 *
kvg_state_lock(KvgState *state)
{
    pthread_mutex_lock(&state->lock);
    return state->db;
}

void
kvg_state_unlock(KvgState *state)
{
    pthread_mutex_unlock(&state->lock);
}
