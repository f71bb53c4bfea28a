#include "plugin/settings.h"
#include "base/text.h"
#include <gst/gst.h>
#include <string.h>

#define UNSET_ACCESS_KEY "access_key"
#define UNSET_SECRET_KEY "secret_key"
#define UNSET_SESSION_TOKEN "session_token"
#define STREAMING_OFFLINE 2
/* storage-size was memory in the element this one replaces; on disk there is room for an outage. */
#define MIN_SPOOL_BYTES (1024u * 1024 * 1024)

typedef enum {
    TYPE_STRING,
    TYPE_SECRET,
    TYPE_BOOL,
    TYPE_UINT,
    TYPE_UINT64,
    TYPE_BOXED,
    TYPE_STREAMING_TYPE,
    TYPE_CATCH_UP,
    TYPE_SPOOL_TIER,
    TYPE_STATS
} PropType;

typedef struct {
    const char *name;
    PropType type;
    const char *text; /* default of strings */
    unsigned number;  /* default of the others */
    const char *blurb;
    const char *note; /* why it changes nothing; NULL if it does something */
} PropRow;

static const char NOTE_SIZING[] = "a sizing hint; the spool grows with what is in it";
static const char NOTE_AGE[] = "nothing is dropped by age unless spool-max-age is set";
static const char NOTE_TIME[] = "frames always carry their times, absolute and in milliseconds";

