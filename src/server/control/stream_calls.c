/* Streams: made, described, changed, deleted. */
#include "server/control/call.h"
#include "server/control/quotas.h"
#include <string.h>

#define DEFAULT_PAGE 10000

static bool
check_new(KvgControlCall *call, const char *name)
{
    g_auto(KvgStreamInfo) existing = {0};
    if (kvg_stream_find(call->db, name, NULL, call->now_ms, &existing)) {
        kvg_control_fail(call, 400, "ResourceInUseException", "The stream %s already exists.",
                         name);
        return false;
    }
    const unsigned max = kvg_quotas_max_streams(call->server->quotas);
    if (kvg_sql_int(call->db, 0, "SELECT count(*) FROM stream", "") < (int64_t)max)
        return true;
    kvg_control_fail(call, 400, "AccountStreamLimitExceededException",
                     "The number of streams created for the account is too high: at most %u.", max);
    return false;
}

static void
run_create(KvgControlCall *call)
{
    const json_t *input = call->input;
    const char *name = kvg_json_get_string(input, "StreamName");
    const char *tier = kvg_json_get_string(json_object_get(input, "StreamStorageConfiguration"),
                                           "DefaultStorageTier");
    if (!check_new(call, name))
        return;
    g_autofree char *version = kvg_stream_new_version();
    g_autofree char *arn =
        g_strdup_printf("arn:aws:kinesisvideo:%s:%s:stream/%s/%" G_GINT64_FORMAT,
                        call->server->region, call->server->account, name, call->now_ms);
    if (kvg_sql_run(call->db,
                    "INSERT INTO stream (" KVG_STREAM_COLUMNS
                    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'CREATING', ?10)",
                    "ttttttiiti", name, arn, version, kvg_json_get_string(input, "MediaType"),
                    kvg_json_get_string(input, "DeviceName"),
                    kvg_json_get_string(input, "KmsKeyId"), call->now_ms,
                    kvg_json_get_int(input, "DataRetentionInHours", 0), tier ? tier : "HOT",
                    call->now_ms + call->server->change_ms) < 1) {
        kvg_control_fail_database(call);
        return;
    }
    const json_t *tags = json_object_get(input, "Tags");
    if (json_is_object(tags) && !kvg_control_set_tags(call, arn, tags))
        return;
    call->output = json_pack("{s:s}", "StreamARN", arn);
}

static json_t *
info_to_json(const KvgServer *server, const KvgStreamInfo *info)
{
    g_autofree char *kms = info->kms_key_id
                               ? g_strdup(info->kms_key_id)
                               : g_strdup_printf("arn:aws:kms:%s:%s:alias/aws/kinesisvideo",
                                                 server->region, server->account);
    return json_pack("{s:f, s:I, s:s?, s:n, s:s, s:s?, s:s, s:s, s:s, s:s}", "CreationTime",
                     (double)info->created_ms / 1000.0, "DataRetentionInHours",
                     (json_int_t)info->retention_hours, "DeviceName", info->device_name,
                     "IngestionConfiguration", "KmsKeyId", kms, "MediaType", info->media_type,
                     "Status", info->status, "StreamARN", info->arn, "StreamName", info->name,
                     "Version", info->version);
}

static void
run_describe(KvgControlCall *call)
{
    call->output = json_pack("{s:o}", "StreamInfo", info_to_json(call->server, &call->stream));
}

static void
run_list(KvgControlCall *call)
{
    const int64_t max = kvg_json_get_int(call->input, "MaxResults", DEFAULT_PAGE);
    const char *prefix =
        kvg_json_get_string(json_object_get(call->input, "StreamNameCondition"), "ComparisonValue");
    g_autofree char *after = NULL;
    if (!kvg_control_read_token(call, &after))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(call->db,
                      "SELECT " KVG_STREAM_COLUMNS " FROM stream WHERE name > ?1"
                      " AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
                      "tti", after, prefix ? prefix : "", max + 1);
    json_t *list = json_array();
    g_autofree char *last = NULL;
    bool has_more = false;
    while (!has_more && kvg_sql_step(rows)) {
        has_more = (int64_t)json_array_size(list) == max;
        if (has_more)
            break;
        g_auto(KvgStreamInfo) info = {0};
        kvg_stream_from_row(rows, call->now_ms, &info);
        json_array_append_new(list, info_to_json(call->server, &info));
        g_free(last);
        last = g_strdup(info.name);
    }
    call->output = json_pack("{s:o, s:o}", "StreamInfoList", list, "NextToken",
                             kvg_control_write_token(has_more ? last : NULL));
}

