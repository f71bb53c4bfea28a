/* The keys in force and when they are due for renewal, whatever source they come from; one object
 * for everybody with the same identity. Hides: sources, sharing, clocks. */
#include "aws/private.h"
#include "aws/source.h"
#include "base/clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define RENEW_SOONEST_MS 5000

struct _KvgCredentials {
    _Atomic unsigned n_refs;
    /* constant */
    KvgSource *source; /* NULL: fixed keys */
    char *identity;    /* key in the registry; NULL: not there */

    pthread_mutex_t renewing; /* held by the one thread that renews for kvg_credentials_get() */
    pthread_mutex_t lock;
    struct {
        KvgKeys keys; /* access_key NULL: none yet */
        /* Both by CLOCK_BOOTTIME, which neither jumps nor sleeps. 0: never */
        int64_t expires_boot_ms, renew_boot_ms;
        uint64_t stamp; /* of the files they came from */
    } shared;
};

/* Credentials that can be renewed, by identity; holds no reference. Its lock comes before any
 * other. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static GHashTable *registry;

static int64_t
boot_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static KvgCredentials *
credentials_new(void)
{
    KvgCredentials *credentials = g_new0(KvgCredentials, 1);
    atomic_init(&credentials->n_refs, 1);
    pthread_mutex_init(&credentials->lock, NULL);
    pthread_mutex_init(&credentials->renewing, NULL);
    return credentials;
}

static void
credentials_free(KvgCredentials *credentials)
{
    kvg_source_free(credentials->source);
    kvg_keys_clear(&credentials->shared.keys);
    pthread_mutex_destroy(&credentials->lock);
    pthread_mutex_destroy(&credentials->renewing);
    g_free(credentials->identity);
    g_free(credentials);
}

/* Those of the same identity that there are already, or new ones. Takes @source and @identity. */
static KvgCredentials *
share(KvgSource *source, char *identity)
{
    kvg_aws_init();
    pthread_mutex_lock(&registry_lock);
    if (registry == NULL)
        registry = g_hash_table_new(g_str_hash, g_str_equal);
    KvgCredentials *credentials = g_hash_table_lookup(registry, identity);
    if (credentials != NULL) {
        kvg_credentials_ref(credentials);
        pthread_mutex_unlock(&registry_lock);
        kvg_source_free(source);
        g_free(identity);
        return credentials;
    }
    credentials = credentials_new();
    credentials->source = source;
    credentials->identity = identity;
    g_hash_table_insert(registry, identity, credentials);
    pthread_mutex_unlock(&registry_lock);
    return credentials;
}

KvgCredentials *
kvg_credentials_new_static(const char *access_key,
                           const char *secret_key,
                           const char *session_token)
{
    g_return_val_if_fail(access_key != NULL && secret_key != NULL, NULL);
    KvgCredentials *credentials = credentials_new();
    if (!kvg_keys_are_plain(access_key, secret_key, session_token)) {
        credentials->source =
            kvg_source_static(access_key, secret_key, session_token); /* says why */
        return credentials;
    }
    credentials->shared.keys = (KvgKeys){.access_key = g_strdup(access_key),
                                         .secret_key = g_strdup(secret_key),
                                         .session_token = g_strdup(session_token)};
    return credentials;
}

KvgCredentials *
kvg_credentials_new_iot(const KvgIotIdentity *identity)
{
    g_return_val_if_fail(identity != NULL && identity->endpoint != NULL, NULL);
    g_return_val_if_fail(identity->role_alias != NULL && identity->thing_name != NULL, NULL);
    g_return_val_if_fail(identity->certificate_path != NULL && identity->key_path != NULL, NULL);
    return share(kvg_source_iot(identity),
                 g_strdup_printf("iot\n%s\n%s\n%s\n%s\n%s\n%s\n%u\n%u", identity->endpoint,
                                 identity->role_alias, identity->thing_name,
                                 identity->certificate_path, identity->key_path,
                                 identity->ca_path != NULL ? identity->ca_path : "",
                                 identity->connect_timeout_ms, identity->total_timeout_ms));
}

KvgCredentials *
kvg_credentials_new_file(const char *path)
{
    g_return_val_if_fail(path != NULL, NULL);
    return share(kvg_source_key_file(path), g_strconcat("file\n", path, NULL));
}

KvgCredentials *
kvg_credentials_new_default(const char *profile, GError **error)
{
    g_autoptr(KvgSource) chain = kvg_source_chain(profile);
    /* What can be said now, is: a wrong profile is no reason to wait for a first request. */
    g_autoptr(KvgSource) first = kvg_source_chain_resolve(chain, error);
    if (first == NULL)
        return NULL;
    char *identity = kvg_source_chain_identity(chain);
    return share(g_steal_pointer(&chain), identity);
}

KvgCredentials *
kvg_credentials_ref(KvgCredentials *credentials)
{
    atomic_fetch_add(&credentials->n_refs, 1);
    return credentials;
}

void
kvg_credentials_unref(KvgCredentials *credentials)
{
    if (credentials == NULL)
        return;
    /* With the registry's lock, so that nobody finds there what is about to go. */
    pthread_mutex_lock(&registry_lock);
    const bool is_last = atomic_fetch_sub(&credentials->n_refs, 1) == 1;
    if (is_last && credentials->identity != NULL)
        g_hash_table_remove(registry, credentials->identity);
    pthread_mutex_unlock(&registry_lock);
    if (is_last)
        credentials_free(credentials);
}

/* ---- keys in force ---- */

