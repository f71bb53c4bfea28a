/* The properties of kvssink as one table, and what they and the environment come to: which service,
 * which stream, whose credentials. Hides: defaults that mean "not set", precedence of variables. */
#pragma once

#include <glib-object.h>
#include <kvg/producer.h>

typedef enum {
    KVG_SINK_PROP_NONE,
    KVG_SINK_STREAM_NAME,
    KVG_SINK_AWS_REGION,
    KVG_SINK_ACCESS_KEY,
    KVG_SINK_SECRET_KEY,
    KVG_SINK_SESSION_TOKEN,
    KVG_SINK_CREDENTIAL_PATH,
    KVG_SINK_IOT_CERTIFICATE,
    KVG_SINK_ALLOW_CREATE_STREAM,
    KVG_SINK_RETENTION_PERIOD,
    KVG_SINK_CONTENT_TYPE,
    KVG_SINK_FRAGMENT_DURATION,
    KVG_SINK_KEY_FRAME_FRAGMENTATION,
    KVG_SINK_STORAGE_SIZE,
    KVG_SINK_STOP_STREAM_TIMEOUT,
    KVG_SINK_CONNECTION_TIMEOUT,
    KVG_SINK_COMPLETION_TIMEOUT,
    KVG_SINK_USE_ORIGINAL_PTS,
    KVG_SINK_STREAMING_TYPE,
    KVG_SINK_FILE_START_TIME,
    KVG_SINK_TRACK_NAME,
    KVG_SINK_USER_AGENT,
    KVG_SINK_STREAM_TAGS,
    KVG_SINK_ABSOLUTE_FRAGMENT_TIMES,
    KVG_SINK_AVG_BANDWIDTH_BPS,
    KVG_SINK_BUFFER_DURATION,
    KVG_SINK_CODEC_ID,
    KVG_SINK_CONNECTION_STALENESS,
    KVG_SINK_DISABLE_BUFFER_CLIPPING,
    KVG_SINK_FRAGMENT_ACKS,
    KVG_SINK_FRAME_TIMECODES,
    KVG_SINK_FRAMERATE,
    KVG_SINK_GET_KVS_METRICS,
    KVG_SINK_LOG_CONFIG,
    KVG_SINK_MAX_LATENCY,
    KVG_SINK_RECALCULATE_METRICS,
    KVG_SINK_REPLAY_DURATION,
    KVG_SINK_RESTART_ON_ERROR,
    KVG_SINK_ROTATION_PERIOD,
    KVG_SINK_TIMECODE_SCALE,
    /* ours */
    KVG_SINK_ENDPOINT,
    KVG_SINK_CA_PATH,
    KVG_SINK_SPOOL_PATH,
    KVG_SINK_SPOOL_LIMIT,
    KVG_SINK_SPOOL_TIER,
    KVG_SINK_SPOOL_MAX_AGE,
    KVG_SINK_CATCH_UP,
    KVG_SINK_CATCH_UP_BPS,
    KVG_SINK_STATS, /* read only; not kept in the settings */
    KVG_SINK_N_PROPS,
} KvgSinkProp;

/* Not thread-safe: the element guards it by its object lock. */
typedef struct {
    GValue values[KVG_SINK_N_PROPS];
    bool is_set[KVG_SINK_N_PROPS];
} KvgSinkSettings;

void kvg_sink_settings_install(GObjectClass *object_class);
void kvg_sink_settings_init(KvgSinkSettings *settings, GObjectClass *object_class);
void kvg_sink_settings_clear(KvgSinkSettings *settings);
void kvg_sink_settings_set(KvgSinkSettings *settings, unsigned id, const GValue *value);
/* Of a secret only whether it is set. */
void kvg_sink_settings_get(const KvgSinkSettings *settings, unsigned id, GValue *value);
/* What the caps say; counts only while nobody has set the property. */
void kvg_sink_settings_propose(KvgSinkSettings *settings, KvgSinkProp id, const char *text);
/* For a property that changes nothing here, why; NULL for the others. Static. */
const char *kvg_sink_settings_note(unsigned id);

const char *kvg_sink_settings_string(const KvgSinkSettings *settings, KvgSinkProp id);
bool kvg_sink_settings_bool(const KvgSinkSettings *settings, KvgSinkProp id);
bool kvg_sink_settings_is_offline(const KvgSinkSettings *settings);
unsigned kvg_sink_settings_uint(const KvgSinkSettings *settings, KvgSinkProp id);

/* What the settings come to. `producer` and `stream` point into `strings` and `credentials`. */
typedef struct {
    KvgProducerOptions producer;
    KvgStreamOptions stream;
    KvgCredentials *credentials;
    GPtrArray *strings;
} KvgSinkPlan;
void kvg_sink_plan_clear(KvgSinkPlan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgSinkPlan, kvg_sink_plan_clear)

/* KVG_ERROR_INVALID or KVG_ERROR_AUTH: the sentence names the property or variable to correct.
 * Reads the environment and credential files, no network. */
bool kvg_sink_settings_plan(const KvgSinkSettings *settings,
                            KvgSinkPlan *plan,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
