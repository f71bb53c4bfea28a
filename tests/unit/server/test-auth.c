/* SigV4 verification: what is accepted, and the name of every refusal. Requests are signed by the
 * signer the clients use, then spoilt one way at a time. */
#include "os/file.h"
#include "server/auth/session.h"
#include "server/auth/verify.h"
#include "server/state/sql.h"
#include <string.h>

#define NOW_MS 1716208496000 /* 20240520T123456Z */
#define DATE "20240520T123456Z"

typedef struct {
    char *folder;
    KvgServer server;
    char *id, *secret;
} Fixture;

static void
set_up(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    f->folder = g_dir_make_tmp("kvg-auth-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *path = g_build_filename(f->folder, "state.db", NULL);
    f->server = (KvgServer){.region = "us-east-1", .account = "123456789012"};
    f->server.state = kvg_state_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(kvg_auth_open(&f->server, &error));
    sqlite3 *db = kvg_state_lock(f->server.state);
    f->id = kvg_sql_text(db, "SELECT id FROM access_key", "");
    f->secret = kvg_sql_text(db, "SELECT secret FROM access_key", "");
    kvg_state_unlock(f->server.state);
}

static void
tear_down(Fixture *f, const void *unused)
{
    kvg_state_close(f->server.state);
    g_assert_true(kvg_dir_remove(f->folder, NULL));
    g_free(f->folder);
    g_free(f->id);
    g_free(f->secret);
}

/* One way to sign; zero members mean the right value. */
typedef struct {
    const char *label;
    const char *id, *secret, *token, *region, *service, *date, *sent_path;
    bool without_host;
    KvgAuthResult expected;
    const char *message; /* its beginning */
} Case;

static KvgAuthResult
check(Fixture *f, const Case *c, KvgCaller *caller, char **message)
{
    const char *date = c->date != NULL ? c->date : DATE;
    const KvgHeader signed_headers[] = {{"x-amz-date", date}, {"host", "localhost:9443"}};
    const KvgSigv4Request request = {
        .method = "POST",
        .path = "/describeStream",
        .headers = signed_headers,
        .n_headers = c->without_host ? 1 : 2,
        .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
        .amz_date = date,
        .region = c->region != NULL ? c->region : "us-east-1",
        .service = c->service != NULL ? c->service : "kinesisvideo",
    };
    g_autofree char *authorization = kvg_sigv4_authorization(
        &request, c->id != NULL ? c->id : f->id, c->secret != NULL ? c->secret : f->secret);
    const KvgHeader headers[] = {{"Host", "localhost:9443"},
                                 {"X-Amz-Date", date},
                                 {"Authorization", authorization},
                                 {"X-Amz-Security-Token", c->token}};
    const KvgAuthRequest sent = {.method = "POST",
                                 .path = c->sent_path != NULL ? c->sent_path : "/describeStream",
                                 .headers = headers,
                                 .n_headers = c->token != NULL ? 4 : 3,
                                 .body_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                 .service = "kinesisvideo",
                                 .now_ms = NOW_MS};
    return kvg_auth_check(&f->server, &sent, caller, message);
}

static const Case cases[] = {
    {.label = "good"},
    {.label = "five minutes early", .date = "20240520T123956Z"},
    {.label = "too early",
     .date = "20240520T123957Z",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "Signature not yet current: "},
    {.label = "too late",
     .date = "20240520T122955Z",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "Signature expired: 20240520T122955Z is now earlier than 20240520T122956Z "
                "(20240520T123456Z - 5 min.)"},
    {.label = "wrong secret",
     .secret = "nonsense",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "The request signature we calculated"},
    {.label = "other path",
     .sent_path = "/deleteStream",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "The request signature we calculated"},
    {.label = "unknown key",
     .id = "AKIAAAAAAAAAAAAAAAAA",
     .expected = KVG_AUTH_UNKNOWN_KEY,
     .message = "The security token included in the request is invalid."},
    {.label = "token that is none",
     .token = "bm9uc2Vuc2U=",
     .expected = KVG_AUTH_UNKNOWN_KEY,
     .message = "The security token included in the request is invalid."},
    {.label = "other region",
     .region = "eu-west-1",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "Credential should be scoped to a valid Region"},
    {.label = "other service",
     .service = "s3",
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "Credential should be scoped to correct service: 'kinesisvideo'."},
    {.label = "host not signed",
     .without_host = true,
     .expected = KVG_AUTH_BAD_SIGNATURE,
     .message = "'Host' must be a 'SignedHeader'"},
};

static void
test_header(Fixture *f, const void *unused)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(KvgCaller) caller = {0};
        g_autofree char *message = NULL;
        g_test_message("%s", cases[i].label);
        g_assert_cmpint(check(f, &cases[i], &caller, &message), ==, cases[i].expected);
        if (cases[i].message != NULL && !g_str_has_prefix(message, cases[i].message))
            g_assert_cmpstr(message, ==, cases[i].message);
        if (cases[i].expected == KVG_AUTH_OK)
            g_assert_true(caller.is_administrator);
    }
}

