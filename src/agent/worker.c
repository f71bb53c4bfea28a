/* kvg agent --worker: runs some of the cameras and holds their streams. Told by the supervisor over
 * KVG_WORKER_FD which ones; tells it each camera's status once a second. Ends when the supervisor
 * does. */
#include "agent/worker.h"
#include "agent/camera.h"
#include "agent/desk.h"
#include "agent/encoder.h"
#include "agent/identity.h"
#include "agent/packet.h"
#include "agent/pipeline.h"
#include "agent/settings.h"
#include "agent/timetable.h"
#include "base/clock.h"
#include "base/text.h"
#include "config/snapshot.h"
#include "os/file.h"
#include "os/log.h"
#include "plugin/kvssink.h"
#include <fcntl.h>
#include <glib-unix.h>
#include <gst/gst.h>
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define LOG_DOMAIN "agent"
#define TICK_MS 250
#define REPORT_TICKS 4
#define CLOSE_TIMEOUT_MS 8000
/* A pipeline that is not down after this never will be. So many of one worker, and it ends. */
#define STUCK_MS 20000
#define MAX_STUCK 3

typedef struct {
    struct Worker *worker;
    KvgConfig *snapshot;           /* holds `given` */
    const KvgConfigCamera *given;  /* as the file says */
    KvgConfigCamera shaped;        /* with the settings in force laid over it */
    const KvgConfigCamera *config; /* = &shaped */
    KvgSettings settings;
    KvgTimetable timetable;
    int64_t held_ms; /* when nothing was asked for the last time */
    KvgCamera machine;
    KvgFramesTap *tap; /* for applications; NULL: not configured */
    KvgHubStream *stream; /* lives over restarts of the pipeline */
    KvgPipeline *pipeline;
    uint64_t frames_seen; /* of the pipeline in use */
    int64_t started_mono_us;
    /* rates, from one report to the next */
    uint64_t last_frames, last_bytes;
    int64_t last_mono_us;
    double fps, bitrate_bps;
    KvgPipelineInfo info;    /* the last known, also while there is no pipeline */
    KvgPipelineWords words;  /* the same */
    uint64_t dropped_before; /* by pipelines that are gone */
    char *said;              /* the failure that was logged last; NULL: something else was */
    char *encode_reason;     /* found out: this camera must be encoded; NULL */
} Entry;

typedef struct Worker {
    GMainLoop *loop;
    KvgConfig *config;
    GPtrArray *cameras; /* Entry */
    KvgDesk *desk;
    unsigned n_ticks;
    guint timer;
    int64_t close_ms; /* at the end, for what is still to be acknowledged */
    int exit_code;
} Worker;

static int64_t
now_ms(void)
{
    return kvg_clock_mono_us() / 1000;
}

/* ---- one camera ---- */

/* Attempts that fail in the same way again and again are one line, until something else happens. */
static bool
is_news(Entry *entry)
{
    const KvgCamera *machine = &entry->machine;
    const bool waits = machine->state == KVG_CAMERA_BACKOFF || machine->state == KVG_CAMERA_FAILED;
    if (machine->state == KVG_CAMERA_CONNECTING)
        return entry->said == NULL;
    if (waits && g_strcmp0(entry->said, machine->reason) == 0)
        return false;
    g_free(entry->said);
    entry->said = waits ? g_strdup(machine->reason) : NULL;
    return true;
}