bool
kvg_credentials_peek(KvgCredentials *credentials, KvgKeys *keys)
{
    pthread_mutex_lock(&credentials->lock);
    const KvgKeys *now = &credentials->shared.keys;
    const int64_t expires_ms = credentials->shared.expires_boot_ms;
    const int64_t left_ms = expires_ms - boot_ms();
    const bool is_usable =
        now->access_key != NULL && (expires_ms == 0 || left_ms > KVG_KEYS_USABLE_MS);
    if (is_usable)
        *keys = (KvgKeys){.access_key = g_strdup(now->access_key),
                          .secret_key = g_strdup(now->secret_key),
                          .session_token = g_strdup(now->session_token),
                          .expires_wall_ms = expires_ms != 0 ? kvg_clock_wall_ms() + left_ms : 0};
    pthread_mutex_unlock(&credentials->lock);
    return is_usable;
}

bool
kvg_credentials_can_refresh(const KvgCredentials *credentials)
{
    return credentials->source != NULL;
}

bool
kvg_credentials_wants_refresh(KvgCredentials *credentials)
{
    const KvgSource *source = credentials->source;
    if (source == NULL)
        return false;
    const uint64_t stamp = source->class->stamp != NULL ? source->class->stamp(source) : 0;
    pthread_mutex_lock(&credentials->lock);
    const int64_t renew_ms = credentials->shared.renew_boot_ms;
    const bool wants = credentials->shared.keys.access_key == NULL ||
                       (renew_ms != 0 && boot_ms() >= renew_ms) ||
                       stamp != credentials->shared.stamp;
    pthread_mutex_unlock(&credentials->lock);
    return wants;
}

/* Renewal is due after 70 to 85 % of the life, so that many cameras do not come at once. */
static void
store_keys(KvgCredentials *credentials, KvgKeys *keys, uint64_t stamp)
{
    const int64_t now_ms = boot_ms();
    const int64_t life_ms =
        keys->expires_wall_ms != 0 ? keys->expires_wall_ms - kvg_clock_wall_ms() : 0;
    const int64_t wait_ms = life_ms * g_random_int_range(70, 86) / 100;
    pthread_mutex_lock(&credentials->lock);
    KvgKeys old = credentials->shared.keys;
    credentials->shared.keys = *keys;
    credentials->shared.stamp = stamp;
    credentials->shared.expires_boot_ms = life_ms != 0 ? now_ms + life_ms : 0;
    credentials->shared.renew_boot_ms = life_ms != 0 ? now_ms + MAX(wait_ms, RENEW_SOONEST_MS) : 0;
    pthread_mutex_unlock(&credentials->lock);
    *keys = (KvgKeys){0};
    kvg_keys_clear(&old);
}

/* ---- renewal ---- */

struct _KvgRenewal {
    KvgCredentials *credentials;
    KvgAttempt *attempt;
    uint64_t stamp; /* before the files were read: a change in between is noticed */
};

KvgRenewal *
kvg_renewal_new(KvgCredentials *credentials)
{
    KvgRenewal *renewal = g_new0(KvgRenewal, 1);
    renewal->credentials = kvg_credentials_ref(credentials);
    renewal->attempt = kvg_attempt_new();
    const KvgSource *source = credentials->source;
    if (source != NULL && source->class->stamp != NULL)
        renewal->stamp = source->class->stamp(source);
    return renewal;
}

KvgRenewalStep
kvg_renewal_step(KvgRenewal *renewal, CURLcode result, GError **error)
{
    KvgCredentials *credentials = renewal->credentials;
    if (credentials->source == NULL)
        return kvg_fault(error, KVG_ERROR_AUTH, "fixed AWS keys", "key", "give other ones",
                         "they were refused and cannot be renewed");
    const KvgRenewalStep step =
        kvg_attempt_step(renewal->attempt, credentials->source, result, error);
    if (step == KVG_RENEWAL_DONE)
        store_keys(credentials, &renewal->attempt->keys, renewal->stamp);
    return step;
}

CURL *
kvg_renewal_easy(const KvgRenewal *renewal)
{
    return kvg_attempt_easy(renewal->attempt);
}

void
kvg_renewal_free(KvgRenewal *renewal)
{
    if (renewal == NULL)
        return;
    kvg_attempt_free(renewal->attempt);
    kvg_credentials_unref(renewal->credentials);
    g_free(renewal);
}

static bool
renew_blocking(KvgCredentials *credentials, GError **error)
{
    g_autoptr(KvgRenewal) renewal = kvg_renewal_new(credentials);
    KvgRenewalStep step = kvg_renewal_step(renewal, CURLE_OK, error);
    while (step == KVG_RENEWAL_REQUEST)
        step = kvg_renewal_step(renewal, curl_easy_perform(kvg_renewal_easy(renewal)), error);
    return step == KVG_RENEWAL_DONE;
}

bool
kvg_credentials_get(KvgCredentials *credentials, KvgKeys *keys, GError **error)
{
    if (kvg_credentials_peek(credentials, keys))
        return true;
    pthread_mutex_lock(&credentials->renewing);
    bool ok = kvg_credentials_peek(credentials, keys); /* another thread's renewal */
    if (!ok && renew_blocking(credentials, error)) {
        ok = kvg_credentials_peek(credentials, keys);
        if (!ok)
            kvg_fault(error, KVG_ERROR_AUTH, "AWS credentials", "clock", "try again",
                      "the new keys expire at once");
    }
    pthread_mutex_unlock(&credentials->renewing);
    return ok;
}
