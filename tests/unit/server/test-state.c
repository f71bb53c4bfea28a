/* state.db: made private, reopened, refused when it comes from a newer program. */
#include "os/file.h"
#include "server/server.h"
#include "server/state/sql.h"
#include <kvg/error.h>
#include <sys/stat.h>

typedef struct {
    char *folder;
    char *path;
} Fixture;

static void
set_up(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    f->folder = g_dir_make_tmp("kvg-state-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->folder, "state.db", NULL);
}

static void
tear_down(Fixture *f, const void *unused)
{
    g_assert_true(kvg_dir_remove(f->folder, NULL));
    g_free(f->path);
    g_free(f->folder);
}

static void
test_private_and_durable(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    KvgState *state = kvg_state_open(f->path, &error);
    g_assert_no_error(error);
    sqlite3 *db = kvg_state_lock(state);
    g_assert_cmpint(kvg_sql_run(db, "INSERT INTO setting VALUES (?1, ?2)", "tb", "a", "xyz", 3), ==,
                    1);
    g_assert_cmpint(kvg_sql_int(db, -1, "PRAGMA synchronous", ""), ==, 2);
    g_autofree char *mode = kvg_sql_text(db, "PRAGMA journal_mode", "");
    g_assert_cmpstr(mode, ==, "wal");
    kvg_state_unlock(state);
    kvg_state_close(state);

    struct stat about;
    g_assert_cmpint(stat(f->path, &about), ==, 0);
    g_assert_cmpuint(about.st_mode & 0777, ==, 0600);

    state = kvg_state_open(f->path, &error);
    g_assert_no_error(error);
    db = kvg_state_lock(state);
    g_autofree char *value =
        kvg_sql_text(db, "SELECT value FROM setting WHERE name = ?1", "t", "a");
    g_assert_cmpstr(value, ==, "xyz");
    kvg_state_unlock(state);
    kvg_state_close(state);
}

static void
test_newer_schema(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    KvgState *state = kvg_state_open(f->path, &error);
    g_assert_no_error(error);
    sqlite3_exec(kvg_state_lock(state), "PRAGMA user_version = 99", NULL, NULL, NULL);
    kvg_state_unlock(state);
    kvg_state_close(state);
    g_assert_null(kvg_state_open(f->path, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_UNSUPPORTED);
}

/* A database of schema 1: the one user there was is the administrator, the key still works, and a
 * policy's document is its version 1. */
static void
test_older_schema(Fixture *f, const void *unused)
{
    static const char older[] =
        "INSERT INTO access_key (id, secret, user_name, user_id, created_ms)"
        " VALUES ('AKIA1', 's', 'administrator', 'AIDA1', 5);"
        "DROP TABLE fleet_template; DROP TABLE fleet_token; DROP TABLE policy_version; DROP TABLE "
        "policy_group; DROP TABLE thing_group_member;"
        "DROP TABLE thing_group; DROP TABLE iot_tag; ALTER TABLE certificate DROP COLUMN mode;"
        "ALTER TABLE certificate DROP COLUMN version;"
        "ALTER TABLE thing_certificate DROP COLUMN is_exclusive; DROP TABLE policy_certificate;"
        "DROP TABLE iot_policy; CREATE TABLE iot_policy (name TEXT PRIMARY KEY, document TEXT NOT"
        " NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
        "INSERT INTO iot_policy VALUES ('p', 'text', 7);"
        "DROP TABLE user_policy; DROP TABLE user_tag; DROP TABLE iam_user;"
        "ALTER TABLE access_key DROP COLUMN status; PRAGMA user_version = 1;";
    g_autoptr(GError) error = NULL;
    KvgState *state = kvg_state_open(f->path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(sqlite3_exec(kvg_state_lock(state), older, NULL, NULL, NULL), ==, SQLITE_OK);
    kvg_state_unlock(state);
    kvg_state_close(state);

    state = kvg_state_open(f->path, &error);
    g_assert_no_error(error);
    g_autofree char *user =
        kvg_sql_text(kvg_state_lock(state),
                     "SELECT name || iam_user.user_id || status || is_administrator FROM iam_user"
                     " JOIN access_key ON user_name = name WHERE id = 'AKIA1'",
                     "");
    kvg_state_unlock(state);
    g_autofree char *policy =
        kvg_sql_text(kvg_state_lock(state),
                     "SELECT v.document || v.version || default_version || last_version ||"
                     " modified_ms FROM iot_policy JOIN policy_version v ON policy = name",
                     "");
    kvg_state_unlock(state);
    kvg_state_close(state);
    g_assert_cmpstr(user, ==, "administratorAIDA1Active1");
    g_assert_cmpstr(policy, ==, "text1117");
}

static void
test_not_a_database(Fixture *f, const void *unused)
{
    g_autofree char *junk = g_strnfill(8192, 'x');
    g_assert_true(g_file_set_contents(f->path, junk, 8192, NULL));
    g_autoptr(GError) error = NULL;
    g_assert_null(kvg_state_open(f->path, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_FAILED);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/state/private-and-durable", Fixture, NULL, set_up, test_private_and_durable,
               tear_down);
    g_test_add("/state/newer-schema", Fixture, NULL, set_up, test_newer_schema, tear_down);
    g_test_add("/state/older-schema", Fixture, NULL, set_up, test_older_schema, tear_down);
    g_test_add("/state/not-a-database", Fixture, NULL, set_up, test_not_a_database, tear_down);
    return g_test_run();
}
