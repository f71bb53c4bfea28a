/* AWS Signature Version 4: canonical request, string to sign, key, signature, and parsing of the
 * Authorization header. Path and query are taken as they stand on the wire, so that a verifier
 * computes over exactly what it received. */
#include "wire/sigv4.h"

#include <kvg/error.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define MAX_AUTHORIZATION_BYTES 8192
#define MAX_SIGNED_HEADERS 100

typedef struct {
    char *name;
    char *value;
} Pair;

static void
pair_free(void *data)
{
    Pair *pair = data;
    g_free(pair->name);
    g_free(pair->value);
    g_free(pair);
}

static int
pair_compare(const void *a, const void *b)
{
    const Pair *x = *(Pair *const *)a;
    const Pair *y = *(Pair *const *)b;
    const int by_name = strcmp(x->name, y->name);
    return by_name != 0 ? by_name : strcmp(x->value, y->value);
}

static int
pair_compare_name(const void *a, const void *b)
{
    return strcmp((*(Pair *const *)a)->name, (*(Pair *const *)b)->name);
}

static void
pairs_add(GPtrArray *pairs, char *name, char *value)
{
    Pair *pair = g_new(Pair, 1);
    pair->name = name;
    pair->value = value;
    g_ptr_array_add(pairs, pair);
}

static char *
to_hex(const uint8_t *bytes, size_t len)
{
    GString *out = g_string_sized_new(len * 2 + 1);
    for (size_t i = 0; i < len; i++)
        g_string_append_printf(out, "%02x", bytes[i]);
    return g_string_free(out, FALSE);
}

static void
hmac(const void *key, size_t key_len, const char *text, uint8_t out[32])
{
    unsigned len = 32;
    HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, strlen(text), out, &len);
}

static void
append_escaped(GString *out, uint8_t byte)
{
    if (g_ascii_isalnum((char)byte) || byte == '-' || byte == '_' || byte == '.' || byte == '~')
        g_string_append_c(out, (char)byte);
    else
        g_string_append_printf(out, "%%%02X", byte);
}

/* Decodes valid escapes and encodes again, so that %3a, %3A and ':' become the same. Works on
 * bytes: an escaped NUL must not end the value. */
static char *
normalise_query_part(const char *text, size_t len)
{
    GString *out = g_string_sized_new(len + 16);
    for (size_t i = 0; i < len; i++) {
        const bool is_escape = text[i] == '%' && i + 2 < len && g_ascii_isxdigit(text[i + 1]) &&
                               g_ascii_isxdigit(text[i + 2]);
        if (!is_escape) {
            append_escaped(out, (uint8_t)text[i]);
            continue;
        }
        append_escaped(out, (uint8_t)(g_ascii_xdigit_value(text[i + 1]) * 16 +
                                      g_ascii_xdigit_value(text[i + 2])));
        i += 2;
    }
    return g_string_free(out, FALSE);
}

static void
pairs_add_query(GPtrArray *pairs, const char *query)
{
    for (const char *at = query ? query : ""; *at;) {
        const size_t len = strcspn(at, "&");
        const char *equals = memchr(at, '=', len);
        const size_t name_len = equals ? (size_t)(equals - at) : len;
        if (len > 0)
            pairs_add(pairs, normalise_query_part(at, name_len),
                      equals ? normalise_query_part(equals + 1, len - name_len - 1) : g_strdup(""));
        at += len;
        if (*at == '&')
            at++;
    }
}

static char *
pairs_to_query(GPtrArray *pairs)
{
    g_ptr_array_sort(pairs, pair_compare);
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < pairs->len; i++) {
        const Pair *pair = pairs->pdata[i];
        g_string_append_printf(out, "%s%s=%s", i > 0 ? "&" : "", pair->name, pair->value);
    }
    return g_string_free(out, FALSE);
}

static char *
canonical_query(const char *query)
{
    g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(pair_free);
    pairs_add_query(pairs, query);
    return pairs_to_query(pairs);
}

/* The path as sent, each segment encoded once more: %2F becomes %252F. */
static char *
canonical_path(const char *path)
{
    if (!path || !*path)
        return g_strdup("/");
    GString *out = g_string_new(NULL);
    for (const char *p = path; *p; p++) {
        if (*p == '/')
            g_string_append_c(out, '/');
        else
            append_escaped(out, (uint8_t)*p);
    }
    return g_string_free(out, FALSE);
}

/* Trimmed, inner runs of blanks collapsed to one space. */
static char *
canonical_header_value(const char *value)
{
    GString *out = g_string_new(NULL);
    bool pending = false;
    for (const char *p = value ? value : ""; *p; p++) {
        if (*p == ' ' || *p == '\t') {
            pending = out->len > 0;
            continue;
        }
        if (pending)
            g_string_append_c(out, ' ');
        pending = false;
        g_string_append_c(out, *p);
    }
    return g_string_free(out, FALSE);
}

