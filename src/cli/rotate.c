/* kvg provision --rotate: a new certificate beside the old one, proof that it works, the change of
 * the files, the end of the old one. The agent looks at the files whenever it renews credentials or
 * connects, so it goes over by itself; keys that it has remain good until they expire. */
#include "base/backoff.h"
#include "base/clock.h"
#include "cli/key.h"
#include "cli/provision.h"
#include "os/file.h"
#include <errno.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

bool
kvg_certificate_prove(KvgRun *run,
                      const char *camera,
                      const char *certificate,
                      const char *key,
                      int64_t patience_ms,
                      GError **error)
{
    const KvgConfig *config = run->target.config;
    g_autofree char *endpoint = config->credentials_endpoint != NULL
                                    ? g_strdup(config->credentials_endpoint)
                                    : kvg_ledger_get(run->ledger, NULL, "credentials_endpoint");
    if (endpoint == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "not provisioned; run kvg provision");
        return false;
    }
    const KvgIotIdentity identity = {.endpoint = endpoint,
                                     .role_alias = config->role_alias,
                                     .thing_name = camera,
                                     .certificate_path = certificate,
                                     .key_path = key,
                                     .ca_path = kvg_target_ca(&run->target)};
    KvgBackoff backoff = {.base_ms = 250, .cap_ms = 8000};
    const int64_t end_us = kvg_clock_mono_us() + patience_ms * 1000;
    for (;;) {
        /* A new object each time: one that was refused waits before it asks again. */
        KvgCredentials *credentials = kvg_credentials_new_iot(&identity);
        g_auto(KvgKeys) keys = {0};
        g_autoptr(GError) cause = NULL;
        const bool good = kvg_credentials_get(credentials, &keys, &cause);
        kvg_credentials_unref(credentials);
        if (good)
            return true;
        if (kvg_clock_mono_us() >= end_us) {
            g_propagate_prefixed_error(error, g_steal_pointer(&cause),
                                       "the new certificate does not work: ");
            return false;
        }
        g_usleep((gulong)kvg_backoff_next_ms(&backoff) * 1000);
    }
}

static bool
move(const char *from, const char *to, GError **error)
{
    if (rename(from, to) == 0 || errno == ENOENT) /* ENOENT: a killed run has done it */
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", to, g_strerror(errno));
    return false;
}

/* Between the two renames the files do not fit each other; who reads them then keeps what he has
 * and reads again. */
static bool
change_files(KvgRun *run,
             const KvgConfigCamera *camera,
             const char *next_certificate,
             const char *next_key,
             GError **error)
{
    return move(next_key, camera->key_path, error) &&
           move(next_certificate, camera->certificate_path, error) &&
           kvg_dir_sync(run->target.config->identity_directory, error);
}

static bool
note_change(KvgRun *run, const char *camera, const char *old, const char *next, GError **error)
{
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", next);
    kvg_ledger_retire(run->ledger, camera, old);
    kvg_ledger_set(run->ledger, camera, "certificate_id", next);
    kvg_ledger_set(run->ledger, camera, "certificate_arn", arn);
    kvg_ledger_set_made(run->ledger, camera, "certificate", true);
    kvg_ledger_set(run->ledger, camera, "next_id", NULL);
    kvg_ledger_set(run->ledger, camera, "next_arn", NULL);
    kvg_ledger_set(run->ledger, camera, "next_proven", NULL);
    kvg_ledger_set_made(run->ledger, camera, "next", false);
    return kvg_ledger_save(run->ledger, error);
}

/* Whether the change of the files has begun: then the staged key is gone. */
static bool
is_changing(KvgRun *run, const char *camera, const char *next_key)
{
    g_autofree char *next = kvg_ledger_get(run->ledger, camera, "next_id");
    g_autofree char *proven = kvg_ledger_get(run->ledger, camera, "next_proven");
    return next != NULL && g_strcmp0(next, proven) == 0 &&
           !g_file_test(next_key, G_FILE_TEST_EXISTS);
}

static bool
stage(KvgRun *run, const char *camera, const char *certificate, const char *key, GError **error)
{
    if (!kvg_certificate_make(run, camera, "next", key, certificate, error))
        return false;
    g_autofree char *next = kvg_ledger_get(run->ledger, camera, "next_id");
    if (!kvg_certificate_attach(run, camera, next, error) ||
        !kvg_certificate_prove(run, camera, certificate, key, KVG_PROOF_MS, error))
        return false;
    kvg_ledger_set(run->ledger, camera, "next_proven", next);
    return kvg_ledger_save(run->ledger, error);
}

static bool
replace(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    const char *name = camera->name;
    g_autofree char *next_certificate = g_strconcat(camera->certificate_path, ".next", NULL);
    g_autofree char *next_key = g_strconcat(camera->key_path, ".next", NULL);
    g_autofree char *old = kvg_ledger_get(run->ledger, name, "certificate_id");
    if (!is_changing(run, name, next_key) && !stage(run, name, next_certificate, next_key, error))
        return false;
    g_autofree char *next = kvg_ledger_get(run->ledger, name, "next_id");
    return change_files(run, camera, next_certificate, next_key, error) &&
           note_change(run, name, old, next, error);
}

bool
kvg_rotate_camera(KvgRun *run, const char *name, GError **error)
{
    const KvgConfigCamera *camera = kvg_config_find_camera(run->target.config, name);
    g_autofree char *old = kvg_ledger_get(run->ledger, name, "certificate_id");
    g_auto(GStrv) retired = kvg_ledger_retired(run->ledger, name);
    if (old == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "not provisioned; run kvg provision");
        return false;
    }
    /* What a killed run has left to do is only the end of the old one. */
    if (*retired == NULL &&
        (!kvg_run_change(run, KVG_CHANGE_UPDATE, "certificate", name, name, "replaced by a new one")
             ? !run->plans
             : !replace(run, camera, error)))
        return false;
    return run->plans || (kvg_certificate_prove(run, name, camera->certificate_path,
                                                camera->key_path, KVG_PROOF_MS, error) &&
                          kvg_certificate_delete_retired(run, name, error));
}
