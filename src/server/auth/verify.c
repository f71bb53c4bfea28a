/* The checks of SigV4 in AWS's order: form, scope, clock, key, token, signature. */
#include "server/auth/verify.h"

#include "base/clock.h"
#include "base/text.h"
#include "server/auth/session.h"
#include "server/state/sql.h"
#include <kvg/error.h>
#include <openssl/crypto.h>
#include <string.h>

#define SKEW_S 300
#define MAX_EXPIRES_S 604800
#define MAX_SIGNED_HEADERS 64
#define MAX_QUERY_BYTES 16384

typedef struct {
    const KvgAuthRequest *request;
    bool presigned;
    KvgSigv4Auth auth;
    char *amz_date;
    char *token;
    char *query; /* without X-Amz-Signature */
    unsigned expires_s;
} Check;

static void
check_clear(Check *check)
{
    kvg_sigv4_auth_clear(&check->auth);
    g_free(check->amz_date);
    g_free(check->token);
    g_free(check->query);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Check, check_clear)

static const char *
find_header(const KvgAuthRequest *request, const char *name)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        if (g_ascii_strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    }
    return NULL;
}

static char *
find_param(const char *query, const char *name)
{
    if (query == NULL)
        return NULL;
    g_auto(GStrv) parts = g_strsplit(query, "&", 256);
    const size_t len = strlen(name);
    for (char **part = parts; *part != NULL; part++) {
        if (strncmp(*part, name, len) == 0 && (*part)[len] == '=')
            return kvg_uri_unescape(*part + len + 1, strlen(*part + len + 1), false);
    }
    return NULL;
}

static char *
without_signature(const char *query)
{
    g_auto(GStrv) parts = g_strsplit(query, "&", 256);
    GString *kept = g_string_new(NULL);
    for (char **part = parts; *part != NULL; part++) {
        if (g_str_has_prefix(*part, "X-Amz-Signature="))
            continue;
        if (kept->len > 0)
            g_string_append_c(kept, '&');
        g_string_append(kept, *part);
    }
    return g_string_free(kept, false);
}

static KvgAuthResult refuse(KvgAuthResult result, char **message, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static KvgAuthResult
refuse(KvgAuthResult result, char **message, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *message = g_strdup_vprintf(format, args);
    va_end(args);
    return result;
}

static KvgAuthResult
read_presigned(Check *check, char **message)
{
    const char *query = check->request->query;
    if (strlen(query) > MAX_QUERY_BYTES)
        return refuse(KVG_AUTH_INCOMPLETE, message, "Query string is too long.");
    g_autofree char *algorithm = find_param(query, "X-Amz-Algorithm");
    g_autofree char *credential = find_param(query, "X-Amz-Credential");
    g_autofree char *headers = find_param(query, "X-Amz-SignedHeaders");
    g_autofree char *signature = find_param(query, "X-Amz-Signature");
    g_autofree char *expires = find_param(query, "X-Amz-Expires");
    check->amz_date = find_param(query, "X-Amz-Date");
    check->token = find_param(query, "X-Amz-Security-Token");
    guint64 expires_s = 0;
    if (g_strcmp0(algorithm, "AWS4-HMAC-SHA256") != 0 || credential == NULL || headers == NULL ||
        signature == NULL || check->amz_date == NULL || expires == NULL ||
        !g_ascii_string_to_unsigned(expires, 10, 1, MAX_EXPIRES_S, &expires_s, NULL))
        return refuse(KVG_AUTH_INCOMPLETE, message,
                      "AWS query-string parameters must include 'X-Amz-Algorithm', "
                      "'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders', 'X-Amz-Date' "
                      "and a valid 'X-Amz-Expires'.");
    check->expires_s = (unsigned)expires_s;
    check->query = without_signature(query);
    g_autofree char *header =
        g_strdup_printf("AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s",
                        credential, headers, signature);
    g_autoptr(GError) error = NULL;
    if (!kvg_sigv4_parse_authorization(header, &check->auth, &error))
        return refuse(KVG_AUTH_INCOMPLETE, message, "%s", error->message);
    return KVG_AUTH_OK;
}

static KvgAuthResult
read_header(Check *check, const char *header, char **message)
{
    g_autoptr(GError) error = NULL;
    if (!kvg_sigv4_parse_authorization(header, &check->auth, &error))
        return refuse(KVG_AUTH_INCOMPLETE, message, "%s", error->message);
    const char *date = find_header(check->request, "x-amz-date");
    if (date == NULL)
        date = find_header(check->request, "date");
    if (date == NULL)
        return refuse(KVG_AUTH_INCOMPLETE, message,
                      "Authorization header requires existence of either a 'X-Amz-Date' or a "
                      "'Date' header.");
    check->amz_date = g_strdup(date);
    check->token = g_strdup(find_header(check->request, "x-amz-security-token"));
    check->query = g_strdup(check->request->query);
    return KVG_AUTH_OK;
}

static KvgAuthResult
read_request(Check *check, char **message)
{
    const KvgAuthRequest *request = check->request;
    const char *header = find_header(request, "authorization");
    g_autofree char *algorithm = find_param(request->query, "X-Amz-Algorithm");
    g_autofree char *signature = find_param(request->query, "X-Amz-Signature");
    check->presigned = algorithm != NULL || signature != NULL;
    if (header == NULL && !check->presigned)
        return refuse(KVG_AUTH_MISSING, message, "Missing Authentication Token");
    if (header != NULL && check->presigned)
        return refuse(KVG_AUTH_INCOMPLETE, message,
                      "Only one authentication mechanism is allowed: header or query string.");
    return check->presigned ? read_presigned(check, message) : read_header(check, header, message);
}

static bool
region_fits(const KvgServer *server, const char *service, const char *region)
{
    const bool global = strcmp(service, "iam") == 0 || strcmp(service, "sts") == 0;
    return strcmp(region, server->region) == 0 || (global && strcmp(region, "us-east-1") == 0);
}

static bool
service_fits(const char *expected, const char *claimed)
{
    return strcmp(expected, claimed) == 0 ||
           (strcmp(expected, "iot") == 0 && strcmp(claimed, "execute-api") == 0);
}

static KvgAuthResult
check_scope(KvgServer *server, const Check *check, char **message)
{
    const KvgSigv4Auth *auth = &check->auth;
    const char *service = check->request->service;
    if (strcmp(auth->terminator, "aws4_request") != 0)
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Credential should be scoped with a valid terminator: 'aws4_request', not "
                      "'%.32s'.",
                      auth->terminator);
    if (!service_fits(service, auth->service))
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Credential should be scoped to correct service: '%s'.", service);
    if (!region_fits(server, service, auth->region))
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Credential should be scoped to a valid Region, not '%.32s'.", auth->region);
    if (strncmp(auth->date8, check->amz_date, 8) != 0 || strlen(auth->date8) != 8)
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                      "date from HTTP: '%.8s' != '%.8s', from '%.16s'.",
                      auth->date8, check->amz_date, check->amz_date);
    return KVG_AUTH_OK;
}

