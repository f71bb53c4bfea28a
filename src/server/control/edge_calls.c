/* Configurations of an edge agent: kept and returned. No device is told of them, so one stays
 * SYNCING as long as the service would try to reach the device, and then is SYNC_FAILED. */
#include "server/control/call.h"
#include <string.h>

#define SYNC_MS (INT64_C(15) * 60 * 1000)
#define DEFAULT_PAGE 5

#define EDGE_COLUMNS "document, stream_configuration.created_ms, updated_ms, name, stream.arn"
#define EDGE_TABLES                                                                                \
    " FROM stream_configuration JOIN stream ON stream.arn = stream_configuration.arn"

/* A row of EDGE_COLUMNS as the service shows it. */
static json_t *
edge_to_json(const KvgControlCall *call, KvgStatement row)
{
    const char *text = kvg_sql_column(row, 0);
    const int64_t updated_ms = sqlite3_column_int64(row, 2);
    const bool has_failed = call->now_ms >= updated_ms + SYNC_MS;
    json_t *json = json_pack("{s:s, s:s, s:f, s:f, s:s, s:s?, s:o*}", "StreamName",
                             kvg_sql_column(row, 3), "StreamARN", kvg_sql_column(row, 4),
                             "CreationTime", (double)sqlite3_column_int64(row, 1) / 1000.0,
                             "LastUpdatedTime", (double)updated_ms / 1000.0, "SyncStatus",
                             has_failed ? "SYNC_FAILED" : "SYNCING", "FailedStatusDetails",
                             has_failed ? "The edge agent did not answer within 15 minutes." : NULL,
                             "EdgeConfig", kvg_json_parse_object(text, strlen(text), NULL));
    return json;
}

static json_t *
read_edge(KvgControlCall *call)
{
    g_auto(KvgStatement) row = kvg_sql_query(
        call->db, "SELECT " EDGE_COLUMNS EDGE_TABLES " WHERE stream.arn = ?1 AND kind = 'edge'",
        "t", call->stream.arn);
    return kvg_sql_step(row) ? edge_to_json(call, row) : NULL;
}

static void
run_start(KvgControlCall *call)
{
    if (call->stream.retention_hours == 0) {
        kvg_control_fail(call, 400, "NoDataRetentionException",
                         "The stream %s has no data retention: its retention period is 0 hours.",
                         call->stream.name);
        return;
    }
    g_autoptr(json_t) before = read_edge(call);
    if (g_strcmp0(kvg_json_get_string(before, "SyncStatus"), "SYNCING") == 0) {
        kvg_control_fail(call, 400, "ResourceInUseException",
                         "The edge configuration of stream %s is still SYNCING.",
                         call->stream.name);
        return;
    }
    const json_t *config = json_object_get(call->input, "EdgeConfig");
    g_autofree char *text = kvg_json_to_text(config);
    if (kvg_sql_run(call->db,
                    "INSERT INTO stream_configuration"
                    " (arn, kind, hub, document, created_ms, updated_ms)"
                    " VALUES (?1, 'edge', ?2, ?3, ?4, ?4) ON CONFLICT (arn, kind)"
                    " DO UPDATE SET hub = ?2, document = ?3, updated_ms = ?4",
                    "ttti", call->stream.arn, kvg_json_get_string(config, "HubDeviceArn"), text,
                    call->now_ms) < 0)
        kvg_control_fail_database(call);
    else
        call->output = read_edge(call);
}

static void
fail_not_configured(KvgControlCall *call)
{
    kvg_control_fail(call, 404, "StreamEdgeConfigurationNotFoundException",
                     "The stream %s has no edge configuration.", call->stream.name);
}

static void
run_describe(KvgControlCall *call)
{
    call->output = read_edge(call);
    if (!call->output)
        fail_not_configured(call);
}

/* There is no device that would have to agree. */
static void
run_delete(KvgControlCall *call)
{
    const int n =
        kvg_sql_run(call->db, "DELETE FROM stream_configuration WHERE arn = ?1 AND kind = 'edge'",
                    "t", call->stream.arn);
    if (n < 0)
        kvg_control_fail_database(call);
    else if (n == 0)
        fail_not_configured(call);
}

static void
run_list(KvgControlCall *call)
{
    const int64_t max = kvg_json_get_int(call->input, "MaxResults", DEFAULT_PAGE);
    g_autofree char *after = NULL;
    if (!kvg_control_read_token(call, &after))
        return;
    g_auto(KvgStatement) rows =
        kvg_sql_query(call->db,
                      "SELECT " EDGE_COLUMNS EDGE_TABLES
                      " WHERE kind = 'edge' AND hub = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
                      "tti", kvg_json_get_string(call->input, "HubDeviceArn"), after, max + 1);
    json_t *list = json_array();
    g_autofree char *last = NULL;
    bool has_more = false;
    while (!has_more && kvg_sql_step(rows)) {
        has_more = (int64_t)json_array_size(list) == max;
        if (has_more)
            break;
        json_array_append_new(list, edge_to_json(call, rows));
        g_free(last);
        last = g_strdup(kvg_sql_column(rows, 3));
    }
    call->output = json_pack("{s:o, s:o}", "EdgeConfigs", list, "NextToken",
                             kvg_control_write_token(has_more ? last : NULL));
}

const KvgControlOperation kvg_control_edge[] = {
    {.name = "StartEdgeConfigurationUpdate",
     .path = "/startEdgeConfigurationUpdate",
     .input = &kvg_input_start_edge,
     .run = run_start,
     .target = KVG_TARGET_STREAM,
     .is_change = true,
     .per_account = 10,
     .per_stream = 1},
    {.name = "DescribeEdgeConfiguration",
     .path = "/describeEdgeConfiguration",
     .input = &kvg_input_stream,
     .run = run_describe,
     .target = KVG_TARGET_STREAM,
     .per_account = 50,
     .per_stream = 5},
    {.name = "DeleteEdgeConfiguration",
     .path = "/deleteEdgeConfiguration",
     .input = &kvg_input_stream,
     .run = run_delete,
     .target = KVG_TARGET_STREAM,
     .per_account = 10,
     .per_stream = 1},
    {.name = "ListEdgeAgentConfigurations",
     .path = "/listEdgeAgentConfigurations",
     .input = &kvg_input_list_edge,
     .run = run_list,
     .per_account = 50},
    {0},
};