static void
test_session(Fixture *f, const void *unused)
{
    const KvgSessionSpec spec = {.role_name = "cameras",
                                 .role_id = "AROAX",
                                 .session_name = "s1",
                                 .thing_name = "gate",
                                 .expires_ms = NOW_MS + 1000};
    g_auto(KvgSessionKeys) keys = {0};
    g_assert_true(kvg_session_issue(&f->server, &spec, &keys, NULL));
    const Case good = {.id = keys.access_key, .secret = keys.secret, .token = keys.token};
    g_auto(KvgCaller) caller = {0};
    g_autofree char *message = NULL;
    g_assert_cmpint(check(f, &good, &caller, &message), ==, KVG_AUTH_OK);
    g_assert_cmpstr(caller.principal_arn, ==, "arn:aws:sts::123456789012:assumed-role/cameras/s1");
    g_assert_cmpstr(caller.thing_name, ==, "gate");
    g_assert_false(caller.is_administrator);

    KvgSessionSpec old = spec;
    old.expires_ms = NOW_MS;
    g_auto(KvgSessionKeys) old_keys = {0};
    g_assert_true(kvg_session_issue(&f->server, &old, &old_keys, NULL));
    const Case late = {
        .id = old_keys.access_key, .secret = old_keys.secret, .token = old_keys.token};
    g_auto(KvgCaller) nobody = {0};
    g_autofree char *why = NULL;
    g_assert_cmpint(check(f, &late, &nobody, &why), ==, KVG_AUTH_EXPIRED_TOKEN);
}

static KvgAuthResult
check_query(Fixture *f, const char *query, int64_t now_ms)
{
    const KvgHeader host = {"host", "localhost:9443"};
    const KvgAuthRequest sent = {.method = "GET",
                                 .path = "/",
                                 .query = query,
                                 .headers = &host,
                                 .n_headers = 1,
                                 .service = "sts",
                                 .now_ms = now_ms};
    g_auto(KvgCaller) caller = {0};
    g_autofree char *message = NULL;
    return kvg_auth_check(&f->server, &sent, &caller, &message);
}

static void
test_presigned(Fixture *f, const void *unused)
{
    const KvgHeader host = {"host", "localhost:9443"};
    const KvgSigv4Request request = {.method = "GET",
                                     .path = "/",
                                     .query = "Action=GetCallerIdentity&Version=2011-06-15",
                                     .headers = &host,
                                     .n_headers = 1,
                                     .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                     .amz_date = DATE,
                                     .region = "us-east-1",
                                     .service = "sts"};
    g_autofree char *query = kvg_sigv4_presign_query(&request, f->id, f->secret, NULL, 60);
    g_assert_cmpint(check_query(f, query, NOW_MS), ==, KVG_AUTH_OK);
    g_assert_cmpint(check_query(f, query, NOW_MS + 61000), ==, KVG_AUTH_BAD_SIGNATURE);
    g_autofree char *more = g_strconcat("Extra=1&", query, NULL);
    g_assert_cmpint(check_query(f, more, NOW_MS), ==, KVG_AUTH_BAD_SIGNATURE);
    g_assert_cmpint(check_query(f, "X-Amz-Signature=00", NOW_MS), ==, KVG_AUTH_INCOMPLETE);
    g_assert_cmpint(check_query(f, NULL, NOW_MS), ==, KVG_AUTH_MISSING);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/auth/header", Fixture, NULL, set_up, test_header, tear_down);
    g_test_add("/auth/session", Fixture, NULL, set_up, test_session, tear_down);
    g_test_add("/auth/presigned", Fixture, NULL, set_up, test_presigned, tear_down);
    return g_test_run();
}