static const PropRow rows[KVG_SINK_N_PROPS] = {
    [KVG_SINK_STREAM_NAME] = {"stream-name", TYPE_STRING, "DEFAULT_STREAM", 0,
                              "Name of the Kinesis video stream that pictures and sound go to",
                              NULL},
    [KVG_SINK_AWS_REGION] = {"aws-region", TYPE_STRING, "us-west-2", 0,
                             "AWS region of the stream; the variable AWS_DEFAULT_REGION wins",
                             NULL},
    [KVG_SINK_ACCESS_KEY] = {"access-key", TYPE_STRING, UNSET_ACCESS_KEY, 0,
                             "AWS access key id; if not set, the usual AWS variables and files",
                             NULL},
    [KVG_SINK_SECRET_KEY] =
        {"secret-key", TYPE_SECRET, UNSET_SECRET_KEY, 0,
         "AWS secret access key that belongs to access-key; reads back as \"(set)\"", NULL},
    [KVG_SINK_SESSION_TOKEN] = {"session-token", TYPE_SECRET, UNSET_SESSION_TOKEN, 0,
                                "Session token of temporary keys; reads back as \"(set)\"", NULL},
    [KVG_SINK_CREDENTIAL_PATH] = {"credential-path", TYPE_STRING, ".kvs/credential", 0,
                                  "File with one line \"CREDENTIALS key [expiration] secret "
                                  "[token]\", used without keys and "
                                  "read again when it changes",
                                  NULL},
    [KVG_SINK_IOT_CERTIFICATE] =
        {"iot-certificate", TYPE_BOXED, NULL, 0,
         "Identity by X.509 certificate: a structure iot-certificate with endpoint, cert-path, "
         "key-path, ca-path, role-aliases and iot-thing-name (the stream's name if absent)",
         NULL},
    [KVG_SINK_ALLOW_CREATE_STREAM] = {"allow-create-stream", TYPE_BOOL, NULL, true,
                                      "Create the stream if it does not exist", NULL},
    [KVG_SINK_RETENTION_PERIOD] = {"retention-period", TYPE_UINT, NULL, 2,
                                   "Hours that a newly created stream keeps its pictures", NULL},
    [KVG_SINK_CONTENT_TYPE] = {"content-type", TYPE_STRING, NULL, 0,
                               "Media type of a newly created stream; by default from the caps",
                               NULL},
    [KVG_SINK_FRAGMENT_DURATION] = {"fragment-duration", TYPE_UINT, NULL, 2000,
                                    "Least length of a fragment in milliseconds where key frames "
                                    "do not decide: without key-frame-fragmentation, and of sound "
                                    "alone",
                                    NULL},
    [KVG_SINK_KEY_FRAME_FRAGMENTATION] = {"key-frame-fragmentation", TYPE_BOOL, NULL, true,
                                          "Begin a fragment at each key frame", NULL},
    [KVG_SINK_STORAGE_SIZE] = {"storage-size", TYPE_UINT, NULL, 128,
                               "Megabytes kept while the service cannot be reached; at least 1024 "
                               "are allowed, use spool-limit for less",
                               NULL},
    [KVG_SINK_STOP_STREAM_TIMEOUT] =
        {"stop-stream-timeout", TYPE_UINT, NULL, 120,
         "Most seconds to wait at the end for the last acknowledgement; unless set, a camera waits "
         "10 at most. What is missing then stays in the spool",
         NULL},
    [KVG_SINK_CONNECTION_TIMEOUT] = {"connection-timeout", TYPE_UINT, NULL, 5,
                                     "Seconds to wait for a connection to the credentials endpoint",
                                     NULL},
    [KVG_SINK_COMPLETION_TIMEOUT] = {"completion-timeout", TYPE_UINT, NULL, 10,
                                     "Seconds that a call of the credentials endpoint may take",
                                     NULL},
    [KVG_SINK_USE_ORIGINAL_PTS] = {"use-original-pts", TYPE_BOOL, NULL, false,
                                   "Take the decoding time of a frame as its presentation time",
                                   NULL},
    [KVG_SINK_STREAMING_TYPE] = {"streaming-type", TYPE_STREAMING_TYPE, NULL, 0,
                                 "How the source delivers; offline drops nothing, holds the source "
                                 "back instead, and takes times from file-start-time",
                                 NULL},
    [KVG_SINK_FILE_START_TIME] = {"file-start-time", TYPE_UINT64, NULL, 0,
                                  "Offline only: seconds since 1970 of the first frame; by default "
                                  "now",
                                  NULL},
    [KVG_SINK_TRACK_NAME] = {"track-name", TYPE_STRING, "kinesis_video", 0,
                             "Name of the video track in the stream", NULL},
    [KVG_SINK_USER_AGENT] = {"user-agent", TYPE_STRING, "kvg/" KVG_VERSION, 0,
                             "Beginning of the User-Agent header", NULL},
    [KVG_SINK_STREAM_TAGS] = {"stream-tags", TYPE_BOXED, NULL, 0,
                              "Structure of strings to tag the stream with; not used",
                              "tag the stream where it is made; the sink needs no right to do so"},
    [KVG_SINK_ABSOLUTE_FRAGMENT_TIMES] =
        {"absolute-fragment-times", TYPE_BOOL, NULL, true,
         "Whether fragments carry wall clock times; they always do, so stored times are the same",
         NOTE_TIME},
    [KVG_SINK_AVG_BANDWIDTH_BPS] = {"avg-bandwidth-bps", TYPE_UINT, NULL, 4194304,
                                    "Expected bits per second; not needed", NOTE_SIZING},
    [KVG_SINK_BUFFER_DURATION] = {"buffer-duration", TYPE_UINT, NULL, 120,
                                  "Seconds of media to keep in memory; the spool keeps all of it",
                                  NOTE_AGE},
    [KVG_SINK_CODEC_ID] = {"codec-id", TYPE_STRING, "V_MPEG4/ISO/AVC", 0,
                           "Matroska name of the codec; what the caps say is used and shown here",
                           "always taken from the caps"},
    [KVG_SINK_CONNECTION_STALENESS] =
        {"connection-staleness", TYPE_UINT, NULL, 60,
         "Seconds without acknowledgement before a session is begun anew; unless set, 30", NULL},
    [KVG_SINK_DISABLE_BUFFER_CLIPPING] =
        {"disable-buffer-clipping", TYPE_BOOL, NULL, false,
         "Whether to keep frames outside of the segment; always on", "frames are never clipped"},
    [KVG_SINK_FRAGMENT_ACKS] = {"fragment-acks", TYPE_BOOL, NULL, true,
                                "Whether to ask for acknowledgements; always on",
                                "the spool needs to know what is persisted"},
    [KVG_SINK_FRAME_TIMECODES] = {"frame-timecodes", TYPE_BOOL, NULL, true,
                                  "Whether frames carry times; always on", NOTE_TIME},
    [KVG_SINK_FRAMERATE] = {"framerate", TYPE_UINT, NULL, 25,
                            "Expected frames per second; not needed", NOTE_SIZING},
    [KVG_SINK_GET_KVS_METRICS] = {"get-kvs-metrics", TYPE_BOOL, NULL, false,
                                  "Emit the signal stream-client-metric at each key frame", NULL},
    [KVG_SINK_LOG_CONFIG] = {"log-config", TYPE_STRING, "../kvs_log_configuration", 0,
                             "File that configures logging; not used",
                             "use GST_DEBUG=kvssink:5 or KVG_LOG_LEVEL instead"},
    [KVG_SINK_MAX_LATENCY] = {"max-latency", TYPE_UINT, NULL, 60,
                              "Seconds that frames may wait before an alarm; not used", NOTE_AGE},
    [KVG_SINK_RECALCULATE_METRICS] = {"recalculate-metrics", TYPE_BOOL, NULL, true,
                                      "Whether to keep metrics; always on",
                                      "counters are always kept; see stats"},
    [KVG_SINK_REPLAY_DURATION] = {"replay-duration", TYPE_UINT, NULL, 40,
                                  "Seconds to go back after reconnecting; not used",
                                  "a reconnection goes back to the last persisted fragment"},
    [KVG_SINK_RESTART_ON_ERROR] = {"restart-on-error", TYPE_BOOL, NULL, true,
                                   "Whether to go on after an error; always on",
                                   "the stream is always resumed"},
    [KVG_SINK_ROTATION_PERIOD] = {"rotation-period", TYPE_UINT, NULL, 3600,
                                  "Seconds between renewals of the credentials; not used",
                                  "credentials are renewed before they expire"},
    [KVG_SINK_TIMECODE_SCALE] = {"timecode-scale", TYPE_UINT, NULL, 1,
                                 "Matroska time code scale in milliseconds; always 1, the finest",
                                 NOTE_TIME},
    [KVG_SINK_ENDPOINT] =
        {"endpoint", TYPE_STRING, NULL, 0,
         "URL of the control plane; by default CONTROL_PLANE_URI, AWS_ENDPOINT_URL_KINESIS_VIDEO, "
         "AWS_ENDPOINT_URL, or the region's",
         NULL},
    [KVG_SINK_CA_PATH] =
        {"ca-path", TYPE_STRING, NULL, 0,
         "File (PEM) with the authorities to trust, or a folder of them; by default "
         "KVSSINK_CA_CERT_PATH, AWS_CA_BUNDLE, or the system's",
         NULL},
    [KVG_SINK_SPOOL_PATH] = {"spool-path", TYPE_STRING, NULL, 0,
                             "Folder of what is not yet persisted; by default kvg/spool in the "
                             "user's state folder (XDG_STATE_HOME)",
                             NULL},
    [KVG_SINK_SPOOL_LIMIT] =
        {"spool-limit", TYPE_UINT64, NULL, 0,
         "Most bytes of this stream in the spool, oldest fragments go first; 0: "
         "from storage-size",
         NULL},
    [KVG_SINK_SPOOL_TIER] =
        {"spool-tier", TYPE_SPOOL_TIER, NULL, 0,
         "Where frames wait: in memory and, after some seconds, on disk (auto), "
         "or in one of both only",
         NULL},
    [KVG_SINK_SPOOL_MAX_AGE] = {"spool-max-age", TYPE_UINT, NULL, 0,
                                "Seconds after which a fragment that was not persisted is dropped; "
                                "0: never",
                                NULL},
    [KVG_SINK_CATCH_UP] = {"catch-up", TYPE_CATCH_UP, NULL, 0,
                           "In which order the backlog of an outage goes up", NULL},
    [KVG_SINK_CATCH_UP_BPS] =
        {"catch-up-bps", TYPE_UINT64, NULL, 0,
         "Most bits per second for the backlog, on top of what is live; 0: no "
         "limit",
         NULL},
    [KVG_SINK_STATS] = {"stats", TYPE_STATS, NULL, 0,
                        "Counters and state of the stream as a structure", NULL},
};

