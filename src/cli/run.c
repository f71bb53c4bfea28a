/* A run of provisioning or destruction: what is due, how far it is, and its crew of threads. */
#include "cli/provision.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

#define BAR_WIDTH 30

void
kvg_run_init(KvgRun *run)
{
    *run = (KvgRun){.key_type = "ec", .jobs = 8};
    g_mutex_init(&run->shared.lock);
    g_mutex_init(&run->progress.lock);
    run->shared.changes = json_array();
    run->progress.is_bar = isatty(STDERR_FILENO) == 1;
}

void
kvg_run_clear(KvgRun *run)
{
    kvg_target_clear(&run->target);
    kvg_ledger_close(run->ledger);
    g_free(run->account);
    g_free(run->role_arn);
    json_decref(run->shared.changes);
    json_decref(run->shared.orphans);
    g_clear_error(&run->shared.error);
    g_mutex_clear(&run->shared.lock);
    g_mutex_clear(&run->progress.lock);
}

const char *
kvg_run_region(const KvgRun *run)
{
    return kvg_target_region(&run->target);
}

bool
kvg_run_open(KvgRun *run, GError **error)
{
    if (!kvg_target_open(&run->target, error))
        return false;
    run->ledger = kvg_ledger_open(run->target.config->identity_directory, run->plans, error);
    if (run->ledger == NULL)
        return false;
    const char *const form[] = {"GetCallerIdentity", NULL};
    run->account = kvg_call_query(run, "sts", form, "Account", NULL, NULL, error);
    if (run->account == NULL)
        return false;
    g_autofree char *before = kvg_ledger_get(run->ledger, NULL, "account");
    if (before != NULL && strcmp(before, run->account) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "%s/provision.json is about account %s, these credentials are of account %s; "
                    "use those credentials, or another identity.directory",
                    run->target.config->identity_directory, before, run->account);
        return false;
    }
    return true;
}

/* ---- progress ---- */

/* With the lock held. */
static void
draw(KvgRun *run)
{
    const unsigned n_all = MAX(run->progress.n_all, 1);
    const unsigned n = BAR_WIDTH * run->progress.n_done / n_all;
    fprintf(stderr, "\r[%.*s%*s] %u/%u", (int)n, "##############################",
            (int)(BAR_WIDTH - n), "", run->progress.n_done, run->progress.n_all);
    fflush(stderr);
    run->progress.is_drawn = true;
}

static void
wipe(KvgRun *run)
{
    if (run->progress.is_drawn)
        fputs("\r\033[K", stderr);
    run->progress.is_drawn = false;
}

void
kvg_run_say(KvgRun *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_mutex_lock(&run->progress.lock);
    const bool was_drawn = run->progress.is_drawn;
    wipe(run);
    fprintf(stderr, "%s\n", text);
    if (was_drawn)
        draw(run);
    g_mutex_unlock(&run->progress.lock);
}

static void
camera_is_done(KvgRun *run, const char *camera, const char *verb)
{
    g_mutex_lock(&run->progress.lock);
    run->progress.n_done++;
    if (run->progress.is_bar)
        draw(run);
    else
        fprintf(stderr, "[%u/%u] %s %s\n", run->progress.n_done, run->progress.n_all, camera, verb);
    g_mutex_unlock(&run->progress.lock);
}

bool
kvg_run_change(KvgRun *run,
               KvgChange change,
               const char *kind,
               const char *name,
               const char *camera,
               const char *detail)
{
    static const struct {
        const char *name;
        char sign;
    } changes[] = {{"create", '+'}, {"update", '~'}, {"delete", '-'}};
    g_mutex_lock(&run->shared.lock);
    json_array_append_new(run->shared.changes, json_pack("{s:s, s:s, s:s, s:s?, s:s?}", "change",
                                                         changes[change].name, "kind", kind, "name",
                                                         name, "camera", camera, "detail", detail));
    g_mutex_unlock(&run->shared.lock);
    if (run->plans || !run->progress.is_bar || camera == NULL)
        kvg_run_say(run, "%c %s %s%s%s", changes[change].sign, kind, name,
                    detail != NULL ? ": " : "", detail != NULL ? detail : "");
    return !run->plans;
}

/* ---- crew ---- */

typedef struct {
    KvgRun *run;
    const char *verb;
    KvgCameraStep step;
} Crew;

static void
work(void *data, void *user_data)
{
    const char *camera = data;
    const Crew *crew = user_data;
    KvgRun *run = crew->run;
    g_autoptr(GError) error = NULL;
    if (crew->step(run, camera, &error)) {
        camera_is_done(run, camera, crew->verb);
        return;
    }
    kvg_run_say(run, "camera %s: %s", camera, error->message);
    g_mutex_lock(&run->shared.lock);
    run->shared.n_failed++;
    if (run->shared.error == NULL)
        run->shared.error =
            g_error_new(error->domain, error->code, "camera %s: %s", camera, error->message);
    g_mutex_unlock(&run->shared.lock);
}

bool
kvg_run_crew(
    KvgRun *run, const char *const *cameras, const char *verb, KvgCameraStep step, GError **error)
{
    Crew crew = {run, verb, step};
    run->progress.n_all = g_strv_length((char **)(uintptr_t)cameras);
    run->progress.n_done = 0;
    GThreadPool *pool = g_thread_pool_new(work, &crew, run->jobs, FALSE, error);
    if (pool == NULL)
        return false;
    for (size_t i = 0; cameras[i] != NULL; i++)
        g_thread_pool_push(pool, (void *)(uintptr_t)cameras[i], NULL);
    g_thread_pool_free(pool, FALSE, TRUE);
    g_mutex_lock(&run->progress.lock);
    wipe(run);
    g_mutex_unlock(&run->progress.lock);
    if (run->shared.error == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&run->shared.error));
    if (run->shared.n_failed > 1)
        g_prefix_error(error, "%u cameras failed, the first of them: ", run->shared.n_failed);
    return false;
}
