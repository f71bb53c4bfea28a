/* See session.h. A token is base64 of version byte, nonce, ciphertext and tag; the access key is
 * authenticated with it, so a token works with its own key only. */
#include "server/auth/session.h"

#include "base/clock.h"
#include "base/json.h"
#include "os/file.h"
#include "server/state/gcm.h"
#include "server/state/sql.h"
#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define TOKEN_VERSION 1
#define OVERHEAD (1 + KVG_GCM_NONCE_BYTES + KVG_GCM_TAG_BYTES)
#define MAX_TOKEN_CHARS 8192

void
kvg_caller_clear(KvgCaller *caller)
{
    g_free(caller->principal_arn);
    g_free(caller->user_id);
    g_free(caller->user_name);
    g_free(caller->role_name);
    g_free(caller->role_arn);
    g_free(caller->session_policy);
    g_free(caller->thing_name);
    g_free(caller->certificate_id);
    g_free(caller->source_ip);
    memset(caller, 0, sizeof *caller);
}

void
kvg_session_keys_clear(KvgSessionKeys *keys)
{
    g_free(keys->access_key);
    if (keys->secret != NULL)
        OPENSSL_cleanse(keys->secret, strlen(keys->secret));
    g_free(keys->secret);
    g_free(keys->token);
    memset(keys, 0, sizeof *keys);
}

/* A server without random numbers must not issue keys; there is nothing better to do than stop. */
static void
random_bytes(uint8_t *bytes, int n)
{
    const int status = RAND_bytes(bytes, n);
    g_assert(status == 1);
}

char *
kvg_random_id(const char *prefix, size_t n)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    GString *id = g_string_new(prefix);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte;
        random_bytes(&byte, 1);
        g_string_append_c(id, alphabet[byte % 32]);
    }
    return g_string_free(id, false);
}

char *
kvg_random_secret(void)
{
    uint8_t bytes[30];
    random_bytes(bytes, sizeof bytes);
    char *secret = g_base64_encode(bytes, sizeof bytes);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return secret;
}

#define ADMINISTRATOR "administrator"

/* The key that seals tokens, the administrator, and a key of the administrator: whatever of them is
 * missing. */
bool
kvg_auth_open(KvgServer *server, GError **error)
{
    uint8_t key[KVG_GCM_KEY_BYTES];
    random_bytes(key, sizeof key);
    g_autofree char *id = kvg_random_id("AKIA", 16);
    g_autofree char *user_id = kvg_random_id("AIDA", 17);
    g_autofree char *secret = kvg_random_secret();
    const int64_t now_ms = kvg_clock_wall_ms();

    sqlite3 *db = kvg_state_lock(server->state);
    const bool ok =
        kvg_sql_run(db, "INSERT OR IGNORE INTO setting VALUES ('session-key', ?1)", "b", key,
                    KVG_GCM_KEY_BYTES) >= 0 &&
        kvg_sql_run(db,
                    "INSERT OR IGNORE INTO iam_user (name, user_id, path, created_ms,"
                    " is_administrator) VALUES ('" ADMINISTRATOR "', ?1, '/', ?2, 1)",
                    "ti", user_id, now_ms) >= 0 &&
        kvg_sql_run(db,
                    "INSERT INTO access_key (id, secret, user_name, user_id, created_ms)"
                    " SELECT ?1, ?2, name, user_id, ?3 FROM iam_user"
                    " WHERE name = '" ADMINISTRATOR "' AND NOT EXISTS (SELECT 1 FROM access_key"
                    " WHERE user_name = '" ADMINISTRATOR "' AND status = 'Active')",
                    "tti", id, secret, now_ms) >= 0;
    kvg_state_unlock(server->state);
    OPENSSL_cleanse(key, sizeof key);
    if (!ok)
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "state.db: cannot store keys");
    return ok;
}

bool
kvg_auth_write_credentials(KvgServer *server, const char *path, GError **error)
{
    g_autofree char *id = NULL, *secret = NULL;
    sqlite3 *db = kvg_state_lock(server->state);
    {
        g_auto(KvgStatement) row =
            kvg_sql_query(db,
                          "SELECT id, secret FROM access_key WHERE user_name = '" ADMINISTRATOR
                          "' AND status = 'Active' ORDER BY created_ms LIMIT 1",
                          "");
        if (kvg_sql_step(row)) {
            id = g_strdup(kvg_sql_column(row, 0));
            secret = g_strdup(kvg_sql_column(row, 1));
        }
    }
    kvg_state_unlock(server->state);
    if (id == NULL) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "state.db: no access key");
        return false;
    }
    g_autofree char *text = g_strdup_printf(
        "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret);
    return kvg_file_replace(path, text, strlen(text), 0600, error);
}