static const GEnumValue catch_up_types[] = {
    {KVG_CATCH_UP_OLDEST_FIRST, "In the order recorded", "oldest-first"},
    {KVG_CATCH_UP_LIVE_FIRST, "The newest at once, the rest beside it", "live-first"},
    {0, NULL, NULL},
};

static const GEnumValue streaming_types[] = {
    {0, "Frames are sent as they come", "realtime"},
    {1, "As realtime, with some delay", "near-realtime"},
    {2, "A file, faster than real time", "offline"},
    {0, NULL, NULL},
};

static const GEnumValue spool_tiers[] = {
    {KVG_SPOOL_TIER_AUTO, "Memory, moved to disk in an outage", "auto"},
    {KVG_SPOOL_TIER_DISK, "Disk, survives a loss of power", "disk"},
    {KVG_SPOOL_TIER_MEMORY, "Memory, survives the process", "memory"},
    {0, NULL, NULL},
};

static GType
enum_type(gsize *type, const char *name, const GEnumValue *values)
{
    if (g_once_init_enter(type))
        g_once_init_leave(type, g_enum_register_static(name, values));
    return *type;
}

static GType
streaming_type_get_type(void)
{
    static gsize type;
    return enum_type(&type, "GstKvsSinkStreamingType", streaming_types);
}