static char *
basic_date(int64_t seconds)
{
    g_autoptr(GDateTime) date = g_date_time_new_from_unix_utc(seconds);
    return g_date_time_format(date, "%Y%m%dT%H%M%SZ");
}

/* Exactly yyyymmddThhmmssZ. */
static bool
parse_basic_date(const char *text, int64_t *seconds)
{
    if (strlen(text) != 16 || text[8] != 'T' || text[15] != 'Z')
        return false;
    for (int i = 0; i < 15; i++) {
        if (i != 8 && !g_ascii_isdigit(text[i]))
            return false;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(text, utc);
    if (date == NULL)
        return false;
    *seconds = g_date_time_to_unix(date);
    return true;
}

static KvgAuthResult
check_clock(const Check *check, char **message)
{
    int64_t signed_s = 0;
    if (!parse_basic_date(check->amz_date, &signed_s))
        return refuse(KVG_AUTH_INCOMPLETE, message,
                      "Date must be in ISO-8601 'basic format'. Got '%.32s'.", check->amz_date);
    const int64_t now_s = check->request->now_ms / 1000;
    g_autofree char *now = basic_date(now_s);
    if (signed_s > now_s + SKEW_S) {
        g_autofree char *latest = basic_date(now_s + SKEW_S);
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Signature not yet current: %s is still later than %s (%s + 5 min.)",
                      check->amz_date, latest, now);
    }
    const int64_t valid_s = check->presigned ? check->expires_s : SKEW_S;
    if (signed_s + valid_s < now_s) {
        g_autofree char *earliest = basic_date(now_s - valid_s);
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "Signature expired: %s is now earlier than %s (%s - %d min.)",
                      check->amz_date, earliest, now, (int)(valid_s / 60));
    }
    return KVG_AUTH_OK;
}

static bool
find_user(KvgServer *server, const char *access_key, KvgCaller *caller, char **secret)
{
    sqlite3 *db = kvg_state_lock(server->state);
    {
        g_auto(KvgStatement) row = kvg_sql_query(
            db,
            "SELECT secret, name, iam_user.user_id, path, is_administrator FROM access_key"
            " JOIN iam_user ON name = user_name WHERE id = ?1 AND status = 'Active'",
            "t", access_key);
        if (kvg_sql_step(row)) {
            *secret = g_strdup(kvg_sql_column(row, 0));
            caller->user_name = g_strdup(kvg_sql_column(row, 1));
            caller->principal_arn = g_strdup_printf("arn:aws:iam::%s:user%s%s", server->account,
                                                    kvg_sql_column(row, 3), caller->user_name);
            caller->user_id = g_strdup(kvg_sql_column(row, 2));
            caller->is_administrator = sqlite3_column_int(row, 4) != 0;
        }
    }
    kvg_state_unlock(server->state);
    return *secret != NULL;
}

