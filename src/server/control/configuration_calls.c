/* Configurations of a stream that are kept and returned: image generation, notification, storage
 * tier, and the two that would tie a stream to a signaling channel, of which there is none here. */
#include "server/control/call.h"
#include <string.h>

static json_t *
read_configuration(KvgControlCall *call, const char *kind)
{
    g_autofree char *text = kvg_sql_text(
        call->db, "SELECT document FROM stream_configuration WHERE arn = ?1 AND kind = ?2", "tt",
        call->stream.arn, kind);
    return text ? kvg_json_parse_object(text, strlen(text), NULL) : NULL;
}

/* What a describe answers: the member is left out if nothing is configured. */
static void
describe(KvgControlCall *call, const char *kind, const char *member)
{
    json_t *document = read_configuration(call, kind);
    call->output = json_object();
    if (document)
        json_object_set_new(call->output, member, document);
}

/* Absent or null deletes. */
static void
update(KvgControlCall *call, const char *kind, const json_t *document)
{
    if (call->stream.retention_hours == 0) {
        kvg_control_fail(call, 400, "NoDataRetentionException",
                         "The stream %s has no data retention: its retention period is 0 hours.",
                         call->stream.name);
        return;
    }
    const bool is_deletion = !document || json_is_null(document);
    g_autofree char *text = is_deletion ? NULL : kvg_json_to_text(document);
    const int n =
        is_deletion
            ? kvg_sql_run(call->db, "DELETE FROM stream_configuration WHERE arn = ?1 AND kind = ?2",
                          "tt", call->stream.arn, kind)
            : kvg_sql_run(call->db,
                          "INSERT OR REPLACE INTO stream_configuration"
                          " (arn, kind, document, created_ms, updated_ms)"
                          " VALUES (?1, ?2, ?3, ?4, ?4)",
                          "ttti", call->stream.arn, kind, text, call->now_ms);
    if (n < 0)
        kvg_control_fail_database(call);
}

/* ---- image generation ---- */

static void
run_describe_image(KvgControlCall *call)
{
    describe(call, "image", "ImageGenerationConfiguration");
}

static bool
check_quality(KvgControlCall *call, const json_t *image)
{
    const char *quality =
        kvg_json_get_string(json_object_get(image, "FormatConfig"), "JPEGQuality");
    if (!quality || g_ascii_string_to_unsigned(quality, 10, 1, 100, NULL, NULL))
        return true;
    kvg_control_fail_argument(call, "JPEGQuality must be between 1 and 100, not '%s'.", quality);
    return false;
}

static void
run_update_image(KvgControlCall *call)
{
    const json_t *image = json_object_get(call->input, "ImageGenerationConfiguration");
    if (check_quality(call, image))
        update(call, "image", image);
}

/* ---- notification ---- */

static void
run_describe_notification(KvgControlCall *call)
{
    describe(call, "notification", "NotificationConfiguration");
}

static void
run_update_notification(KvgControlCall *call)
{
    update(call, "notification", json_object_get(call->input, "NotificationConfiguration"));
}

/* ---- storage ---- */

static void
run_describe_storage(KvgControlCall *call)
{
    call->output = json_pack("{s:s, s:s, s:{s:s}}", "StreamName", call->stream.name, "StreamARN",
                             call->stream.arn, "StreamStorageConfiguration", "DefaultStorageTier",
                             call->stream.storage_tier);
}

static void
run_update_storage(KvgControlCall *call)
{
    const json_t *storage = json_object_get(call->input, "StreamStorageConfiguration");
    if (!kvg_control_check_version(call))
        return;
    if (kvg_sql_run(call->db, "UPDATE stream SET storage_tier = ?2 WHERE arn = ?1", "tt",
                    call->stream.arn, kvg_json_get_string(storage, "DefaultStorageTier")) < 1)
        kvg_control_fail_database(call);
    else
        kvg_control_begin_change(call, "UPDATING");
}

/* ---- signaling channels ---- */

static void
run_describe_mapped(KvgControlCall *call)
{
    const char *token = kvg_json_get_string(call->input, "NextToken");
    if (token && *token)
        kvg_control_fail_argument(call, "Invalid NextToken.");
    else
        call->output = json_pack("{s:[], s:n}", "MappedResourceConfigurationList", "NextToken");
}

/* Never reached: no channel is ever found. */
static void
run_without_channel(KvgControlCall *call)
{
    kvg_control_fail_database(call);
}

#define OPERATION(NAME, PATH, INPUT, RUN)                                                          \
    .name = NAME, .path = PATH, .input = &INPUT, .run = RUN, .per_account = 50, .per_stream = 5
#define ON_STREAM .target = KVG_TARGET_STREAM

const KvgControlOperation kvg_control_configurations[] = {
    {OPERATION("DescribeImageGenerationConfiguration",
               "/describeImageGenerationConfiguration",
               kvg_input_stream,
               run_describe_image),
     ON_STREAM},
    {OPERATION("UpdateImageGenerationConfiguration",
               "/updateImageGenerationConfiguration",
               kvg_input_update_image,
               run_update_image),
     ON_STREAM, .is_change = true},
    {OPERATION("DescribeNotificationConfiguration",
               "/describeNotificationConfiguration",
               kvg_input_stream,
               run_describe_notification),
     ON_STREAM},
    {OPERATION("UpdateNotificationConfiguration",
               "/updateNotificationConfiguration",
               kvg_input_update_notification,
               run_update_notification),
     ON_STREAM, .is_change = true},
    {OPERATION("DescribeStreamStorageConfiguration",
               "/describeStreamStorageConfiguration",
               kvg_input_stream,
               run_describe_storage),
     ON_STREAM},
    {OPERATION("UpdateStreamStorageConfiguration",
               "/updateStreamStorageConfiguration",
               kvg_input_update_storage,
               run_update_storage),
     ON_STREAM, .is_change = true},
    {OPERATION("DescribeMappedResourceConfiguration",
               "/describeMappedResourceConfiguration",
               kvg_input_mapped_resource,
               run_describe_mapped),
     ON_STREAM},
    {OPERATION("DescribeMediaStorageConfiguration",
               "/describeMediaStorageConfiguration",
               kvg_input_media_storage,
               run_without_channel),
     .target = KVG_TARGET_CHANNEL},
    {OPERATION("UpdateMediaStorageConfiguration",
               "/updateMediaStorageConfiguration",
               kvg_input_update_media_storage,
               run_without_channel),
     .target = KVG_TARGET_CHANNEL},
    {0},
};