static GType
catch_up_get_type(void)
{
    static gsize type;
    return enum_type(&type, "GstKvsSinkCatchUp", catch_up_types);
}

static GType
spool_tier_get_type(void)
{
    static gsize type;
    return enum_type(&type, "GstKvsSinkSpoolTier", spool_tiers);
}

static GParamSpec *
make_spec(const PropRow *row)
{
    const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;

    switch (row->type) {
    case TYPE_STRING:
    case TYPE_SECRET:
        return g_param_spec_string(row->name, row->name, row->blurb, row->text, flags);
    case TYPE_BOOL:
        return g_param_spec_boolean(row->name, row->name, row->blurb, row->number != 0, flags);
    case TYPE_UINT:
        return g_param_spec_uint(row->name, row->name, row->blurb, 0, G_MAXUINT, row->number,
                                 flags);
    case TYPE_UINT64:
        return g_param_spec_uint64(row->name, row->name, row->blurb, 0, G_MAXUINT64, row->number,
                                   flags);
    case TYPE_BOXED:
        return g_param_spec_boxed(row->name, row->name, row->blurb, GST_TYPE_STRUCTURE, flags);
    case TYPE_STREAMING_TYPE:
        return g_param_spec_enum(row->name, row->name, row->blurb, streaming_type_get_type(), 0,
                                 flags);
    case TYPE_CATCH_UP:
        return g_param_spec_enum(row->name, row->name, row->blurb, catch_up_get_type(), 0, flags);
    case TYPE_SPOOL_TIER:
        return g_param_spec_enum(row->name, row->name, row->blurb, spool_tier_get_type(), 0, flags);
    case TYPE_STATS:
        return g_param_spec_boxed(row->name, row->name, row->blurb, GST_TYPE_STRUCTURE,
                                  G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
    default:
        g_assert_not_reached();
    }
}

void
kvg_sink_settings_install(GObjectClass *object_class)
{
    for (unsigned id = 1; id < KVG_SINK_N_PROPS; id++)
        g_object_class_install_property(object_class, id, make_spec(&rows[id]));
}

void
kvg_sink_settings_init(KvgSinkSettings *settings, GObjectClass *object_class)
{
    memset(settings, 0, sizeof *settings);
    for (unsigned id = 1; id < KVG_SINK_N_PROPS; id++) {
        GParamSpec *spec = g_object_class_find_property(object_class, rows[id].name);
        g_value_init(&settings->values[id], G_PARAM_SPEC_VALUE_TYPE(spec));
        g_param_value_set_default(spec, &settings->values[id]);
    }
    g_value_set_uint64(&settings->values[KVG_SINK_FILE_START_TIME],
                       (uint64_t)(g_get_real_time() / G_USEC_PER_SEC));
}

void
kvg_sink_settings_clear(KvgSinkSettings *settings)
{
    for (unsigned id = 1; id < KVG_SINK_N_PROPS; id++)
        g_value_unset(&settings->values[id]);
}

void
kvg_sink_settings_set(KvgSinkSettings *settings, unsigned id, const GValue *value)
{
    g_return_if_fail(id > KVG_SINK_PROP_NONE && id < KVG_SINK_N_PROPS);

    g_value_copy(value, &settings->values[id]);
    settings->is_set[id] = true;
}

void
kvg_sink_settings_get(const KvgSinkSettings *settings, unsigned id, GValue *value)
{
    g_return_if_fail(id > KVG_SINK_PROP_NONE && id < KVG_SINK_N_PROPS);

    /* Tools print every property that differs from its default. */
    if (rows[id].type == TYPE_SECRET &&
        g_strcmp0(g_value_get_string(&settings->values[id]), rows[id].text) != 0)
        g_value_set_static_string(value, "(set)");
    else
        g_value_copy(&settings->values[id], value);
}

void
kvg_sink_settings_propose(KvgSinkSettings *settings, KvgSinkProp id, const char *text)
{
    if (!settings->is_set[id] && text != NULL && *text != '\0')
        g_value_set_string(&settings->values[id], text);
}

const char *
kvg_sink_settings_note(unsigned id)
{
    return id < KVG_SINK_N_PROPS ? rows[id].note : NULL;
}

const char *
kvg_sink_settings_string(const KvgSinkSettings *settings, KvgSinkProp id)
{
    return g_value_get_string(&settings->values[id]);
}

bool
kvg_sink_settings_bool(const KvgSinkSettings *settings, KvgSinkProp id)
{
    return g_value_get_boolean(&settings->values[id]) != FALSE;
}

bool
kvg_sink_settings_is_offline(const KvgSinkSettings *settings)
{
    return g_value_get_enum(&settings->values[KVG_SINK_STREAMING_TYPE]) == STREAMING_OFFLINE;
}

unsigned
kvg_sink_settings_uint(const KvgSinkSettings *settings, KvgSinkProp id)
{
    return g_value_get_uint(&settings->values[id]);
}

/* ---- the plan ---- */

void
kvg_sink_plan_clear(KvgSinkPlan *plan)
{
    g_clear_pointer(&plan->credentials, kvg_credentials_unref);
    g_clear_pointer(&plan->strings, g_ptr_array_unref);
    memset(plan, 0, sizeof *plan);
}

static const char *
keep(KvgSinkPlan *plan, char *text)
{
    if (text != NULL)
        g_ptr_array_add(plan->strings, text);
    return text;
}

static const char *
non_empty(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static const char *
first_variable(const char *const *names)
{
    for (; *names != NULL; names++) {
        const char *value = non_empty(g_getenv(*names));
        if (value != NULL)
            return value;
    }
    return NULL;
}

/* The value of a string property unless it still has the text that means "not set". */
static const char *
given(const KvgSinkSettings *settings, KvgSinkProp id, const char *unset)
{
    const char *value = non_empty(kvg_sink_settings_string(settings, id));
    return g_strcmp0(value, unset) == 0 ? NULL : value;
}

/* A number of the structure, however it was written. */
static unsigned
seconds(const GstStructure *structure, const char *field, unsigned otherwise)
{
    const char *text = gst_structure_get_string(structure, field);
    guint64 parsed = 0;
    int number = 0;
    unsigned value = 0;
    if (text != NULL && g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT, &parsed, NULL))
        return (unsigned)parsed;
    if (gst_structure_get_int(structure, field, &number) && number > 0)
        return (unsigned)number;
    return gst_structure_get_uint(structure, field, &value) && value > 0 ? value : otherwise;
}

static KvgCredentials *
iot_credentials(const KvgSinkSettings *settings, const GstStructure *iot, GError **error)
{
    static const char *const required[] = {"endpoint", "cert-path", "key-path", "ca-path",
                                           "role-aliases"};
    for (unsigned i = 0; i < G_N_ELEMENTS(required); i++) {
        if (non_empty(gst_structure_get_string(iot, required[i])) != NULL)
            continue;
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "property iot-certificate: no '%s' in it",
                    required[i]);
        return NULL;
    }

    const char *thing = non_empty(gst_structure_get_string(iot, "iot-thing-name"));
    const KvgIotIdentity identity = {
        .endpoint = gst_structure_get_string(iot, "endpoint"),
        .role_alias = gst_structure_get_string(iot, "role-aliases"),
        .thing_name =
            thing != NULL ? thing : kvg_sink_settings_string(settings, KVG_SINK_STREAM_NAME),
        .certificate_path = gst_structure_get_string(iot, "cert-path"),
        .key_path = gst_structure_get_string(iot, "key-path"),
        .ca_path = non_empty(gst_structure_get_string(iot, "ca-path")),
        .connect_timeout_ms =
            1000 * MIN(60u, seconds(iot, "connection-timeout",
                                    kvg_sink_settings_uint(settings, KVG_SINK_CONNECTION_TIMEOUT))),
        .total_timeout_ms =
            1000 *
            MIN(120u, seconds(iot, "completion-timeout",
                              kvg_sink_settings_uint(settings, KVG_SINK_COMPLETION_TIMEOUT))),
    };
    return kvg_credentials_new_iot(&identity);
}