/* Lower-case names in order, values of repeated names joined by a comma. */
static GPtrArray *
canonical_headers(const KvgSigv4Request *request)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(pair_free);
    for (size_t i = 0; i < request->n_headers; i++)
        pairs_add(all, g_ascii_strdown(request->headers[i].name, -1),
                  canonical_header_value(request->headers[i].value));
    g_ptr_array_sort(all, pair_compare_name); /* stable: repeated headers keep their order */

    GPtrArray *merged = g_ptr_array_new_with_free_func(pair_free);
    for (guint i = 0; i < all->len; i++) {
        const Pair *pair = all->pdata[i];
        Pair *last = merged->len > 0 ? merged->pdata[merged->len - 1] : NULL;
        if (!last || strcmp(last->name, pair->name) != 0) {
            pairs_add(merged, g_strdup(pair->name), g_strdup(pair->value));
            continue;
        }
        char *joined = g_strconcat(last->value, ",", pair->value, NULL);
        g_free(last->value);
        last->value = joined;
    }
    return merged;
}

static char *
scope_of(const KvgSigv4Request *request)
{
    return g_strdup_printf("%.8s/%s/%s/aws4_request", request->amz_date, request->region,
                           request->service);
}

char *
kvg_sigv4_sha256_hex(const void *data, size_t len)
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    unsigned digest_len = 32;
    if (!EVP_Digest(len > 0 ? data : "", len, digest, &digest_len, EVP_sha256(), NULL))
        g_warning("SHA-256 is not available");
    return to_hex(digest, 32);
}

void
kvg_sigv4_derive_key(
    const char *secret, const char *date8, const char *region, const char *service, uint8_t key[32])
{
    char *first = g_strconcat("AWS4", secret, NULL);
    g_autofree char *date = g_strndup(date8, 8);
    hmac(first, strlen(first), date, key);
    OPENSSL_cleanse(first, strlen(first));
    g_free(first);
    const char *parts[] = {region, service, "aws4_request"};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        uint8_t next[32];
        hmac(key, 32, parts[i], next);
        memcpy(key, next, sizeof next);
        OPENSSL_cleanse(next, sizeof next);
    }
}

char *
kvg_sigv4_signed_headers(const KvgSigv4Request *request)
{
    g_autoptr(GPtrArray) headers = canonical_headers(request);
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < headers->len; i++)
        g_string_append_printf(out, "%s%s", i > 0 ? ";" : "", ((Pair *)headers->pdata[i])->name);
    return g_string_free(out, FALSE);
}

char *
kvg_sigv4_canonical_request(const KvgSigv4Request *request)
{
    g_autofree char *path = canonical_path(request->path);
    g_autofree char *query = canonical_query(request->query);
    g_autofree char *names = kvg_sigv4_signed_headers(request);
    g_autoptr(GPtrArray) headers = canonical_headers(request);
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "%s\n%s\n%s\n", request->method, path, query);
    for (guint i = 0; i < headers->len; i++) {
        const Pair *pair = headers->pdata[i];
        g_string_append_printf(out, "%s:%s\n", pair->name, pair->value);
    }
    g_string_append_printf(out, "\n%s\n%s", names, request->payload_sha256);
    return g_string_free(out, FALSE);
}

char *
kvg_sigv4_string_to_sign(const KvgSigv4Request *request)
{
    g_autofree char *canonical = kvg_sigv4_canonical_request(request);
    g_autofree char *hash = kvg_sigv4_sha256_hex(canonical, strlen(canonical));
    g_autofree char *scope = scope_of(request);
    return g_strdup_printf(ALGORITHM "\n%s\n%s\n%s", request->amz_date, scope, hash);
}

char *
kvg_sigv4_signature(const KvgSigv4Request *request, const char *secret)
{
    g_autofree char *text = kvg_sigv4_string_to_sign(request);
    uint8_t key[32];
    uint8_t mac[32];
    kvg_sigv4_derive_key(secret, request->amz_date, request->region, request->service, key);
    hmac(key, sizeof key, text, mac);
    OPENSSL_cleanse(key, sizeof key);
    return to_hex(mac, sizeof mac);
}

char *
kvg_sigv4_authorization(const KvgSigv4Request *request, const char *access_key, const char *secret)
{
    g_autofree char *scope = scope_of(request);
    g_autofree char *names = kvg_sigv4_signed_headers(request);
    g_autofree char *signature = kvg_sigv4_signature(request, secret);
    return g_strdup_printf(ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                           access_key, scope, names, signature);
}

static void
pairs_add_plain(GPtrArray *pairs, const char *name, const char *value)
{
    /* normalise_query_part would take a literal '%' of a token for an escape. */
    GString *out = g_string_new(NULL);
    for (const char *p = value; *p; p++)
        append_escaped(out, (uint8_t)*p);
    pairs_add(pairs, g_strdup(name), g_string_free(out, FALSE));
}

