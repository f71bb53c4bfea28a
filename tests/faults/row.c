#include "row.h"

#include <glib/gstdio.h>
#include <string.h>

#define STEP_MS 50
#define GOP 10
#define FRAME_BYTES 3000
#define CLOSE_MS 60000
#define SHORT_CLOSE_MS 500
#define SETTLE_US (30 * G_USEC_PER_SEC)
#define NAMED_US (5 * G_USEC_PER_SEC)
/* Far below any wait for a network, far above what a busy machine adds to writing a frame. */
#define PUT_US (G_USEC_PER_SEC)

static KvgProxy *
start_proxy(KvgSite *site, uint16_t port, bool is_http)
{
    g_autoptr(GError) error = NULL;
    const KvgProxyOptions options = {.to_port = port,
                                     .is_http = is_http,
                                     .tls = is_http ? site->tls : NULL,
                                     .upstream_tls = is_http ? site->upstream_tls : NULL,
                                     .access_key = site->access_key,
                                     .secret_key = site->secret_key};
    KvgProxy *proxy = kvg_proxy_start(&options, &error);
    g_assert_no_error(error);
    return proxy;
}

static KvgCredentials *
iot_credentials(RowRun *run, RowKeys keys)
{
    KvgSite *site = run->site;
    g_autofree char *endpoint =
        g_strdup_printf("127.0.0.1:%u", kvg_proxy_port(run->credentials_proxy));
    g_autofree char *certificate = kvg_site_identity_path(site, run->stream, "cert.pem");
    g_autofree char *key = kvg_site_identity_path(site, run->stream, "private.key");
    g_autofree char *foreign = g_build_filename(site->folder, "server", "server.pem", NULL);
    g_autofree char *foreign_key = g_build_filename(site->folder, "server", "server.key", NULL);
    const KvgIotIdentity identity = {
        .endpoint = endpoint,
        .role_alias = keys == ROW_KEYS_WRONG_ALIAS ? "NoSuchAlias" : "KvgCamera",
        .thing_name = keys == ROW_KEYS_WRONG_THING ? "no-such-thing" : run->stream,
        .certificate_path = keys == ROW_KEYS_NO_FILE   ? "/nonexistent/camera.cert.pem"
                            : keys == ROW_KEYS_FOREIGN ? foreign
                                                       : certificate,
        .key_path = keys == ROW_KEYS_FOREIGN ? foreign_key : key,
        .ca_path = site->ca_path};
    return kvg_credentials_new_iot(&identity);
}

static KvgCredentials *
make_credentials(RowRun *run, RowKeys keys)
{
    KvgSite *site = run->site;
    switch (keys) {
    case ROW_KEYS_ADMIN:
        return kvg_credentials_new_static(site->access_key, site->secret_key, NULL);
    case ROW_KEYS_WRONG_SECRET:
        return kvg_credentials_new_static(site->access_key, "wrongSecretThatMustNotBeLogged", NULL);
    case ROW_KEYS_UNKNOWN:
        return kvg_credentials_new_static("AKIAUNKNOWN000000000", site->secret_key, NULL);
    case ROW_KEYS_IOT:
    case ROW_KEYS_NO_FILE:
    case ROW_KEYS_FOREIGN:
    case ROW_KEYS_WRONG_ALIAS:
    case ROW_KEYS_WRONG_THING:
        break;
    }
    return iot_credentials(run, keys);
}

/* @is_well: without what is wrong with this row. */
static void
open_camera(RowRun *run, bool is_well)
{
    const Row *row = run->row;
    const RowKeys well = row->keys >= ROW_KEYS_IOT ? ROW_KEYS_IOT : ROW_KEYS_ADMIN;
    g_autoptr(KvgCredentials) credentials = make_credentials(run, is_well ? well : row->keys);
    g_autofree char *proxy = g_strdup_printf("https://127.0.0.1:%u", kvg_proxy_port(run->proxy));
    const KvgProducerOptions producer = {
        .region = "us-east-1",
        .endpoint = !is_well && row->endpoint != NULL ? row->endpoint : proxy,
        .ca_path = !is_well && row->ca_path != NULL ? row->ca_path : run->site->ca_path,
        .spool_path = run->spool_path};
    const KvgStreamOptions stream = {.credentials = credentials,
                                     .create = is_well || !row->no_create,
                                     .retention_hours = 24,
                                     .spool_limit_bytes = row->spool_bytes};
    kvg_camera_open(&run->camera, &producer, &stream);
}

static void
close_camera(RowRun *run, int64_t timeout_ms)
{
    g_autoptr(GError) error = NULL;
    const int64_t start_us = g_get_monotonic_time();
    run->is_drained = kvg_camera_close(&run->camera, timeout_ms, &error);
    run->close_us = MAX(run->close_us, g_get_monotonic_time() - start_us - timeout_ms * 1000);
    g_free(run->close_error);
    run->close_error = error != NULL ? g_strdup(error->message) : NULL;
}