static KvgAuthResult
find_secret(KvgServer *server, const Check *check, KvgCaller *caller, char **secret, char **message)
{
    const char *unknown = "The security token included in the request is invalid.";
    const char *access_key = check->auth.access_key;
    if (check->token == NULL) {
        if (!find_user(server, access_key, caller, secret))
            return refuse(KVG_AUTH_UNKNOWN_KEY, message, "%s", unknown);
        return KVG_AUTH_OK;
    }
    int64_t expires_ms = 0;
    if (!kvg_session_open(server, access_key, check->token, caller, secret, &expires_ms))
        return refuse(KVG_AUTH_UNKNOWN_KEY, message, "%s", unknown);
    if (expires_ms <= check->request->now_ms)
        return refuse(KVG_AUTH_EXPIRED_TOKEN, message,
                      "The security token included in the request is expired");
    return KVG_AUTH_OK;
}

/* The values of all headers called @name, joined by ','; NULL if there is none. */
static char *
joined_header(const KvgAuthRequest *request, const char *name)
{
    GString *value = NULL;
    for (size_t i = 0; i < request->n_headers; i++) {
        if (g_ascii_strcasecmp(request->headers[i].name, name) != 0)
            continue;
        if (value == NULL)
            value = g_string_new(request->headers[i].value);
        else
            g_string_append_printf(value, ",%s", request->headers[i].value);
    }
    return value != NULL ? g_string_free(value, false) : NULL;
}

/* What the client must have signed as the body's hash; NULL: its claim does not fit the body. */
static const char *
payload_hash(const Check *check)
{
    const KvgAuthRequest *request = check->request;
    const char *actual = request->body_sha256;
    const char *claimed = find_header(request, "x-amz-content-sha256");
    if (claimed == NULL ||
        !g_strv_contains((const char *const *)check->auth.signed_headers, "x-amz-content-sha256"))
        return actual != NULL ? actual : KVG_SIGV4_EMPTY_SHA256;
    if (actual != NULL && strcmp(claimed, actual) != 0)
        return NULL;
    return claimed;
}

static bool
signature_fits(const Check *check, const char *secret)
{
    const KvgSigv4Auth *auth = &check->auth;
    const char *const *names = (const char *const *)auth->signed_headers;
    const size_t n = g_strv_length(auth->signed_headers);
    const char *hash = payload_hash(check);
    if (n == 0 || n > MAX_SIGNED_HEADERS || hash == NULL)
        return false;

    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    g_autofree KvgHeader *headers = g_new0(KvgHeader, n);
    for (size_t i = 0; i < n; i++) {
        char *value = joined_header(check->request, names[i]);
        if (value == NULL)
            return false;
        g_ptr_array_add(values, value);
        headers[i] = (KvgHeader){names[i], value};
    }
    const KvgSigv4Request request = {
        .method = check->request->method,
        .path = check->request->path,
        .query = check->query,
        .headers = headers,
        .n_headers = n,
        .payload_sha256 = hash,
        .amz_date = check->amz_date,
        .region = auth->region,
        .service = auth->service,
    };
    g_autofree char *signature = kvg_sigv4_signature(&request, secret);
    return signature != NULL && strlen(signature) == strlen(auth->signature) &&
           CRYPTO_memcmp(signature, auth->signature, strlen(signature)) == 0;
}

static KvgAuthResult
check_signed_headers(const Check *check, char **message)
{
    const char *const *names = (const char *const *)check->auth.signed_headers;
    if (!g_strv_contains(names, "host"))
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "'Host' must be a 'SignedHeader' in the AWS Authorization.");
    if (!check->presigned && !g_strv_contains(names, "x-amz-date") &&
        !g_strv_contains(names, "date"))
        return refuse(KVG_AUTH_BAD_SIGNATURE, message,
                      "'X-Amz-Date' or 'Date' must be a 'SignedHeader' in the AWS Authorization.");
    return KVG_AUTH_OK;
}

KvgAuthResult
kvg_auth_check(KvgServer *server, const KvgAuthRequest *request, KvgCaller *caller, char **message)
{
    g_auto(Check) check = {.request = request};
    KvgAuthResult result = read_request(&check, message);
    if (result == KVG_AUTH_OK)
        result = check_signed_headers(&check, message);
    if (result == KVG_AUTH_OK)
        result = check_scope(server, &check, message);
    if (result == KVG_AUTH_OK)
        result = check_clock(&check, message);
    g_autofree char *secret = NULL;
    if (result == KVG_AUTH_OK)
        result = find_secret(server, &check, caller, &secret, message);
    if (result == KVG_AUTH_OK && !signature_fits(&check, secret))
        result = refuse(KVG_AUTH_BAD_SIGNATURE, message,
                        "The request signature we calculated does not match the signature you "
                        "provided. Check your AWS Secret Access Key and signing method. Consult "
                        "the service documentation for details.");
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    return result;
}