static KvgCredentials *
make_credentials(const KvgSinkSettings *settings, GError **error)
{
    const GstStructure *iot = g_value_get_boxed(&settings->values[KVG_SINK_IOT_CERTIFICATE]);
    if (iot != NULL)
        return iot_credentials(settings, iot, error);

    const char *access = given(settings, KVG_SINK_ACCESS_KEY, UNSET_ACCESS_KEY);
    const char *secret = given(settings, KVG_SINK_SECRET_KEY, UNSET_SECRET_KEY);
    if (access != NULL && secret != NULL)
        return kvg_credentials_new_static(
            access, secret, given(settings, KVG_SINK_SESSION_TOKEN, UNSET_SESSION_TOKEN));
    if (access != NULL || secret != NULL) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                            "properties access-key and secret-key go together; one is missing");
        return NULL;
    }

    const bool in_environment = non_empty(g_getenv("AWS_ACCESS_KEY_ID")) != NULL;
    const char *path = given(settings, KVG_SINK_CREDENTIAL_PATH, NULL);
    if (!in_environment && path != NULL &&
        (settings->is_set[KVG_SINK_CREDENTIAL_PATH] || g_file_test(path, G_FILE_TEST_EXISTS)))
        return kvg_credentials_new_file(path);
    return kvg_credentials_new_default(NULL, error);
}

