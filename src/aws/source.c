/* What the sources of keys share. */
#include "aws/source.h"
#include "base/clock.h"
#include "os/log.h"
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LOG_DOMAIN "kvg-aws"
#define MAX_REPLY_BYTES (64u * 1024)
#define MAX_KEY_LENGTH 512
#define MAX_TOKEN_LENGTH 16384
#define SKEW_WARN_MS (4 * 60 * 1000) /* the services refuse from 5 min on */

void
kvg_source_free(KvgSource *source)
{
    if (source != NULL)
        source->class->free(source);
}

void
kvg_secret_free(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    g_free(text);
}

void
kvg_keys_clear(KvgKeys *keys)
{
    g_clear_pointer(&keys->access_key, g_free);
    g_clear_pointer(&keys->secret_key, kvg_secret_free);
    g_clear_pointer(&keys->session_token, kvg_secret_free);
    keys->expires_wall_ms = 0;
}

uint64_t
kvg_file_stamp(const char *path)
{
    struct stat info;
    if (path == NULL || stat(path, &info) < 0)
        return 0;
    const uint64_t time_ns =
        (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec;
    return (time_ns * 31 + (uint64_t)info.st_ino) * 31 + (uint64_t)info.st_size + 1;
}

/* ---- attempts ---- */

KvgAttempt *
kvg_attempt_new(void)
{
    KvgAttempt *attempt = g_new0(KvgAttempt, 1);
    attempt->body = g_string_new(NULL);
    return attempt;
}

/* Answers hold secrets, and so do headers. */
static void
drop_request(KvgAttempt *attempt)
{
    if (attempt->transfer == NULL)
        curl_easy_cleanup(attempt->easy);
    attempt->easy = NULL;
    g_clear_pointer(&attempt->transfer, kvg_aws_transfer_free);
    if (attempt->reply.body != NULL)
        explicit_bzero(attempt->reply.body->str, attempt->reply.body->allocated_len);
    kvg_aws_reply_clear(&attempt->reply);
    for (struct curl_slist *line = attempt->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    g_clear_pointer(&attempt->headers, curl_slist_free_all);
    explicit_bzero(attempt->body->str, attempt->body->allocated_len);
    g_string_truncate(attempt->body, 0);
    attempt->curl_error[0] = '\0';
}

void
kvg_attempt_free(KvgAttempt *attempt)
{
    if (attempt == NULL)
        return;
    drop_request(attempt);
    kvg_attempt_free(attempt->base);
    kvg_source_free(attempt->chosen);
    g_string_free(attempt->body, TRUE);
    kvg_secret_free(attempt->token);
    g_free(attempt->role);
    kvg_keys_clear(&attempt->keys);
    g_free(attempt);
}

KvgRenewalStep
kvg_attempt_step(KvgAttempt *attempt, const KvgSource *source, CURLcode result, GError **error)
{
    attempt->result = result;
    attempt->status = 0;
    if (attempt->easy != NULL) {
        curl_easy_getinfo(attempt->easy, CURLINFO_RESPONSE_CODE, &attempt->status);
        attempt->n_requests++;
    }
    return source->class->step(source, attempt, error);
}

CURL *
kvg_attempt_easy(const KvgAttempt *attempt)
{
    return attempt->easy == NULL && attempt->base != NULL ? kvg_attempt_easy(attempt->base)
                                                          : attempt->easy;
}

static size_t
on_reply(char *data, size_t size, size_t n, void *user_data)
{
    GString *body = user_data;
    if (body->len + n > MAX_REPLY_BYTES)
        return 0;
    g_string_append_len(body, data, (gssize)n);
    return n;
}

void
kvg_attempt_request(KvgAttempt *attempt, const char *url, long connect_ms, long total_ms)
{
    drop_request(attempt);
    CURL *easy = curl_easy_init();
    attempt->easy = easy;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* keys go to nobody else */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "kvg/" KVG_VERSION);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, total_ms);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, attempt->curl_error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt->body);
    /* A certificate or a role may have been replaced: no connection of an older one is reused. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
}

void
kvg_attempt_header(KvgAttempt *attempt, const char *name, const char *value)
{
    char *line = g_strdup_printf("%s: %s", name, value);
    attempt->headers = curl_slist_append(attempt->headers, line);
    kvg_secret_free(line);
    curl_easy_setopt(attempt->easy, CURLOPT_HTTPHEADER, attempt->headers);
}

/* ---- links ---- */

KvgRenewalStep
kvg_fault(GError **error,
          KvgError code,
          const char *who,
          const char *link,
          const char *remedy,
          const char *format,
          ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *cause = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, KVG_ERROR, code, "%s: %s: %s; %s", who, link, cause, remedy);
    return KVG_RENEWAL_FAILED;
}