static void
run_update(KvgControlCall *call)
{
    if (!kvg_control_check_version(call))
        return;
    if (kvg_sql_run(call->db,
                    "UPDATE stream SET device_name = coalesce(?2, device_name),"
                    " media_type = coalesce(?3, media_type) WHERE arn = ?1",
                    "ttt", call->stream.arn, kvg_json_get_string(call->input, "DeviceName"),
                    kvg_json_get_string(call->input, "MediaType")) < 1)
        kvg_control_fail_database(call);
    else
        kvg_control_begin_change(call, "UPDATING");
}

static void
run_update_retention(KvgControlCall *call)
{
    if (!kvg_control_check_version(call))
        return;
    const bool is_increase =
        strcmp(kvg_json_get_string(call->input, "Operation"), "INCREASE_DATA_RETENTION") == 0;
    const int64_t change = MIN(kvg_json_get_int(call->input, "DataRetentionChangeInHours", 0),
                               (int64_t)KVG_MAX_RETENTION_HOURS + 1);
    const int64_t hours = call->stream.retention_hours + (is_increase ? change : -change);
    if (hours < 0 || hours > KVG_MAX_RETENTION_HOURS) {
        kvg_control_fail_argument(
            call, "The retention period must be between 0 and %d hours; it would be %d.",
            KVG_MAX_RETENTION_HOURS, (int)hours);
        return;
    }
    if (kvg_sql_run(call->db, "UPDATE stream SET retention_hours = ?2 WHERE arn = ?1", "ti",
                    call->stream.arn, hours) < 1)
        kvg_control_fail_database(call);
    else
        kvg_control_begin_change(call, "UPDATING");
}

static void
run_delete(KvgControlCall *call)
{
    if (!kvg_control_check_version(call))
        return;
    kvg_control_begin_change(call, "DELETING");
    kvg_stream_finish_deletions(call->db, call->now_ms);
}

static void
run_get_endpoint(KvgControlCall *call)
{
    g_autofree char *url = kvg_control_own_url(call->x);
    call->output = json_pack("{s:s}", "DataEndpoint", url);
}

const KvgControlOperation kvg_control_streams[] = {
    {.name = "CreateStream",
     .path = "/createStream",
     .input = &kvg_input_create_stream,
     .run = run_create,
     .target = KVG_TARGET_NEW,
     .per_account = 50},
    {.name = "DescribeStream",
     .path = "/describeStream",
     .input = &kvg_input_stream,
     .run = run_describe,
     .target = KVG_TARGET_STREAM,
     .per_account = 300,
     .per_stream = 5},
    {.name = "ListStreams",
     .path = "/listStreams",
     .input = &kvg_input_list_streams,
     .run = run_list,
     .per_account = 50},
    {.name = "UpdateStream",
     .path = "/updateStream",
     .input = &kvg_input_update_stream,
     .run = run_update,
     .target = KVG_TARGET_STREAM,
     .is_change = true,
     .per_account = 50,
     .per_stream = 5},
    {.name = "UpdateDataRetention",
     .path = "/updateDataRetention",
     .input = &kvg_input_update_retention,
     .run = run_update_retention,
     .target = KVG_TARGET_STREAM,
     .is_change = true,
     .per_account = 50,
     .per_stream = 5},
    {.name = "DeleteStream",
     .path = "/deleteStream",
     .input = &kvg_input_delete_stream,
     .run = run_delete,
     .target = KVG_TARGET_STREAM,
     .is_change = true,
     .per_account = 50,
     .per_stream = 5},
    {.name = "GetDataEndpoint",
     .path = "/getDataEndpoint",
     .input = &kvg_input_data_endpoint,
     .run = run_get_endpoint,
     .target = KVG_TARGET_STREAM,
     .per_account = 300,
     .per_stream = 5},
    {0},
};