static bool
plan_producer(const KvgSinkSettings *settings, KvgSinkPlan *plan, GError **error)
{
    static const char *const region_variables[] = {"AWS_DEFAULT_REGION", NULL};
    static const char *const endpoint_variables[] = {
        "CONTROL_PLANE_URI", "AWS_ENDPOINT_URL_KINESIS_VIDEO", "AWS_ENDPOINT_URL", NULL};
    static const char *const ca_variables[] = {"KVSSINK_CA_CERT_PATH", "AWS_CA_BUNDLE", NULL};

    const char *region = first_variable(region_variables);
    if (region == NULL)
        region = given(settings, KVG_SINK_AWS_REGION, NULL);
    const char *endpoint = given(settings, KVG_SINK_ENDPOINT, NULL);
    if (endpoint == NULL)
        endpoint = first_variable(endpoint_variables);
    const char *ca = given(settings, KVG_SINK_CA_PATH, NULL);
    if (ca == NULL)
        ca = first_variable(ca_variables);
    if (region == NULL) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "property aws-region is empty");
        return false;
    }
    if (ca != NULL && !g_file_test(ca, G_FILE_TEST_EXISTS)) {
        g_set_error(
            error, KVG_ERROR, KVG_ERROR_INVALID,
            "%s: no such file; name a PEM file with the authorities to trust, or a folder of "
            "them",
            ca);
        return false;
    }

    char *spool = g_strdup(given(settings, KVG_SINK_SPOOL_PATH, NULL));
    if (spool == NULL)
        spool = g_build_filename(g_get_user_state_dir(), "kvg", "spool", NULL);
    plan->producer = (KvgProducerOptions){
        .region = keep(plan, g_strdup(region)),
        .endpoint = keep(plan, g_strdup(endpoint)),
        .ca_path = keep(plan, g_strdup(ca)),
        .spool_path = keep(plan, spool),
        .user_agent = keep(plan, g_strdup(given(settings, KVG_SINK_USER_AGENT, NULL))),
    };
    return true;
}