static void
delete_stream(RowRun *run)
{
    g_autoptr(json_t) by_name = json_pack("{s:s}", "StreamName", run->stream);
    g_autoptr(json_t) info = kvg_site_call(run->site, "/describeStream", by_name, NULL);
    g_assert_nonnull(info);
    const char *arn = kvg_json_get_string(json_object_get(info, "StreamInfo"), "StreamARN");
    g_autoptr(json_t) by_arn = json_pack("{s:s}", "StreamARN", arn);
    g_autoptr(json_t) done = kvg_site_call(run->site, "/deleteStream", by_arn, NULL);
    g_assert_nonnull(done);
}

static void
take_step(RowRun *run, const RowStep *step)
{
    KvgProxy *proxy = step->on_credentials ? run->credentials_proxy : run->proxy;
    kvg_proxy_set(proxy, &step->faults);
    switch (step->act) {
    case ROW_SET:
        break;
    case ROW_CUT:
        kvg_proxy_cut(proxy);
        break;
    case ROW_EXPIRE_KEY:
        kvg_proxy_expire_key(run->proxy);
        break;
    case ROW_DELETE:
        delete_stream(run);
        break;
    case ROW_RESTART:
        close_camera(run, SHORT_CLOSE_MS);
        open_camera(run, false);
        break;
    }
}

/* Outages in the length they are named for, in real time. */
static bool
is_full(void)
{
    return g_getenv("KVG_FAULTS_FULL") != NULL;
}

static unsigned
media_seconds(const Row *row)
{
    return (row->seconds != 0 ? row->seconds : 8) * MAX(row->speed, 1);
}

static size_t
count_steps(const Row *row)
{
    size_t n = 1;
    while (n < G_N_ELEMENTS(row->steps) && row->steps[n].at_ms > 0)
        n++;
    return n;
}

static void
put_frames(RowRun *run)
{
    const Row *row = run->row;
    const unsigned speed = is_full() ? 1 : MAX(row->speed, 1);
    const unsigned slowness = is_full() ? MAX(row->speed, 1) : 1;
    const unsigned n = media_seconds(row) * 1000 / STEP_MS;
    const size_t n_steps = count_steps(row);
    size_t step = row->steps[0].at_ms == 0; /* the first was taken */
    for (unsigned i = 0; i < n; i++) {
        const int64_t due_ms = (int64_t)i * STEP_MS / speed;
        for (; step < n_steps && row->steps[step].at_ms * slowness <= due_ms; step++)
            take_step(run, &row->steps[step]);
        const int64_t early_us = run->begin_us + due_ms * 1000 - g_get_monotonic_time();
        if (early_us > 0)
            g_usleep((gulong)early_us);
        run->lag_us = MAX(run->lag_us, -early_us);
        const int64_t put_us = g_get_monotonic_time();
        run->refused += !kvg_camera_put(&run->camera, NULL);
        run->slowest_put_us = MAX(run->slowest_put_us, g_get_monotonic_time() - put_us);
    }
}

/* All but the open fragment is settled, so that what is counted is counted before the last look at
 * it. */
static void
wait_settled(RowRun *run)
{
    const int64_t until_us = g_get_monotonic_time() + SETTLE_US;
    KvgStreamStats stats;
    do {
        g_usleep(10000);
        kvg_stream_get_stats(run->camera.stream, &stats);
    } while (stats.frames_persisted + stats.frames_dropped + GOP < stats.frames_put &&
             g_get_monotonic_time() < until_us);
}

static void *
row_thread(void *data)
{
    RowRun *run = data;
    const Row *row = run->row;
    /* What happens at the start, happens before the start. */
    if (row->steps[0].at_ms == 0)
        take_step(run, &row->steps[0]);
    run->begin_us = g_get_monotonic_time();
    open_camera(run, false);
    put_frames(run);
    if (row->never_works)
        close_camera(run, SHORT_CLOSE_MS);
    else if (!row->stays)
        kvg_proxy_set(run->proxy, NULL);
    if (run->camera.stream == NULL) {
        run->has_worked = run->is_drained;
        kvg_proxy_set(run->proxy, NULL);
        kvg_proxy_set(run->credentials_proxy, NULL);
        open_camera(run, true);
    } else {
        wait_settled(run);
    }
    close_camera(run, CLOSE_MS);
    kvg_proxy_get_counts(run->proxy, &run->counts);
    return NULL;
}

