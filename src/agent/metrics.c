#include "agent/metrics.h"
#include "agent/camera.h"
#include <string.h>

/* Members of a camera's report. A name that ends in _total is a counter; _ms becomes seconds. */
static const struct {
    const char *member, *name, *help;
} numbers[] = {
    {"frames", "kvg_camera_frames_total", "Frames taken from the camera"},
    {"bytes", "kvg_camera_bytes_total", "Bytes taken from the camera"},
    {"frames_before_key", "kvg_camera_frames_before_key_total",
     "Frames left out before the first key frame"},
    {"timestamps_repaired", "kvg_camera_timestamps_repaired_total",
     "Frames whose time was missing, equal or backward"},
    {"frames_persisted", "kvg_camera_frames_persisted_total", "Frames in acknowledged fragments"},
    {"media_ms_persisted", "kvg_camera_media_persisted_seconds_total",
     "Duration of acknowledged fragments"},
    {"fragments", "kvg_camera_fragments_total", "Fragments completed into the spool"},
    {"fragments_persisted", "kvg_camera_fragments_persisted_total",
     "Fragments acknowledged PERSISTED"},
    {"fragments_dropped", "kvg_camera_fragments_dropped_total",
     "Fragments evicted from a full spool, or refused"},
    {"fragments_resent", "kvg_camera_fragments_resent_total",
     "Fragments sent again after a session failed"},
    {"bytes_sent", "kvg_camera_upload_bytes_total", "Bytes sent, resends included"},
    {"sessions", "kvg_camera_upload_sessions_total", "PutMedia calls made"},
    {"acks_error", "kvg_camera_acks_error_total", "ERROR acknowledgements"},
    {"throttled", "kvg_camera_throttled_total", "Answers that asked to slow down"},
    {"failures", "kvg_camera_upload_failures_total", "Failed calls and sessions of every kind"},
    {"clock_corrections", "kvg_camera_clock_corrections_total",
     "Signatures refused for this machine's clock, and put right"},
    {"restarts", "kvg_camera_restarts_total", "Times the pipeline was built anew"},
    {"process_ends", "kvg_camera_process_ends_total",
     "Times the camera's worker ended unasked; absent until it did"},
    {"spool_damaged", "kvg_camera_spool_damaged_total",
     "Records of the spool that could not be read back"},
    {"spool_failures", "kvg_camera_spool_failures_total", "Calls of disk or memory that failed"},
    {"spool_bytes", "kvg_camera_spool_bytes", "Bytes waiting to be persisted"},
    {"spool_fragments", "kvg_camera_spool_fragments", "Fragments waiting to be persisted"},
    {"clock_offset_ms", "kvg_camera_clock_offset_seconds",
     "Added to this machine's clock when signing"},
    {"connect_ms", "kvg_camera_connect_seconds", "Last session, from the call to its 200"},
    {"buffering_latency_ms", "kvg_camera_buffering_latency_seconds",
     "First byte of a fragment sent to BUFFERING"},
    {"received_latency_ms", "kvg_camera_received_latency_seconds",
     "Last byte of a fragment sent to RECEIVED"},
    {"ack_latency_ms", "kvg_camera_persisted_latency_seconds", "End of a fragment to PERSISTED"},
    {"since_ms", "kvg_camera_state_seconds", "Time in the present state"},
    {"last_persisted_age_ms", "kvg_camera_last_persisted_age_seconds",
     "Since the last PERSISTED; absent until there is one"},
    {"credentials_expire_ms", "kvg_camera_credentials_expiry_timestamp_seconds",
     "When the keys end, since 1970; absent if never or unknown"},
    {"certificate_expires_ms", "kvg_camera_certificate_expiry_timestamp_seconds",
     "When the certificate ends, since 1970; absent if there is none"},
    {"last_error_id", "kvg_camera_last_error_id", "Of the last ERROR acknowledgement; 0: none"},
};

static const char *const drops[] = {"invalid", "full", "evicted", "refused", "overload"};

static void
head(GString *out, const char *name, const char *help)
{
    g_string_append_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
                           g_str_has_suffix(name, "_total") ? "counter" : "gauge");
}

static void
sample(GString *out, const char *name, const json_t *camera, const char *label, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    g_string_append_printf(out, "%s{camera=\"%s\"%s} %s\n", name,
                           kvg_json_get_string(camera, "name"), label,
                           g_ascii_formatd(text, sizeof text, "%.15g", value));
}

/* Not known yet is no sample, rather than a wrong one. */
static bool
is_unknown(const char *member, double value)
{
    return value < 0 ||
           (value == 0 && g_str_has_suffix(member, "_ms") && strstr(member, "_expire") != NULL);
}