static void
log_change(Entry *entry, KvgCameraState before)
{
    const char *reason = entry->machine.reason;
    if (entry->machine.state == before || !is_news(entry))
        return;
    KVG_LOG_MESSAGE(LOG_DOMAIN, "CAMERA", entry->config->name, "camera %s is %s%s%s",
                    entry->config->name, kvg_camera_state_to_string(entry->machine.state),
                    reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static void
stop_pipeline(Entry *entry)
{
    if (entry->pipeline != NULL) {
        kvg_pipeline_get_info(entry->pipeline, &entry->info);
        entry->dropped_before += entry->info.dropped_overload;
        entry->info.dropped_overload = 0;
    }
    kvg_pipeline_stop(g_steal_pointer(&entry->pipeline));
    entry->frames_seen = 0;
}

static void
on_ended(KvgPipelineEnd how, const char *reason, void *user_data)
{
    Entry *entry = user_data;
    const KvgCameraState before = entry->machine.state;
    KvgCamera *machine = &entry->machine;
    stop_pipeline(entry);
    switch (how) {
    case KVG_PIPELINE_FAILED:
        kvg_camera_on_failure(machine, reason, false, now_ms());
        break;
    case KVG_PIPELINE_NEEDS_HELP:
        kvg_camera_on_failure(machine, reason, true, now_ms());
        break;
    case KVG_PIPELINE_MUST_ENCODE:
        g_free(entry->encode_reason);
        entry->encode_reason = g_strdup(reason);
        kvg_camera_on_change(machine, reason, now_ms());
        break;
    case KVG_PIPELINE_CHANGED:
        kvg_camera_on_change(machine, reason, now_ms());
        break;
    case KVG_PIPELINE_FINISHED:
        if (entry->config->file.loop)
            kvg_camera_restart(machine, "the file begins again", now_ms());
        else
            kvg_camera_on_finish(machine, reason, now_ms());
        break;
    }
    log_change(entry, before);
}

/* This worker's part of the site's bandwidth for catching up: as many cameras, as much. */
static uint64_t
backlog_share_bps(const Worker *worker)
{
    const KvgConfig *config = worker->config;
    if (config->backlog_bps == 0)
        return 0;
    return MAX(config->backlog_bps * worker->cameras->len / MAX(config->cameras->len, 1), 1);
}

static uint64_t
spool_limit_bytes(const Entry *entry)
{
    const KvgConfig *config = entry->worker->config;
    return config->spool_limit_bytes / MAX(config->cameras->len, 1);
}

static bool
open_stream(Entry *entry, GError **error)
{
    if (entry->stream != NULL)
        return true;
    const KvgConfig *config = entry->worker->config;
    KvgCredentials *credentials = kvg_agent_credentials(config, entry->config, error);
    if (credentials == NULL)
        return false;
    const KvgProducerOptions producer = {.region = config->region,
                                         .endpoint = config->endpoint,
                                         .ca_path = config->ca_bundle,
                                         .spool_path = config->spool_path,
                                         .spool_memory_path = config->spool_memory_path,
                                         .backlog_bps = backlog_share_bps(entry->worker)};
    const KvgStreamOptions stream = {.name = entry->config->name,
                                     .credentials = credentials,
                                     .create = true,
                                     .retention_hours = (uint32_t)entry->config->retention_hours,
                                     .catch_up = config->live_first ? KVG_CATCH_UP_LIVE_FIRST
                                                                    : KVG_CATCH_UP_OLDEST_FIRST,
                                     .spool_tier = config->spool_tier,
                                     .spool_max_age_ms = config->spool_max_age_ms,
                                     .hold = kvg_mode_holds(entry->config->mode.kind),
                                     .hold_keep_ms = entry->config->mode.keep_ms,
                                     .fragment_by_time = entry->config->fragment_ms != 0,
                                     .fragment_duration_ms = entry->config->fragment_ms,
                                     .spool_limit_bytes = spool_limit_bytes(entry)};
    entry->stream = kvg_hub_open_stream(&producer, &stream, error);
    kvg_credentials_unref(credentials);
    return entry->stream != NULL;
}

static void
start_camera(Entry *entry)
{
    g_autoptr(GError) error = NULL;
    if (!open_stream(entry, &error)) {
        kvg_camera_on_failure(&entry->machine, error->message, true, now_ms());
        return;
    }
    const KvgPipelineOptions options = {.camera = entry->config,
                                        .stream = entry->stream,
                                        .tap = entry->tap,
                                        .spool_limit_bytes = spool_limit_bytes(entry),
                                        .encode_reason = entry->encode_reason,
                                        .ended = on_ended,
                                        .user_data = entry};
    entry->pipeline = kvg_pipeline_start(&options);
}

/* Frames come, but nothing is acknowledged. The session begins anew by itself when it is silent;
 * this only says it. */
static void
watch_persisted(Entry *entry)
{
    KvgStreamStats stats;
    const int64_t limit_ms = entry->config->watch_persisted_ms;
    if (entry->stream == NULL || limit_ms == 0 || entry->machine.state != KVG_CAMERA_LIVE)
        return;
    kvg_hub_stream_get_stats(entry->stream, &stats);
    if (stats.state == KVG_STREAM_HOLDING)
        entry->held_ms = now_ms();
    const int64_t since_ms = MAX(entry->held_ms, entry->machine.since_ms);
    const int64_t last_ms = MAX(stats.last_persisted_mono_us / 1000, since_ms);
    const int64_t age_ms = now_ms() - last_ms;
    if (age_ms < limit_ms || stats.spool_fragments == 0) {
        kvg_camera_remark(&entry->machine, NULL);
        return;
    }
    g_autofree char *remark = g_strdup_printf(
        "nothing was acknowledged for %d s, it waits in the spool: %s", (int)(age_ms / 10000) * 10,
        stats.reason[0] != '\0' ? stats.reason : "the service is silent");
    kvg_camera_remark(&entry->machine, remark);
}

/* By its settings and its schedule, which a setting overrides. */
static bool
is_wanted(Entry *entry)
{
    const KvgConfigMode *mode = &entry->config->mode;
    if (!entry->config->streaming || mode->kind != KVG_MODE_SCHEDULE ||
        entry->settings.has_streaming)
        return entry->config->streaming;
    return kvg_timetable_is_on(&entry->timetable, &mode->schedule, kvg_clock_wall_ms());
}

/* A window begins or ends. */
static void
follow_schedule(Entry *entry)
{
    const bool wanted = is_wanted(entry);
    if (wanted == (entry->machine.state != KVG_CAMERA_OFF))
        return;
    const bool by_hand =
        entry->config->mode.kind != KVG_MODE_SCHEDULE || entry->settings.has_streaming;
    g_autofree char *reason =
        by_hand ? g_strdup(wanted ? "switched on" : "switched off")
                : kvg_timetable_reason(&entry->timetable, &entry->config->mode.schedule);
    if (kvg_camera_switch(&entry->machine, wanted, reason, now_ms()) == KVG_CAMERA_DO_STOP)
        stop_pipeline(entry);
}

static void
tick_camera(Entry *entry)
{
    const KvgCameraState before = entry->machine.state;
    follow_schedule(entry);
    if (entry->pipeline != NULL) {
        kvg_pipeline_get_info(entry->pipeline, &entry->info);
        if (entry->info.frames != entry->frames_seen)
            kvg_camera_on_frame(&entry->machine, now_ms());
        entry->frames_seen = entry->info.frames;
        kvg_pipeline_check(entry->pipeline, kvg_clock_mono_us());
        watch_persisted(entry);
    }
    switch (kvg_camera_tick(&entry->machine, now_ms())) {
    case KVG_CAMERA_DO_NOTHING:
        break;
    case KVG_CAMERA_DO_START:
        start_camera(entry);
        break;
    case KVG_CAMERA_DO_STOP:
        stop_pipeline(entry);
        break;
    }
    log_change(entry, before);
}

/* ---- settings ---- */

static void
shape(Entry *entry, const json_t *settings)
{
    g_autoptr(GError) error = NULL;
    KvgSettings wanted = {0};
    if (!kvg_settings_merge(&wanted, settings, NULL, &error))
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", entry->given->name, "%s", error->message);
    else
        entry->settings = wanted;
    entry->shaped = *entry->given;
    kvg_settings_apply(&entry->settings, &entry->shaped);
    entry->machine.watch_frames_ms = entry->shaped.watch_frames_ms;
    entry->timetable = (KvgTimetable){0};
}

static bool
is_encoded_alike(const KvgConfigCamera *a, const KvgConfigCamera *b)
{
    return a->passthrough == b->passthrough && a->width == b->width && a->height == b->height &&
           a->fps == b->fps && a->bitrate_bps == b->bitrate_bps && a->fragment_ms == b->fragment_ms;
}

/* The length of fragments belongs to the stream; what is in its spool stays there for the next. */
static void
reopen_stream(Entry *entry)
{
    g_autoptr(GError) error = NULL;
    if (!kvg_hub_stream_release(g_steal_pointer(&entry->stream), 0, &error))
        KVG_LOG_INFO(LOG_DOMAIN, "CAMERA", entry->given->name, "camera %s: %s", entry->given->name,
                     error->message);
}

static void
change_settings(Entry *entry, const json_t *settings)
{
    const KvgConfigCamera old = entry->shaped;
    const KvgCameraState before = entry->machine.state;
    shape(entry, settings);
    KvgCameraAction action = KVG_CAMERA_DO_NOTHING;
    if (old.streaming != entry->shaped.streaming)
        action =
            kvg_camera_switch(&entry->machine, entry->shaped.streaming,
                              entry->shaped.streaming ? "switched on" : "switched off", now_ms());
    else if (!is_encoded_alike(&old, &entry->shaped)) {
        g_clear_pointer(&entry->encode_reason, g_free);
        action = kvg_camera_restart(&entry->machine, "its settings were changed", now_ms());
    }
    if (action == KVG_CAMERA_DO_STOP)
        stop_pipeline(entry);
    if (old.fragment_ms != entry->shaped.fragment_ms && entry->stream != NULL)
        reopen_stream(entry);
    log_change(entry, before);
    tick_camera(entry);
}

/* ---- reports ---- */

static void
measure_rates(Entry *entry, const KvgStreamStats *stats, int64_t now_us)
{
    const double seconds = (double)(now_us - entry->last_mono_us) / G_USEC_PER_SEC;
    if (entry->last_mono_us != 0 && seconds > 0.1) {
        const double fps = (double)(stats->frames_put - entry->last_frames) / seconds;
        const double bps = (double)(stats->bytes_put - entry->last_bytes) * 8 / seconds;
        /* Smoothed over a few seconds; a new camera shows its rate at once. */
        const double keep = entry->fps == 0 ? 0 : 0.7;
        entry->fps = entry->fps * keep + fps * (1 - keep);
        entry->bitrate_bps = entry->bitrate_bps * keep + bps * (1 - keep);
    }
    entry->last_mono_us = now_us;
    entry->last_frames = stats->frames_put;
    entry->last_bytes = stats->bytes_put;
}

static void
set_int(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, json_integer(value));
}

static void
set_text(json_t *object, const char *key, const char *value)
{
    g_autofree char *valid = value != NULL ? g_utf8_make_valid(value, -1) : NULL;
    json_object_set_new(object, key, valid != NULL ? json_string(valid) : json_null());
}

/* Why frames were dropped, what became of the sessions, what is wrong. */
static void
add_upload_stats(json_t *out, const KvgStreamStats *stats)
{
    g_autoptr(json_t) ends = json_object();
    for (int i = 0; i < KVG_STREAM_N_ENDS; i++)
        set_int(ends, kvg_stream_end_to_string((KvgStreamEnd)i), (int64_t)stats->session_ends[i]);
    set_int(out, "frames_dropped_invalid", (int64_t)stats->frames_dropped_invalid);
    set_int(out, "frames_dropped_full", (int64_t)stats->frames_dropped_full);
    set_int(out, "frames_dropped_evicted", (int64_t)stats->frames_dropped_evicted);
    set_int(out, "frames_dropped_refused", (int64_t)stats->frames_dropped_refused);
    set_int(out, "timestamps_repaired", (int64_t)stats->timestamps_repaired);
    set_int(out, "fragments_resent", (int64_t)stats->fragments_resent);
    set_int(out, "bytes_sent", (int64_t)stats->bytes_sent);
    set_int(out, "sessions", (int64_t)stats->sessions);
    json_object_set(out, "session_ends", ends);
    set_int(out, "acks_error", (int64_t)stats->acks_error);
    set_int(out, "last_error_id", stats->last_error_id);
    set_int(out, "throttled", (int64_t)stats->throttled);
    set_int(out, "failures", (int64_t)stats->failures);
    set_int(out, "clock_corrections", (int64_t)stats->clock_corrections);
    set_int(out, "clock_offset_ms", stats->clock_offset_ms);
    set_int(out, "connect_ms", stats->connect_ms);
    set_int(out, "buffering_latency_ms", stats->buffering_latency_ms);
    set_int(out, "received_latency_ms", stats->received_latency_ms);
    set_int(out, "spool_fragments", (int64_t)stats->spool_fragments);
    set_int(out, "held_bytes", (int64_t)stats->held_bytes);
    set_int(out, "held_fragments", (int64_t)stats->held_fragments);
    set_int(out, "frames_not_asked_for", (int64_t)stats->frames_not_asked_for);
    set_int(out, "spool_damaged", (int64_t)stats->spool_damaged);
    set_int(out, "spool_failures", (int64_t)stats->spool_failures);
    set_text(out, "spool_trouble", stats->spool_trouble);
}

static void
add_stream_stats(json_t *out, const Entry *entry, const KvgStreamStats *stats, int64_t now_us)
{
    set_int(out, "frames", (int64_t)stats->frames_put);
    set_int(out, "frames_dropped", (int64_t)stats->frames_dropped);
    set_int(out, "frames_before_key", (int64_t)stats->frames_before_key);
    set_int(out, "bytes", (int64_t)stats->bytes_put);
    set_int(out, "fragments", (int64_t)stats->fragments_put);
    set_int(out, "fragments_persisted", (int64_t)stats->fragments_persisted);
    set_int(out, "fragments_dropped", (int64_t)stats->fragments_dropped);
    set_int(out, "frames_persisted", (int64_t)stats->frames_persisted);
    set_int(out, "media_ms_persisted", (int64_t)stats->media_ms_persisted);
    set_int(out, "spool_bytes", (int64_t)stats->spool_bytes);
    set_int(out, "first_persisted_ms",
            stats->first_persisted_mono_us != 0
                ? (stats->first_persisted_mono_us - entry->started_mono_us) / 1000
                : -1);
    set_int(out, "last_persisted_age_ms",
            stats->last_persisted_mono_us != 0 ? (now_us - stats->last_persisted_mono_us) / 1000
                                               : -1);
    set_int(out, "ack_latency_ms", stats->last_ack_latency_ms);
    set_int(out, "credentials_expire_ms", stats->credentials_expire_wall_ms);
    set_text(out, "stream_state", kvg_stream_state_to_string(stats->state));
    set_text(out, "stream_reason", stats->reason);
}

static void
report(Entry *entry)
{
    const int64_t now_us = kvg_clock_mono_us();
    const bool is_live = entry->machine.state == KVG_CAMERA_LIVE;
    KvgStreamStats stats = {0};
    g_autoptr(json_t) out = json_object();
    set_text(out, "name", entry->config->name);
    if (entry->stream != NULL) {
        kvg_hub_stream_get_stats(entry->stream, &stats);
        measure_rates(entry, &stats, now_us);
        add_stream_stats(out, entry, &stats, now_us);
        add_upload_stats(out, &stats);
    }
    set_text(out, "state", kvg_camera_state_to_string(entry->machine.state));
    set_text(out, "reason", entry->machine.reason);
    set_int(out, "since_ms", now_us / 1000 - entry->machine.since_ms);
    set_text(out, "codec", entry->info.codec);
    set_text(out, "mode", entry->info.encoded ? "encoded" : "passthrough");
    if (entry->pipeline != NULL) {
        kvg_pipeline_words_clear(&entry->words);
        kvg_pipeline_get_words(entry->pipeline, &entry->words);
    }
    set_text(out, "decision", entry->words.decision);
    set_text(out, "encoder", entry->words.encoder);
    set_text(out, "audio", entry->words.audio);
    set_text(out, "clock", entry->words.clock);
    set_int(out, "frames_dropped_overload",
            (int64_t)(entry->dropped_before + entry->info.dropped_overload));
    set_int(out, "stuck_pipelines", kvg_pipeline_n_stuck(entry->config->name, STUCK_MS));
    set_int(out, "width", entry->info.width);
    set_int(out, "height", entry->info.height);
    json_object_set_new(out, "fps", json_real(is_live ? (int)(entry->fps * 10 + 0.5) / 10.0 : 0));
    set_int(out, "bitrate_bps", is_live ? (int64_t)entry->bitrate_bps : 0);
    set_int(out, "restarts", entry->machine.restarts);
    json_object_set_new(out, "streaming", json_boolean(is_wanted(entry)));
    set_text(out, "upload_mode", kvg_mode_to_string(entry->config->mode.kind));
    kvg_packet_write(KVG_WORKER_FD, out, -1);
}

static gboolean
on_tick(void *user_data)
{
    Worker *worker = user_data;
    const bool reports = worker->n_ticks++ % REPORT_TICKS == 0;
    for (guint i = 0; i < worker->cameras->len; i++) {
        Entry *entry = g_ptr_array_index(worker->cameras, i);
        const KvgCameraState before = entry->machine.state;
        tick_camera(entry);
        if (reports || entry->machine.state != before)
            report(entry);
    }
    const unsigned n_stuck = reports ? kvg_pipeline_n_stuck(NULL, STUCK_MS) : 0;
    if (n_stuck >= MAX_STUCK) {
        KVG_LOG_WARNING(LOG_DOMAIN, "STUCK", "",
                        "%u pipelines hang in a decoder or a device; this worker starts anew",
                        n_stuck);
        worker->exit_code = KVG_WORKER_EXIT_STUCK;
        g_main_loop_quit(worker->loop);
    }
    return G_SOURCE_CONTINUE;
}

/* ---- supervisor ---- */

static void
entry_free(void *data)
{
    Entry *entry = data;
    kvg_frames_tap_close(entry->tap);
    kvg_camera_clear(&entry->machine);
    kvg_config_unref(entry->snapshot);
    kvg_pipeline_words_clear(&entry->words);
    g_free(entry->encode_reason);
    g_free(entry->said);
    g_free(entry);
}

static Entry *
find_entry(const Worker *worker, const char *name, guint *index)
{
    for (guint i = 0; i < worker->cameras->len; i++) {
        Entry *entry = g_ptr_array_index(worker->cameras, i);
        if (g_strcmp0(entry->given->name, name) != 0)
            continue;
        if (index != NULL)
            *index = i;
        return entry;
    }
    return NULL;
}

static void
give(Entry *entry, KvgConfig *config, const KvgConfigCamera *camera)
{
    kvg_config_unref(entry->snapshot);
    entry->snapshot = kvg_config_ref(config);
    entry->given = camera;
}

/* Consumers of a camera that is read anew connect again. */
static void
open_frames(Entry *entry)
{
    g_autoptr(GError) error = NULL;
    kvg_frames_tap_close(g_steal_pointer(&entry->tap));
    if (!entry->given->frames)
        return;
    entry->tap = kvg_frames_tap_open(entry->snapshot->frames_path, entry->given->name, &error);
    if (entry->tap == NULL)
        KVG_LOG_WARNING(LOG_DOMAIN, "CAMERA", entry->given->name,
                        "camera %s: no frames for applications: %s", entry->given->name,
                        error->message);
}

static void
add_camera(Worker *worker, const KvgConfigCamera *camera, const json_t *settings)
{
    Entry *entry = g_new0(Entry, 1);
    entry->worker = worker;
    give(entry, worker->config, camera);
    entry->config = &entry->shaped;
    shape(entry, settings);
    open_frames(entry);
    entry->started_mono_us = kvg_clock_mono_us();
    kvg_camera_init(&entry->machine, entry->shaped.streaming, now_ms());
    entry->machine.watch_frames_ms = entry->shaped.watch_frames_ms;
    g_ptr_array_add(worker->cameras, entry);
}

static void *
close_removed(void *data)
{
    Entry *entry = data;
    g_autoptr(GError) error = NULL;
    if (!kvg_hub_stream_release(g_steal_pointer(&entry->stream), CLOSE_TIMEOUT_MS, &error))
        KVG_LOG_MESSAGE(LOG_DOMAIN, "CAMERA", entry->config->name, "camera %s: %s",
                        entry->config->name, error->message);
    entry_free(entry);
    return NULL;
}

/* What is still to be acknowledged is waited for by a thread of its own. */
static void
remove_camera(Worker *worker, guint index)
{
    Entry *entry = g_ptr_array_steal_index(worker->cameras, index);
    KVG_LOG_MESSAGE(LOG_DOMAIN, "CAMERA", entry->config->name,
                    "camera %s is no longer in the configuration", entry->config->name);
    stop_pipeline(entry);
    if (entry->stream == NULL)
        entry_free(entry);
    else
        g_thread_unref(g_thread_new("kvg-close", close_removed, entry));
}

/* Whatever it is that has changed, stream and pipeline are made anew; with the next tick, when the
 * old pipeline is gone. */
static void
change_camera(Entry *entry,
              KvgConfig *config,
              const KvgConfigCamera *camera,
              const json_t *settings)
{
    const bool was_on = entry->shaped.streaming;
    const KvgCameraState before = entry->machine.state;
    give(entry, config, camera);
    shape(entry, settings);
    entry->machine.watch_frames_ms = entry->shaped.watch_frames_ms;
    g_clear_pointer(&entry->encode_reason, g_free);
    const bool is_on = entry->shaped.streaming;
    if (was_on != is_on)
        kvg_camera_switch(&entry->machine, is_on, is_on ? "switched on" : "switched off", now_ms());
    else
        kvg_camera_restart(&entry->machine, "its configuration was changed", now_ms());
    stop_pipeline(entry);
    open_frames(entry);
    if (entry->stream != NULL)
        reopen_stream(entry);
    log_change(entry, before);
    report(entry);
}

static bool
has_name(const json_t *names, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(names, i, item)
    {
        if (g_strcmp0(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

/* ---- requests for what is kept; see desk.h ---- */

static KvgStream *
find_stream(const char *camera, const KvgConfigCamera **config, GError **error, void *user_data)
{
    Entry *entry = find_entry(user_data, camera, NULL);
    if (entry == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "camera '%s' is not here", camera);
        return NULL;
    }
    *config = entry->config;
    if (!kvg_hold_check(entry->config, error) || !open_stream(entry, error))
        return NULL;
    return kvg_hub_stream_get(entry->stream);
}

static void
send_answer(const json_t *packet, void *user_data)
{
    kvg_packet_write(KVG_WORKER_FD, packet, -1);
}

/* ---- the supervisor ---- */

/* The cameras of this worker are those of @packet from now on, by @config. */
static void
take_cameras(Worker *worker, KvgConfig *config, const json_t *packet)
{
    const json_t *names = json_object_get(packet, "cameras");
    const json_t *settings = json_object_get(packet, "settings");
    kvg_config_unref(worker->config);
    worker->config = kvg_config_ref(config);
    for (guint i = worker->cameras->len; i-- > 0;) {
        const Entry *entry = g_ptr_array_index(worker->cameras, i);
        if (!has_name(names, entry->given->name))
            remove_camera(worker, i);
    }
    g_autofree char *encoders = g_build_filename(worker->config->spool_path, "encoders.json", NULL);
    kvg_encoder_set_cache(encoders);
    size_t i;
    json_t *item;
    json_array_foreach(names, i, item)
    {
        const char *name = json_string_value(item);
        const KvgConfigCamera *camera = kvg_config_find_camera(config, name);
        Entry *entry = find_entry(worker, name, NULL);
        if (camera == NULL)
            continue; /* never: both come from the same snapshot */
        if (entry == NULL)
            add_camera(worker, camera, json_object_get(settings, name));
        else if (has_name(json_object_get(packet, "changed"), name))
            change_camera(entry, config, camera, json_object_get(settings, name));
        kvg_desk_set_wishes(worker->desk, name,
                            json_object_get(json_object_get(settings, name), "wishes"));
    }
}

/* "start" and "apply". @fd: of the configuration. */
static bool
configure(Worker *worker, const json_t *packet, int fd)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KvgConfig) config = kvg_config_from_fd(fd, &error);
    if (config == NULL) {
        KVG_LOG_WARNING(LOG_DOMAIN, "REASON", error->message, "%s", error->message);
        return false;
    }
    take_cameras(worker, config, packet);
    if (worker->timer == 0)
        worker->timer = g_timeout_add(TICK_MS, on_tick, worker);
    return true;
}

static void
set_one(Worker *worker, const json_t *packet)
{
    Entry *entry = find_entry(worker, kvg_json_get_string(packet, "camera"), NULL);
    if (entry == NULL)
        return;
    const json_t *settings = json_object_get(packet, "settings");
    change_settings(entry, settings);
    kvg_desk_set_wishes(worker->desk, entry->given->name, json_object_get(settings, "wishes"));
    report(entry);
}

static gboolean
on_packet(int fd, GIOCondition condition, void *user_data)
{
    Worker *worker = user_data;
    g_autoptr(json_t) packet = NULL;
    g_auto(KvgFd) with = KVG_FD_NONE;
    const KvgPacketRead got = kvg_packet_read(fd, &packet, &with);
    const char *op = kvg_json_get_string(packet, "op");
    if (got == KVG_PACKET_CLOSED) {
        worker->close_ms = 0; /* another supervisor may be waiting for the spool */
        g_main_loop_quit(worker->loop);
    }
    if (g_strcmp0(op, "stop") == 0) {
        worker->close_ms = kvg_json_get_int(packet, "wait_ms", CLOSE_TIMEOUT_MS);
        g_main_loop_quit(worker->loop);
    } else if (g_strcmp0(op, "start") == 0 || g_strcmp0(op, "apply") == 0) {
        if (!configure(worker, packet, with))
            g_main_loop_quit(worker->loop);
    } else if (g_strcmp0(op, "set") == 0) {
        set_one(worker, packet);
    } else if (op != NULL) {
        kvg_desk_take(worker->desk, packet);
    }
    return got == KVG_PACKET_CLOSED ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static gboolean
on_signal(void *user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_CONTINUE;
}

static void *
close_stream(void *data)
{
    Entry *entry = data;
    g_autoptr(GError) error = NULL;
    if (!kvg_hub_stream_release(g_steal_pointer(&entry->stream), entry->worker->close_ms, &error))
        KVG_LOG_MESSAGE(LOG_DOMAIN, "CAMERA", entry->config->name, "camera %s: %s",
                        entry->config->name, error->message);
    return NULL;
}

/* Ends all cameras side by side: first the pipelines, then what is still to be acknowledged. */
static void
shut_down(Worker *worker)
{
    if (worker->timer != 0)
        g_source_remove(worker->timer);
    for (guint i = 0; i < worker->cameras->len; i++) {
        Entry *entry = g_ptr_array_index(worker->cameras, i);
        stop_pipeline(entry);
    }
    kvg_pipeline_wait_all(worker->close_ms);
    g_autoptr(GPtrArray) threads = g_ptr_array_new();
    for (guint i = 0; i < worker->cameras->len; i++) {
        Entry *entry = g_ptr_array_index(worker->cameras, i);
        g_ptr_array_add(threads, g_thread_new("kvg-close", close_stream, entry));
    }
    for (guint i = 0; i < threads->len; i++)
        g_thread_join(g_ptr_array_index(threads, i));
}

int
kvg_worker_run(void)
{
    gst_init(NULL, NULL);
    if (!kvg_plugin_register_static()) {
        fprintf(stderr, "kvg agent: the element kvssink cannot be registered\n");
        return 1;
    }
    /* What it starts itself has no part in these. */
    fcntl(KVG_WORKER_FD, F_SETFD, FD_CLOEXEC);
    fcntl(KVG_WORKER_LOCK_FD, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NAME, "kvg-worker");
    Worker worker = {.loop = g_main_loop_new(NULL, FALSE),
                     .close_ms = CLOSE_TIMEOUT_MS,
                     .cameras = g_ptr_array_new_with_free_func(entry_free)};
    const KvgDeskOptions desk = {find_stream, send_answer, &worker};
    worker.desk = kvg_desk_new(&desk);
    g_unix_fd_add(KVG_WORKER_FD, G_IO_IN | G_IO_HUP, on_packet, &worker);
    g_unix_signal_add(SIGTERM, on_signal, worker.loop);
    g_unix_signal_add(SIGINT, on_signal, worker.loop);
    g_main_loop_run(worker.loop);
    kvg_desk_free(worker.desk);
    shut_down(&worker);
    g_ptr_array_unref(worker.cameras);
    kvg_config_unref(worker.config);
    g_main_loop_unref(worker.loop);
    return worker.exit_code;
}
