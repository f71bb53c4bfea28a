#include "agent/api_access.h"
#include "agent/api_private.h"
#include "base/clock.h"
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>

#define DIGEST_BYTES 32
/* Wrong tokens of one address: so many at once, then one per REFILL_US. */
#define MAX_WRONG 10
#define REFILL_US (6 * G_USEC_PER_SEC)
/* Addresses remembered; the one that was wrong longest ago makes room. */
#define MAX_ADDRESSES 64

typedef struct {
    char *address;         /* NULL: free */
    int64_t full_again_us; /* when all its tries are there again */
} Wrong;

struct _KvgAccess {
    bool is_loopback;
    pthread_mutex_t lock;
    char *token;                /* NULL: none is asked for; under lock */
    Wrong wrong[MAX_ADDRESSES]; /* under lock */
};

static void
free_secret(char *secret)
{
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    g_free(secret);
}

KvgAccess *
kvg_access_new(const KvgConfig *config)
{
    KvgAccess *access = g_new0(KvgAccess, 1);
    pthread_mutex_init(&access->lock, NULL);
    access->is_loopback = kvg_config_is_loopback(config->api_address);
    access->token = g_strdup(config->api_token);
    return access;
}

void
kvg_access_free(KvgAccess *access)
{
    if (access == NULL)
        return;
    free_secret(access->token);
    for (size_t i = 0; i < MAX_ADDRESSES; i++)
        g_free(access->wrong[i].address);
    pthread_mutex_destroy(&access->lock);
    g_free(access);
}

void
kvg_access_reload(KvgAccess *access, const KvgConfig *config)
{
    pthread_mutex_lock(&access->lock);
    char *old = access->token;
    access->token = g_strdup(config->api_token);
    pthread_mutex_unlock(&access->lock);
    free_secret(old);
}

/* ---- where it comes from ---- */

bool
kvg_access_is_local_host(const char *host)
{
    static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
    for (size_t i = 0; host != NULL && i < G_N_ELEMENTS(names); i++) {
        const size_t len = strlen(names[i]);
        if (g_ascii_strncasecmp(host, names[i], len) == 0 &&
            (host[len] == '\0' ||
             (host[len] == ':' && strspn(host + len + 1, "0123456789") == strlen(host + len + 1))))
            return true;
    }
    return false;
}

bool
kvg_access_check_host(const KvgAccess *access, KvgHttpExchange *x)
{
    if (!access->is_loopback || kvg_access_is_local_host(kvg_http_header(x, "Host")))
        return true;
    kvg_api_respond_message(x, 403, "ask for this machine by 127.0.0.1 or localhost");
    return false;
}