static void
put_number(GString *out, const json_t *cameras, size_t row)
{
    const char *member = numbers[row].member;
    const double scale = strstr(member, "_ms") != NULL ? 1e-3 : 1;
    const bool is_signed = strcmp(member, "clock_offset_ms") == 0;
    size_t i;
    json_t *camera;
    head(out, numbers[row].name, numbers[row].help);
    json_array_foreach((json_t *)(uintptr_t)cameras, i, camera)
    {
        const json_t *value = json_object_get(camera, member);
        const double number = json_number_value(value);
        if (json_is_number(value) && (is_signed || !is_unknown(member, number)))
            sample(out, numbers[row].name, camera, "", number * scale);
    }
}

static void
put_states(GString *out, const json_t *cameras)
{
    size_t i;
    json_t *camera;
    head(out, "kvg_camera_state", "1 for the state that the camera is in");
    json_array_foreach((json_t *)(uintptr_t)cameras, i, camera)
    {
        for (int s = 0; s < KVG_CAMERA_N_STATES; s++) {
            const char *state = kvg_camera_state_to_string((KvgCameraState)s);
            g_autofree char *label = g_strdup_printf(",state=\"%s\"", state);
            sample(out, "kvg_camera_state", camera, label,
                   g_strcmp0(kvg_json_get_string(camera, "state"), state) == 0);
        }
    }
    head(out, "kvg_camera_streaming", "1 if the camera is switched on");
    json_array_foreach((json_t *)(uintptr_t)cameras, i, camera) sample(
        out, "kvg_camera_streaming", camera, "", kvg_json_get_bool(camera, "streaming", true));
}

static void
put_drops(GString *out, const json_t *cameras)
{
    size_t i;
    json_t *camera;
    head(out, "kvg_camera_frames_dropped_total", "Frames dropped");
    json_array_foreach((json_t *)(uintptr_t)cameras, i, camera)
    {
        for (size_t d = 0; d < G_N_ELEMENTS(drops); d++) {
            g_autofree char *member = g_strconcat("frames_dropped_", drops[d], NULL);
            g_autofree char *label = g_strdup_printf(",reason=\"%s\"", drops[d]);
            if (json_object_get(camera, member) != NULL)
                sample(out, "kvg_camera_frames_dropped_total", camera, label,
                       (double)kvg_json_get_int(camera, member, 0));
        }
    }
}

static void
put_ends(GString *out, const json_t *cameras)
{
    size_t i;
    json_t *camera;
    head(out, "kvg_camera_upload_session_ends_total", "Sessions that ended");
    json_array_foreach((json_t *)(uintptr_t)cameras, i, camera)
    {
        const char *reason;
        json_t *value;
        json_object_foreach(json_object_get(camera, "session_ends"), reason, value)
        {
            g_autofree char *label = g_strdup_printf(",reason=\"%s\"", reason);
            sample(out, "kvg_camera_upload_session_ends_total", camera, label,
                   json_number_value(value));
        }
    }
}

/* Of the supervisor and of each worker: not summed, or a worker that ends would make CPU time jump.
 */
static void
put_process(GString *out,
            const json_t *process,
            const char *kind,
            const char *name,
            const char *member,
            double scale)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    const int64_t value = kvg_json_get_int(process, member, -1);
    if (value < 0)
        return;
    g_string_append_printf(out, "%s{process=\"%s\",pid=\"%" G_GINT64_FORMAT "\"} %s\n", name, kind,
                           kvg_json_get_int(process, "pid", 0),
                           g_ascii_formatd(text, sizeof text, "%.15g", (double)value * scale));
}

static void
put_processes(GString *out, const json_t *site)
{
    static const struct {
        const char *member, *name, *help;
        double scale;
    } figures[] = {
        {"rss_bytes", "kvg_process_resident_bytes", "Memory of each process", 1},
        {"cpu_ms", "kvg_process_cpu_seconds_total", "CPU time of each process", 1e-3},
    };
    for (size_t f = 0; f < G_N_ELEMENTS(figures); f++) {
        size_t i;
        json_t *worker;
        head(out, figures[f].name, figures[f].help);
        put_process(out, site, "supervisor", figures[f].name, figures[f].member, figures[f].scale);
        json_array_foreach(json_object_get(site, "workers"), i, worker) put_process(
            out, worker, "worker", figures[f].name, figures[f].member, figures[f].scale);
    }
}

static void
put_spool_limit(GString *out, const json_t *site)
{
    head(out, "kvg_spool_limit_bytes", "What all cameras together may keep (spool.limit)");
    g_string_append_printf(out, "kvg_spool_limit_bytes %" G_GINT64_FORMAT "\n",
                           kvg_json_get_int(json_object_get(site, "spool"), "limit_bytes", 0));
}

char *
kvg_metrics_text(const json_t *cameras, const json_t *site)
{
    GString *out = g_string_new(NULL);
    head(out, "kvg_build_info", "The version of this agent");
    g_string_append(out, "kvg_build_info{version=\"" KVG_VERSION "\"} 1\n");
    put_processes(out, site);
    put_spool_limit(out, site);
    put_states(out, cameras);
    put_drops(out, cameras);
    put_ends(out, cameras);
    for (size_t row = 0; row < G_N_ELEMENTS(numbers); row++)
        put_number(out, cameras, row);
    return g_string_free(out, FALSE);
}