RowRun *
row_start(const Row *row, KvgSite *site)
{
    RowRun *run = g_new0(RowRun, 1);
    run->row = row;
    run->site = site;
    run->stream = g_strdelimit(g_strdup(row->name), "/ ", '-');
    run->spool_path = g_build_filename(site->folder, "spool", run->stream, NULL);
    run->proxy = start_proxy(site, site->https_port, !row->is_tcp);
    run->credentials_proxy = start_proxy(site, site->mtls_port, false);
    const KvgCameraSpec spec = {
        .stream = run->stream, .step_ms = STEP_MS, .gop = GOP, .frame_bytes = FRAME_BYTES};
    kvg_camera_init(&run->camera, &spec,
                    g_get_real_time() / 1000 - (int64_t)media_seconds(row) * 1000);
    run->thread = g_thread_new(run->stream, row_thread, run);
    return run;
}

/* ---- judgement ---- */

static void
print_notes(RowRun *run)
{
    for (guint i = 0; i < run->camera.notes->len; i++) {
        const KvgCameraNote *note = &g_array_index(run->camera.notes, KvgCameraNote, i);
        g_test_message("%7.3f s %s: %s", (double)(note->at_us - run->begin_us) / 1e6,
                       kvg_stream_state_to_string(note->state), note->reason);
    }
}

G_GNUC_PRINTF(3, 4)
static void
must(RowRun *run, bool ok, const char *format, ...)
{
    if (ok)
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    print_notes(run);
    g_test_message("%s: %s", run->row->name, text);
    run->has_failed = true;
}

static void
judge_reason(RowRun *run)
{
    const Row *row = run->row;
    const int64_t slowness = is_full() ? MAX(row->speed, 1) : 1;
    const int64_t set_us = run->begin_us + row->steps[0].at_ms * slowness * 1000;
    const int64_t from_us = MAX(set_us, run->counts.struck_us);
    const int64_t at_us = kvg_camera_find_reason(&run->camera, row->reason, from_us);
    must(run, at_us != 0, "nobody said '%s'", row->reason);
    if (at_us == 0)
        return;
    /* Five seconds, and what the machine kept us waiting besides. */
    must(run, at_us - from_us <= NAMED_US + 2 * run->lag_us, "'%s' was said after %.3f s only",
         row->reason, (double)(at_us - from_us) / 1e6);
    g_test_message("'%s' was said after %.3f s", row->reason, (double)(at_us - from_us) / 1e6);
}

void
row_finish(RowRun *run)
{
    const Row *row = run->row;
    g_thread_join(g_steal_pointer(&run->thread));
    const KvgVerdict verdict = kvg_camera_verify(&run->camera, run->site);
    g_autofree char *problem = verdict.problem;
    g_test_message("%u put, %u stored, %" G_GUINT64_FORMAT " dropped, %u refused; %u PutMedia, %u "
                   "connections; faults struck %u times",
                   run->camera.n_put, verdict.stored, run->camera.dropped, run->refused,
                   run->counts.puts, run->counts.connections, run->counts.struck);
    must(run, problem == NULL, "%s", problem);
    must(run, !run->has_worked, "all arrived, which cannot be");
    must(run, run->is_drained, "not drained: %s", run->close_error);
    must(run, verdict.missing <= run->camera.dropped + row->lost_at_start,
         "%u frames are missing, %" G_GUINT64_FORMAT " are counted as dropped", verdict.missing,
         run->camera.dropped);
    must(run, run->camera.dropped <= row->lost_at_most,
         "%" G_GUINT64_FORMAT " frames dropped, %u allowed", run->camera.dropped,
         row->lost_at_most);
    must(run, run->refused == 0, "%u frames were not taken", run->refused);
    must(run, run->camera.dropped == run->camera.evicted + run->camera.refused,
         "frames were dropped for another reason than the spool's limit and the service");
    must(run, run->slowest_put_us <= PUT_US + 2 * run->lag_us,
         "putting a frame took %.3f s: it waits for the network",
         (double)run->slowest_put_us / 1e6);
    const unsigned most = row->puts_at_most != 0 ? row->puts_at_most : 12;
    must(run, run->counts.puts <= most, "%u PutMedia calls, %u allowed", run->counts.puts, most);
    must(run, run->counts.struck > 0 || row->steps[0].faults.times == 0, "the fault never struck");
    must(run, run->close_us <= NAMED_US + 2 * run->lag_us, "closing took %.3f s too long",
         (double)run->close_us / 1e6);
    if (row->reason != NULL)
        judge_reason(run);
    if (run->has_failed && row->todo != NULL)
        g_test_incomplete(row->todo);
    else if (run->has_failed)
        g_test_fail();
    else if (row->todo != NULL)
        g_test_message("%s: passes: take its todo away", row->name);
}

void
row_free(RowRun *run)
{
    kvg_proxy_stop(run->proxy);
    kvg_proxy_stop(run->credentials_proxy);
    kvg_camera_clear(&run->camera);
    g_free(run->stream);
    g_free(run->spool_path);
    g_free(run->close_error);
    g_free(run);
}