static bool
is_reading(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

bool
kvg_access_is_own_page(const KvgAccessOrigin *origin)
{
    if (origin->fetch_site != NULL) {
        if (strcmp(origin->fetch_site, "same-origin") == 0 ||
            strcmp(origin->fetch_site, "none") == 0)
            return true;
        /* A link on another site may lead here; its page may not read or embed. */
        return is_reading(origin->method) && g_strcmp0(origin->fetch_mode, "navigate") == 0 &&
               g_strcmp0(origin->fetch_dest, "document") == 0;
    }
    if (origin->origin == NULL || is_reading(origin->method))
        return true; /* no browser, or one so old that it hides the answer from the page anyway */
    g_autofree char *own = g_strconcat(origin->is_tls ? "https://" : "http://",
                                       origin->host != NULL ? origin->host : "", NULL);
    return g_ascii_strcasecmp(own, origin->origin) == 0;
}

/* A page of another site can send no such type without asking first, and nobody says yes. */
static bool
is_json(KvgHttpExchange *x)
{
    const char *type = kvg_http_header(x, "Content-Type");
    return type != NULL && g_ascii_strncasecmp(type, "application/json", 16) == 0 &&
           (type[16] == '\0' || type[16] == ';' || type[16] == ' ');
}

/* ---- tokens ---- */

static void
digest(const char *key, const char *text, uint8_t out[DIGEST_BYTES])
{
    unsigned len = DIGEST_BYTES;
    HMAC(EVP_sha256(), key, (int)strlen(key), (const uint8_t *)text, strlen(text), out, &len);
}

/* Takes the same time whatever @given is. */
static bool
is_equal(const char *key, const char *given, const char *wanted)
{
    uint8_t a[DIGEST_BYTES], b[DIGEST_BYTES];
    digest(key, given, a);
    digest(key, wanted, b);
    return CRYPTO_memcmp(a, b, DIGEST_BYTES) == 0;
}

static char *
copy_token(KvgAccess *access)
{
    pthread_mutex_lock(&access->lock);
    char *token = g_strdup(access->token);
    pthread_mutex_unlock(&access->lock);
    return token;
}

/* The row of @address, or the one that shall become it. */
static Wrong *
find_wrong(KvgAccess *access, const char *address)
{
    Wrong *oldest = &access->wrong[0];
    for (size_t i = 0; i < MAX_ADDRESSES; i++) {
        Wrong *wrong = &access->wrong[i];
        if (g_strcmp0(wrong->address, address) == 0)
            return wrong;
        if (wrong->full_again_us < oldest->full_again_us)
            oldest = wrong;
    }
    return oldest;
}

static bool
is_too_often(KvgAccess *access, const char *address, int64_t now_us)
{
    pthread_mutex_lock(&access->lock);
    const Wrong *wrong = find_wrong(access, address);
    const bool is_full = g_strcmp0(wrong->address, address) == 0 &&
                         wrong->full_again_us - now_us > (MAX_WRONG - 1) * REFILL_US;
    pthread_mutex_unlock(&access->lock);
    return is_full;
}

static void
count_wrong(KvgAccess *access, const char *address, int64_t now_us)
{
    pthread_mutex_lock(&access->lock);
    Wrong *wrong = find_wrong(access, address);
    if (g_strcmp0(wrong->address, address) != 0) {
        g_free(wrong->address);
        *wrong = (Wrong){.address = g_strdup(address)};
    }
    wrong->full_again_us = MAX(wrong->full_again_us, now_us) + REFILL_US;
    pthread_mutex_unlock(&access->lock);
}

KvgAccessVerdict
kvg_access_try(KvgAccess *access, const char *address, const char *token)
{
    const int64_t now_us = kvg_clock_mono_us();
    char *wanted = copy_token(access);
    if (wanted == NULL)
        return KVG_ACCESS_NOT_NEEDED;
    KvgAccessVerdict verdict = KVG_ACCESS_TOO_OFTEN;
    if (!is_too_often(access, address, now_us))
        verdict = is_equal("token", token, wanted) ? KVG_ACCESS_YES : KVG_ACCESS_WRONG;
    free_secret(wanted);
    if (verdict == KVG_ACCESS_WRONG)
        count_wrong(access, address, now_us);
    return verdict;
}

/* ---- the console's cookie: EXPIRES.HMAC(token, EXPIRES), so that nothing has to be remembered and
 * a new token ends every session ---- */

/* Cookies do not tell ports apart, so that two agents on a machine would end each other's. */
static char *
cookie_name(KvgHttpExchange *x)
{
    return g_strdup_printf("kvg_session_%u", kvg_http_local_port(x));
}

static char *
session_value(const char *token, int64_t expires_ms)
{
    g_autofree char *text = g_strdup_printf("session %" G_GINT64_FORMAT, expires_ms);
    uint8_t mac[DIGEST_BYTES];
    digest(token, text, mac);
    g_autoptr(GString) value = g_string_new(NULL);
    g_string_append_printf(value, "%" G_GINT64_FORMAT ".", expires_ms);
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        g_string_append_printf(value, "%02x", mac[i]);
    return g_string_free(g_steal_pointer(&value), FALSE);
}

char *
kvg_access_cookie(KvgAccess *access, KvgHttpExchange *x, const int64_t *expires_ms)
{
    g_autofree char *name = cookie_name(x);
    char *token = copy_token(access);
    g_autofree char *value =
        expires_ms != NULL && token != NULL ? session_value(token, *expires_ms) : g_strdup("");
    free_secret(token);
    return g_strdup_printf("%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s", name, value,
                           expires_ms != NULL ? (int)(KVG_ACCESS_SESSION_MS / 1000) : 0,
                           kvg_http_is_tls(x) ? "; Secure" : "");
}

/* The value of the cookie @name in a Cookie header (g_free) or NULL. */
static char *
find_cookie(const char *header, const char *name)
{
    g_auto(GStrv) pairs = g_strsplit(header != NULL ? header : "", ";", -1);
    const size_t len = strlen(name);
    for (char **pair = pairs; *pair != NULL; pair++) {
        const char *text = g_strstrip(*pair);
        if (strncmp(text, name, len) == 0 && text[len] == '=')
            return g_strdup(text + len + 1);
    }
    return NULL;
}

static bool
has_session(KvgHttpExchange *x, const char *token)
{
    g_autofree char *name = cookie_name(x);
    g_autofree char *value = find_cookie(kvg_http_header(x, "Cookie"), name);
    char *end = NULL;
    const int64_t expires_ms = value != NULL ? g_ascii_strtoll(value, &end, 10) : 0;
    if (expires_ms <= kvg_clock_wall_ms() || *end != '.')
        return false;
    g_autofree char *wanted = session_value(token, expires_ms);
    return is_equal("session", value, wanted);
}

static const char *
bearer_of(KvgHttpExchange *x)
{
    const char *header = kvg_http_header(x, "Authorization");
    return header != NULL && g_ascii_strncasecmp(header, "Bearer ", 7) == 0 ? header + 7 : NULL;
}

bool
kvg_access_is_known(KvgAccess *access, KvgHttpExchange *x)
{
    char *token = copy_token(access);
    const char *bearer = bearer_of(x);
    const bool is_known = token == NULL || has_session(x, token) ||
                          (bearer != NULL && is_equal("token", bearer, token));
    free_secret(token);
    return is_known;
}

void
kvg_access_refuse(KvgHttpExchange *x, KvgAccessVerdict verdict)
{
    const bool is_too_often = verdict == KVG_ACCESS_TOO_OFTEN;
    const char *text =
        is_too_often ? "{\"message\":\"too many wrong tokens from this address; wait a minute\"}"
        : verdict == KVG_ACCESS_WRONG
            ? "{\"message\":\"this is not the token of this agent (api.token_file)\"}"
            : "{\"message\":\"the token of this agent (api.token_file) is needed: Authorization: "
              "Bearer TOKEN\"}";
    const KvgHeader headers[] = {{"Content-Type", "application/json"},
                                 {"Cache-Control", "no-store"},
                                 {is_too_often ? "Retry-After" : "WWW-Authenticate",
                                  is_too_often ? "60" : "Bearer realm=\"kvg\""}};
    kvg_http_respond(x, is_too_often ? 429 : 401, headers, G_N_ELEMENTS(headers), text,
                     strlen(text));
}

static bool
check_known(KvgAccess *access, KvgHttpExchange *x)
{
    char *token = copy_token(access);
    const bool is_in = token == NULL || has_session(x, token);
    free_secret(token);
    if (is_in)
        return true;
    const char *bearer = bearer_of(x);
    const KvgAccessVerdict verdict = bearer != NULL
                                         ? kvg_access_try(access, kvg_http_peer_address(x), bearer)
                                         : KVG_ACCESS_MISSING;
    if (verdict == KVG_ACCESS_YES || verdict == KVG_ACCESS_NOT_NEEDED)
        return true;
    kvg_access_refuse(x, verdict);
    return false;
}

bool
kvg_access_check(KvgAccess *access, KvgHttpExchange *x, bool is_public)
{
    const KvgAccessOrigin origin = {.method = kvg_http_method(x),
                                    .host = kvg_http_header(x, "Host"),
                                    .origin = kvg_http_header(x, "Origin"),
                                    .fetch_site = kvg_http_header(x, "Sec-Fetch-Site"),
                                    .fetch_mode = kvg_http_header(x, "Sec-Fetch-Mode"),
                                    .fetch_dest = kvg_http_header(x, "Sec-Fetch-Dest"),
                                    .is_tls = kvg_http_is_tls(x)};
    if (!kvg_access_is_own_page(&origin)) {
        kvg_api_respond_message(x, 403, "pages of other sites are not answered");
        return false;
    }
    if (!is_public && !check_known(access, x))
        return false;
    if (!is_reading(origin.method) && !is_json(x)) {
        kvg_api_respond_message(x, 415, "send Content-Type: application/json");
        return false;
    }
    return true;
}