static bool
sealing_key(KvgServer *server, uint8_t key[KVG_GCM_KEY_BYTES])
{
    sqlite3 *db = kvg_state_lock(server->state);
    bool found = false;
    {
        g_auto(KvgStatement) row =
            kvg_sql_query(db, "SELECT value FROM setting WHERE name = 'session-key'", "");
        found = kvg_sql_step(row) && sqlite3_column_bytes(row, 0) == KVG_GCM_KEY_BYTES;
        if (found)
            memcpy(key, sqlite3_column_blob(row, 0), KVG_GCM_KEY_BYTES);
    }
    kvg_state_unlock(server->state);
    return found;
}

static bool
seal(const uint8_t key[KVG_GCM_KEY_BYTES], const char *access_key, const char *text, uint8_t *out)
{
    const KvgGcmPiece piece = {text, strlen(text)};
    uint8_t *nonce = out + 1, *body = nonce + KVG_GCM_NONCE_BYTES;
    out[0] = TOKEN_VERSION;
    return kvg_gcm_seal(key, access_key, &piece, 1, nonce, body, body + piece.len);
}

/* @text: room for a NUL more than the token holds. */
static bool
unseal(const uint8_t key[KVG_GCM_KEY_BYTES],
       const char *access_key,
       const uint8_t *sealed,
       size_t len,
       char *text)
{
    const size_t text_len = len - OVERHEAD;
    const uint8_t *nonce = sealed + 1, *body = nonce + KVG_GCM_NONCE_BYTES;
    text[text_len] = '\0';
    return kvg_gcm_unseal(key, access_key, nonce, body + text_len, body, text_len, (uint8_t *)text);
}

bool
kvg_session_issue(KvgServer *server,
                  const KvgSessionSpec *spec,
                  KvgSessionKeys *keys,
                  GError **error)
{
    keys->access_key = kvg_random_id("ASIA", 16);
    keys->secret = kvg_random_secret();
    keys->expires_ms = spec->expires_ms;
    g_autoptr(json_t) claims =
        json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s*, s:s*, s:s*, s:I, s:I}", "s", keys->secret, "r",
                  spec->role_name, "i", spec->role_id, "n", spec->session_name, "a", spec->role_arn,
                  "t", spec->thing_name, "c", spec->certificate_id, "p", spec->policy, "b",
                  (json_int_t)kvg_clock_wall_ms(), "e", (json_int_t)spec->expires_ms);
    g_autofree char *text = claims != NULL ? kvg_json_to_text(claims) : NULL;
    uint8_t key[KVG_GCM_KEY_BYTES];
    if (text == NULL || strlen(text) > MAX_TOKEN_CHARS / 4 * 3 - OVERHEAD ||
        !sealing_key(server, key)) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "cannot issue a session token");
        return false;
    }
    const size_t len = strlen(text) + OVERHEAD;
    g_autofree uint8_t *sealed = g_malloc0(len);
    const bool ok = seal(key, keys->access_key, text, sealed);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(text, strlen(text));
    if (!ok) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_FAILED, "cannot seal a session token");
        return false;
    }
    keys->token = g_base64_encode(sealed, len);
    return true;
}

static bool
read_claims(
    KvgServer *server, const char *text, KvgCaller *caller, char **secret, int64_t *expires_ms)
{
    g_autoptr(json_t) claims = kvg_json_parse_object(text, strlen(text), NULL);
    if (claims == NULL)
        return false;
    const char *session = kvg_json_get_string(claims, "n");
    const char *role_id = kvg_json_get_string(claims, "i");
    caller->role_name = g_strdup(kvg_json_get_string(claims, "r"));
    *secret = g_strdup(kvg_json_get_string(claims, "s"));
    *expires_ms = kvg_json_get_int(claims, "e", 0);
    if (session == NULL || role_id == NULL || caller->role_name == NULL || *secret == NULL)
        return false;
    caller->thing_name = g_strdup(kvg_json_get_string(claims, "t"));
    caller->certificate_id = g_strdup(kvg_json_get_string(claims, "c"));
    caller->role_arn = g_strdup(kvg_json_get_string(claims, "a"));
    caller->session_policy = g_strdup(kvg_json_get_string(claims, "p"));
    caller->issued_ms = kvg_json_get_int(claims, "b", 0);
    caller->user_id = g_strdup_printf("%s:%s", role_id, session);
    caller->principal_arn = g_strdup_printf("arn:aws:sts::%s:assumed-role/%s/%s", server->account,
                                            caller->role_name, session);
    return true;
}

bool
kvg_session_open(KvgServer *server,
                 const char *access_key,
                 const char *token,
                 KvgCaller *caller,
                 char **secret,
                 int64_t *expires_ms)
{
    if (strlen(token) > MAX_TOKEN_CHARS)
        return false;
    size_t len = 0;
    g_autofree uint8_t *sealed = g_base64_decode(token, &len);
    uint8_t key[KVG_GCM_KEY_BYTES];
    if (sealed == NULL || len <= OVERHEAD || sealed[0] != TOKEN_VERSION ||
        !sealing_key(server, key))
        return false;
    g_autofree char *text = g_malloc0(len);
    const bool ok = unseal(key, access_key, sealed, len, text) &&
                    read_claims(server, text, caller, secret, expires_ms);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(text, len);
    return ok;
}