char *
kvg_sigv4_presign_query(const KvgSigv4Request *request,
                        const char *access_key,
                        const char *secret,
                        const char *token,
                        unsigned expires_s)
{
    g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(pair_free);
    g_autofree char *scope = scope_of(request);
    g_autofree char *credential = g_strconcat(access_key, "/", scope, NULL);
    g_autofree char *names = kvg_sigv4_signed_headers(request);
    g_autofree char *expires = g_strdup_printf("%u", expires_s);
    pairs_add_query(pairs, request->query);
    pairs_add_plain(pairs, "X-Amz-Algorithm", ALGORITHM);
    pairs_add_plain(pairs, "X-Amz-Credential", credential);
    pairs_add_plain(pairs, "X-Amz-Date", request->amz_date);
    pairs_add_plain(pairs, "X-Amz-Expires", expires);
    if (token)
        pairs_add_plain(pairs, "X-Amz-Security-Token", token);
    pairs_add_plain(pairs, "X-Amz-SignedHeaders", names);

    g_autofree char *query = pairs_to_query(pairs);
    KvgSigv4Request presigned = *request;
    presigned.query = query;
    g_autofree char *signature = kvg_sigv4_signature(&presigned, secret);
    return g_strdup_printf("%s&X-Amz-Signature=%s", query, signature);
}

void
kvg_sigv4_auth_clear(KvgSigv4Auth *auth)
{
    g_clear_pointer(&auth->access_key, g_free);
    g_clear_pointer(&auth->date8, g_free);
    g_clear_pointer(&auth->region, g_free);
    g_clear_pointer(&auth->service, g_free);
    g_clear_pointer(&auth->terminator, g_free);
    g_clear_pointer(&auth->signed_headers, g_strfreev);
    g_clear_pointer(&auth->signature, g_free);
}

static bool
parse_credential(const char *text, KvgSigv4Auth *auth, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 6);
    if (g_strv_length(parts) != 5 || !*parts[0]) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "Credential must have exactly 5 slash-delimited elements, "
                    "e.g. keyid/date/region/service/term");
        return false;
    }
    auth->access_key = g_strdup(parts[0]);
    auth->date8 = g_strdup(parts[1]);
    auth->region = g_strdup(parts[2]);
    auth->service = g_strdup(parts[3]);
    auth->terminator = g_strdup(parts[4]);
    return true;
}

static bool
parse_signed_headers(const char *text, KvgSigv4Auth *auth, GError **error)
{
    g_autofree char *lower = g_ascii_strdown(text, -1);
    auth->signed_headers = g_strsplit(lower, ";", MAX_SIGNED_HEADERS + 1);
    const guint n = g_strv_length(auth->signed_headers);
    bool is_valid = n >= 1 && n <= MAX_SIGNED_HEADERS;
    for (guint i = 0; is_valid && i < n; i++)
        is_valid = *auth->signed_headers[i] != '\0';
    if (!is_valid)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "Authorization header has an invalid 'SignedHeaders' parameter.");
    return is_valid;
}

/* "name=" at the start of one trimmed part, given once. */
static bool
take_parameter(const char *part, const char *name, const char **value, bool *is_repeated)
{
    if (!g_str_has_prefix(part, name) || part[strlen(name)] != '=')
        return false;
    *is_repeated |= *value != NULL;
    *value = part + strlen(name) + 1;
    return true;
}

static bool
parse_parameters(char **parts, KvgSigv4Auth *auth, GError **error)
{
    const char *credential = NULL;
    const char *signed_headers = NULL;
    const char *signature = NULL;
    bool is_repeated = false;
    for (char **part = parts; *part; part++) {
        const char *text = g_strstrip(*part);
        const bool is_known =
            take_parameter(text, "Credential", &credential, &is_repeated) ||
            take_parameter(text, "SignedHeaders", &signed_headers, &is_repeated) ||
            take_parameter(text, "Signature", &signature, &is_repeated);
        if ((!is_known && *text) || is_repeated) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "Authorization header has an unknown, malformed or repeated parameter.");
            return false;
        }
    }
    const char *values[] = {credential, signature, signed_headers};
    static const char *const names[] = {"Credential", "Signature", "SignedHeaders"};
    g_autoptr(GString) missing = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        if (!values[i] || !*values[i])
            g_string_append_printf(missing, "Authorization header requires '%s' parameter. ",
                                   names[i]);
    if (missing->len > 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%sAuthorization=" ALGORITHM,
                    missing->str);
        return false;
    }
    auth->signature = g_strdup(signature);
    return parse_credential(credential, auth, error) &&
           parse_signed_headers(signed_headers, auth, error);
}

bool
kvg_sigv4_parse_authorization(const char *header, KvgSigv4Auth *auth, GError **error)
{
    memset(auth, 0, sizeof *auth);
    while (g_ascii_isspace(*header))
        header++;
    const size_t algorithm_len = strlen(ALGORITHM);
    if (!g_str_has_prefix(header, ALGORITHM) ||
        (header[algorithm_len] && !g_ascii_isspace(header[algorithm_len]))) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "Authorization header requires the algorithm '" ALGORITHM "'.");
        return false;
    }
    if (strnlen(header, MAX_AUTHORIZATION_BYTES + 1) > MAX_AUTHORIZATION_BYTES) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "Authorization header is too long.");
        return false;
    }
    g_auto(GStrv) parts = g_strsplit(header + algorithm_len, ",", 8);
    if (parse_parameters(parts, auth, error))
        return true;
    kvg_sigv4_auth_clear(auth);
    return false;
}