KvgRenewalStep
kvg_attempt_no_answer(const KvgAttempt *attempt, const char *who, GError **error)
{
    if (attempt->result == CURLE_WRITE_ERROR)
        return kvg_fault(
            error, KVG_ERROR_RETRY, who, "answer",
            "something else than the service seems to listen there; check the endpoint",
            "larger than %u bytes", MAX_REPLY_BYTES);
    const KvgTransportFault fault =
        kvg_transport_judge(attempt->easy, attempt->result, attempt->curl_error);
    return kvg_fault(error, fault.code, who, fault.link, fault.remedy, "%s",
                     attempt->curl_error[0] != '\0' ? attempt->curl_error
                                                    : curl_easy_strerror(attempt->result));
}

/* ---- keys ---- */

/* What may go into a header. */
static bool
is_plain(const char *text, size_t max)
{
    const size_t len = strlen(text);
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isgraph(text[i]))
            return false;
    }
    return true;
}

/* The time by the answer's Date header, or by this machine's clock. */
static int64_t
answer_time_ms(const KvgAttempt *attempt, const char *who)
{
    const int64_t here_ms = kvg_clock_wall_ms();
    struct curl_header *header;
    if (attempt->easy == NULL ||
        curl_easy_header(attempt->easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return here_ms;
    const time_t seconds = curl_getdate(header->value, NULL);
    if (seconds <= 0)
        return here_ms;
    const int64_t there_ms = (int64_t)seconds * 1000;
    if (ABS(there_ms - here_ms) > SKEW_WARN_MS)
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", "clock",
                        "%s: clock: this machine's clock is %" G_GINT64_FORMAT
                        " s %s the service's; set it (NTP), requests are refused from 300 s on",
                        who, ABS(there_ms - here_ms) / 1000,
                        there_ms < here_ms ? "ahead of" : "behind");
    return there_ms;
}

static bool
parse_expiration(KvgAttempt *attempt, const char *who, const char *text, int64_t *expires_ms)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) expires = g_date_time_new_from_iso8601(text, utc);
    if (expires == NULL)
        return false;
    const int64_t life_ms = g_date_time_to_unix(expires) * 1000 - answer_time_ms(attempt, who);
    *expires_ms = kvg_clock_wall_ms() + life_ms;
    return true;
}

bool
kvg_keys_are_plain(const char *access_key, const char *secret_key, const char *session_token)
{
    return access_key != NULL && secret_key != NULL && is_plain(access_key, MAX_KEY_LENGTH) &&
           is_plain(secret_key, MAX_KEY_LENGTH) &&
           (session_token == NULL || is_plain(session_token, MAX_TOKEN_LENGTH));
}

KvgRenewalStep
kvg_attempt_take(KvgAttempt *attempt,
                 const char *who,
                 const char *access_key,
                 const char *secret_key,
                 const char *session_token,
                 const char *expiration,
                 GError **error)
{
    int64_t expires_ms = 0;
    if (!kvg_keys_are_plain(access_key, secret_key, session_token) ||
        (expiration != NULL && !parse_expiration(attempt, who, expiration, &expires_ms)))
        return kvg_fault(error, KVG_ERROR_RETRY, who, "answer",
                         "something else than the service seems to be there; check it",
                         "no keys could be found in it");
    if (expiration != NULL && expires_ms <= kvg_clock_wall_ms() + KVG_KEYS_USABLE_MS)
        return kvg_fault(error, KVG_ERROR_AUTH, who, "clock",
                         "check this machine's clock, and whatever issues the keys",
                         "the keys given have expired already (%s)", expiration);
    kvg_keys_clear(&attempt->keys);
    attempt->keys = (KvgKeys){.access_key = g_strdup(access_key),
                              .secret_key = g_strdup(secret_key),
                              .session_token = g_strdup(session_token),
                              .expires_wall_ms = expires_ms};
    return KVG_RENEWAL_DONE;
}

/* ---- fixed keys ---- */

typedef struct {
    KvgSource base;
    KvgKeys keys;
} StaticSource;

static KvgRenewalStep
static_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    const KvgKeys *keys = &((const StaticSource *)source)->keys;
    if (kvg_attempt_take(attempt, "fixed AWS keys", keys->access_key, keys->secret_key,
                         keys->session_token, NULL, NULL) == KVG_RENEWAL_DONE)
        return KVG_RENEWAL_DONE;
    return kvg_fault(error, KVG_ERROR_AUTH, "fixed AWS keys", "key",
                     "give them without blanks and line ends",
                     "they hold characters that no key has, or are empty");
}

static void
static_free(KvgSource *source)
{
    kvg_keys_clear(&((StaticSource *)source)->keys);
    g_free(source);
}

KvgSource *
kvg_source_static(const char *access_key, const char *secret_key, const char *token)
{
    static const KvgSourceClass class = {.step = static_step, .free = static_free};
    StaticSource *source = g_new0(StaticSource, 1);
    source->base.class = &class;
    source->keys = (KvgKeys){.access_key = g_strdup(access_key),
                             .secret_key = g_strdup(secret_key),
                             .session_token = g_strdup(token)};
    return &source->base;
}
