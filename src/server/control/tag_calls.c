/* Tags, in both shapes the service knows: of a stream, with a map; of a resource, with a list. */
#include "server/control/call.h"
#include <string.h>

static bool
set_tag(KvgControlCall *call, const char *arn, const char *key, const char *value)
{
    if (g_ascii_strncasecmp(key, "aws:", 4) == 0) {
        kvg_control_fail_argument(call, "Tag keys must not begin with 'aws:', as '%s' does.", key);
        return false;
    }
    if (kvg_sql_run(call->db,
                    "INSERT OR REPLACE INTO stream_tag (arn, key, value) VALUES (?1, ?2, ?3)",
                    "ttt", arn, key, value) == 1)
        return true;
    kvg_control_fail_database(call);
    return false;
}

static bool
check_number(KvgControlCall *call, const char *arn)
{
    const int64_t n =
        kvg_sql_int(call->db, 0, "SELECT count(*) FROM stream_tag WHERE arn = ?1", "t", arn);
    if (n <= KVG_MAX_TAGS)
        return true;
    kvg_control_fail(call, 400, "TagsPerResourceExceededLimitException",
                     "You have exceeded the limit of tags that you can associate with the "
                     "resource: a Kinesis video stream can support up to %d tags.",
                     KVG_MAX_TAGS);
    return false;
}

bool
kvg_control_set_tags(KvgControlCall *call, const char *arn, const json_t *tags)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tags, key, value)
    {
        if (!set_tag(call, arn, key, json_string_value(value)))
            return false;
    }
    return check_number(call, arn);
}

static void
run_tag_stream(KvgControlCall *call)
{
    kvg_control_set_tags(call, call->stream.arn, json_object_get(call->input, "Tags"));
}

static void
run_tag_resource(KvgControlCall *call)
{
    const json_t *tags = json_object_get(call->input, "Tags");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);
        if (!set_tag(call, call->stream.arn, kvg_json_get_string(tag, "Key"),
                     kvg_json_get_string(tag, "Value")))
            return;
    }
    check_number(call, call->stream.arn);
}

static void
run_untag(KvgControlCall *call)
{
    const json_t *keys = json_object_get(call->input, "TagKeyList");
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (kvg_sql_run(call->db, "DELETE FROM stream_tag WHERE arn = ?1 AND key = ?2", "tt",
                        call->stream.arn, json_string_value(json_array_get(keys, i))) < 0)
            kvg_control_fail_database(call);
}

/* All tags of a resource fit into one page, so no token was ever given out. */
static void
run_list(KvgControlCall *call)
{
    const char *token = kvg_json_get_string(call->input, "NextToken");
    if (token && *token) {
        kvg_control_fail_argument(call, "Invalid NextToken.");
        return;
    }
    json_t *tags = json_object();
    g_auto(KvgStatement) rows = kvg_sql_query(
        call->db, "SELECT key, value FROM stream_tag WHERE arn = ?1", "t", call->stream.arn);
    while (kvg_sql_step(rows))
        json_object_set_new(tags, kvg_sql_column(rows, 0), json_string(kvg_sql_column(rows, 1)));
    call->output = json_pack("{s:o, s:n}", "Tags", tags, "NextToken");
}

#define OPERATION(NAME, PATH, INPUT, RUN)                                                          \
    .name = NAME, .path = PATH, .input = &INPUT, .run = RUN, .per_account = 50, .per_stream = 5

const KvgControlOperation kvg_control_tags[] = {
    {OPERATION("TagStream", "/tagStream", kvg_input_tag_stream, run_tag_stream),
     .target = KVG_TARGET_STREAM, .checks_arn_form = true},
    {OPERATION("UntagStream", "/untagStream", kvg_input_untag_stream, run_untag),
     .target = KVG_TARGET_STREAM, .checks_arn_form = true},
    {OPERATION("ListTagsForStream", "/listTagsForStream", kvg_input_list_stream_tags, run_list),
     .target = KVG_TARGET_STREAM, .checks_arn_form = true},
    {OPERATION("TagResource", "/TagResource", kvg_input_tag_resource, run_tag_resource),
     .target = KVG_TARGET_RESOURCE},
    {OPERATION("UntagResource", "/UntagResource", kvg_input_untag_resource, run_untag),
     .target = KVG_TARGET_RESOURCE},
    {OPERATION(
         "ListTagsForResource", "/ListTagsForResource", kvg_input_list_resource_tags, run_list),
     .target = KVG_TARGET_RESOURCE},
    {0},
};