static uint64_t
spool_limit(const KvgSinkSettings *settings)
{
    const uint64_t limit = g_value_get_uint64(&settings->values[KVG_SINK_SPOOL_LIMIT]);
    if (limit != 0)
        return limit;
    const uint64_t megabytes = kvg_sink_settings_uint(settings, KVG_SINK_STORAGE_SIZE);
    return MAX(megabytes * 1024 * 1024, MIN_SPOOL_BYTES);
}

/* The former default of a minute is long for an acknowledgement that comes within a second. */
static uint32_t
stale_ms(const KvgSinkSettings *settings)
{
    if (!settings->is_set[KVG_SINK_CONNECTION_STALENESS])
        return 0;
    return MIN(kvg_sink_settings_uint(settings, KVG_SINK_CONNECTION_STALENESS), 3600u) * 1000;
}

bool
kvg_sink_settings_plan(const KvgSinkSettings *settings, KvgSinkPlan *plan, GError **error)
{
    memset(plan, 0, sizeof *plan);
    plan->strings = g_ptr_array_new_with_free_func(g_free);

    const char *name = kvg_sink_settings_string(settings, KVG_SINK_STREAM_NAME);
    if (name == NULL || !kvg_name_is_stream(name)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "property stream-name: '%s' is not 1 to 256 of a-z A-Z 0-9 _ . -",
                    name != NULL ? name : "");
        return false;
    }
    if (!plan_producer(settings, plan, error))
        return false;
    plan->credentials = make_credentials(settings, error);
    if (plan->credentials == NULL)
        return false;

    plan->stream = (KvgStreamOptions){
        .name = keep(plan, g_strdup(name)),
        .credentials = plan->credentials,
        .create = kvg_sink_settings_bool(settings, KVG_SINK_ALLOW_CREATE_STREAM),
        .retention_hours = kvg_sink_settings_uint(settings, KVG_SINK_RETENTION_PERIOD),
        .media_type = keep(plan, g_strdup(given(settings, KVG_SINK_CONTENT_TYPE, NULL))),
        .fragment_duration_ms = kvg_sink_settings_uint(settings, KVG_SINK_FRAGMENT_DURATION),
        .fragment_by_time = !kvg_sink_settings_bool(settings, KVG_SINK_KEY_FRAME_FRAGMENTATION),
        .spool_limit_bytes = spool_limit(settings),
        .spool_tier = (KvgSpoolTier)g_value_get_enum(&settings->values[KVG_SINK_SPOOL_TIER]),
        .spool_max_age_ms =
            (int64_t)kvg_sink_settings_uint(settings, KVG_SINK_SPOOL_MAX_AGE) * 1000,
        .catch_up = (KvgCatchUp)g_value_get_enum(&settings->values[KVG_SINK_CATCH_UP]),
        .backlog_bps = g_value_get_uint64(&settings->values[KVG_SINK_CATCH_UP_BPS]),
        .stale_ms = stale_ms(settings),
    };
    return true;
}
