/* The input shapes as tables: bounds, patterns and enums of the public API reference. */
#include "server/control/model.h"

#define ENUM(...)                                                                                  \
    {                                                                                              \
        .kind = KVG_SHAPE_STRING, .values = (const char *const[])                                  \
        {                                                                                          \
            __VA_ARGS__, NULL                                                                      \
        }                                                                                          \
    }
#define STRUCTURE(...)                                                                             \
    {                                                                                              \
        .kind = KVG_SHAPE_STRUCTURE, .members = (const KvgMember[])                                \
        {                                                                                          \
            __VA_ARGS__,                                                                           \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define NAME "[a-zA-Z0-9_.-]+"
#define TAG_TEXT "\\p{L}\\p{Z}\\p{N}_.:/=+\\-@"

const KvgShape kvg_shape_arn = {
    .kind = KVG_SHAPE_STRING,
    .min = 1,
    .max = 1024,
    .pattern = "arn:[a-z\\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+"};
/* Whatever form it has, the operation complains by itself. */
static const KvgShape any_arn = {.kind = KVG_SHAPE_STRING, .min = 1, .max = 1024};
static const KvgShape name = {.kind = KVG_SHAPE_STRING, .min = 1, .max = 256, .pattern = NAME};
static const KvgShape device = {.kind = KVG_SHAPE_STRING, .min = 1, .max = 128, .pattern = NAME};
static const KvgShape media_type = {
    .kind = KVG_SHAPE_STRING,
    .min = 1,
    .max = 128,
    .pattern = "[\\w\\-\\.\\+]+/[\\w\\-\\.\\+]+(,[\\w\\-\\.\\+]+/[\\w\\-\\.\\+]+)*"};
static const KvgShape kms_key = {.kind = KVG_SHAPE_STRING, .min = 1, .max = 2048, .pattern = ".+"};
static const KvgShape version = {
    .kind = KVG_SHAPE_STRING, .min = 1, .max = 64, .pattern = "[a-zA-Z0-9]+"};
static const KvgShape token = {.kind = KVG_SHAPE_STRING, .max = 1024, .pattern = "[a-zA-Z0-9+/=]*"};
static const KvgShape retention = {.kind = KVG_SHAPE_INTEGER, .max = 87600};
static const KvgShape retention_change = {.kind = KVG_SHAPE_INTEGER, .min = 1};
static const KvgShape tag_key = {
    .kind = KVG_SHAPE_STRING, .min = 1, .max = 128, .pattern = "^([" TAG_TEXT "]*)$"};
static const KvgShape tag_value = {
    .kind = KVG_SHAPE_STRING, .max = 256, .pattern = "[" TAG_TEXT "]*"};
static const KvgShape tag_map = {
    .kind = KVG_SHAPE_MAP, .min = 1, .max = 50, .key = &tag_key, .element = &tag_value};
static const KvgShape tag_keys = {.kind = KVG_SHAPE_LIST, .min = 1, .max = 50, .element = &tag_key};
static const KvgShape tag = STRUCTURE({"Key", &tag_key, true}, {"Value", &tag_value, true});
static const KvgShape tag_list = {.kind = KVG_SHAPE_LIST, .min = 1, .max = 50, .element = &tag};
static const KvgShape on_off = ENUM("ENABLED", "DISABLED");

#define STREAM                                                                                     \
    {"StreamName", &name, false},                                                                  \
    {                                                                                              \
        "StreamARN", &kvg_shape_arn, false                                                         \
    }
/* Of the tag operations. */
#define STREAM_OF_ANY_FORM                                                                         \
    {"StreamName", &name, false},                                                                  \
    {                                                                                              \
        "StreamARN", &any_arn, false                                                               \
    }

/* ---- streams ---- */

static const KvgShape tier = ENUM("HOT", "WARM");
static const KvgShape storage = STRUCTURE({"DefaultStorageTier", &tier, true});

const KvgShape kvg_input_create_stream = STRUCTURE({"DeviceName", &device, false},
                                                   {"StreamName", &name, true},
                                                   {"MediaType", &media_type, false},
                                                   {"KmsKeyId", &kms_key, false},
                                                   {"DataRetentionInHours", &retention, false},
                                                   {"Tags", &tag_map, false},
                                                   {"StreamStorageConfiguration", &storage, false});
const KvgShape kvg_input_stream = STRUCTURE(STREAM);
const KvgShape kvg_input_update_stream = STRUCTURE(STREAM,
                                                   {"CurrentVersion", &version, true},
                                                   {"DeviceName", &device, false},
                                                   {"MediaType", &media_type, false});
static const KvgShape direction = ENUM("INCREASE_DATA_RETENTION", "DECREASE_DATA_RETENTION");
const KvgShape kvg_input_update_retention =
    STRUCTURE(STREAM,
              {"CurrentVersion", &version, true},
              {"Operation", &direction, true},
              {"DataRetentionChangeInHours", &retention_change, true});
const KvgShape kvg_input_delete_stream =
    STRUCTURE({"StreamARN", &kvg_shape_arn, true}, {"CurrentVersion", &version, false});
static const KvgShape api = ENUM("PUT_MEDIA",
                                 "GET_MEDIA",
                                 "LIST_FRAGMENTS",
                                 "GET_MEDIA_FOR_FRAGMENT_LIST",
                                 "GET_HLS_STREAMING_SESSION_URL",
                                 "GET_DASH_STREAMING_SESSION_URL",
                                 "GET_CLIP",
                                 "GET_IMAGES");
const KvgShape kvg_input_data_endpoint = STRUCTURE(STREAM, {"APIName", &api, true});
static const KvgShape begins_with = ENUM("BEGINS_WITH");
static const KvgShape name_condition =
    STRUCTURE({"ComparisonOperator", &begins_with, false}, {"ComparisonValue", &name, false});
static const KvgShape page_10000 = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 10000};
const KvgShape kvg_input_list_streams = STRUCTURE({"MaxResults", &page_10000, false},
                                                  {"NextToken", &token, false},
                                                  {"StreamNameCondition", &name_condition, false});

/* ---- tags ---- */

const KvgShape kvg_input_tag_stream = STRUCTURE(STREAM_OF_ANY_FORM, {"Tags", &tag_map, true});
const KvgShape kvg_input_untag_stream =
    STRUCTURE(STREAM_OF_ANY_FORM, {"TagKeyList", &tag_keys, true});
const KvgShape kvg_input_list_stream_tags =
    STRUCTURE(STREAM_OF_ANY_FORM, {"NextToken", &token, false});
#define RESOURCE                                                                                   \
    {                                                                                              \
        "ResourceARN", &kvg_shape_arn, true                                                        \
    }
const KvgShape kvg_input_tag_resource = STRUCTURE(RESOURCE, {"Tags", &tag_list, true});
const KvgShape kvg_input_untag_resource = STRUCTURE(RESOURCE, {"TagKeyList", &tag_keys, true});
const KvgShape kvg_input_list_resource_tags = STRUCTURE(RESOURCE, {"NextToken", &token, false});

/* ---- image generation, notification, storage ---- */

static const KvgShape uri = {.kind = KVG_SHAPE_STRING,
                             .min = 1,
                             .max = 255,
                             .pattern = "^[a-zA-Z_0-9]+:(//)?([^/]+)/?([^*]*)$"};
static const KvgShape region = {
    .kind = KVG_SHAPE_STRING, .min = 9, .max = 14, .pattern = "^[a-z]+(-[a-z]+)?-[a-z]+-[0-9]$"};
static const KvgShape selector = ENUM("SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP");
static const KvgShape format = ENUM("JPEG", "PNG");
static const KvgShape format_key = ENUM("JPEGQuality");
static const KvgShape format_value = {
    .kind = KVG_SHAPE_STRING, .max = 256, .pattern = "^[a-zA-Z_0-9]+"};
static const KvgShape format_config = {
    .kind = KVG_SHAPE_MAP, .min = 1, .max = 1, .key = &format_key, .element = &format_value};
static const KvgShape sampling = {.kind = KVG_SHAPE_INTEGER, .min = 200};
static const KvgShape width = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 3840};
static const KvgShape height = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 2160};
static const KvgShape image_destination =
    STRUCTURE({"Uri", &uri, true}, {"DestinationRegion", &region, true});
static const KvgShape image = STRUCTURE({"Status", &on_off, true},
                                        {"ImageSelectorType", &selector, true},
                                        {"DestinationConfig", &image_destination, true},
                                        {"SamplingInterval", &sampling, true},
                                        {"Format", &format, true},
                                        {"FormatConfig", &format_config, false},
                                        {"WidthPixels", &width, false},
                                        {"HeightPixels", &height, false});
const KvgShape kvg_input_update_image =
    STRUCTURE(STREAM, {"ImageGenerationConfiguration", &image, false});

static const KvgShape topic = STRUCTURE({"Uri", &uri, true});
static const KvgShape notification =
    STRUCTURE({"Status", &on_off, true}, {"DestinationConfig", &topic, true});
const KvgShape kvg_input_update_notification =
    STRUCTURE(STREAM, {"NotificationConfiguration", &notification, false});

const KvgShape kvg_input_update_storage = STRUCTURE(
    STREAM, {"CurrentVersion", &version, true}, {"StreamStorageConfiguration", &storage, true});
static const KvgShape page_1 = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 1};
const KvgShape kvg_input_mapped_resource =
    STRUCTURE(STREAM, {"MaxResults", &page_1, false}, {"NextToken", &token, false});
const KvgShape kvg_input_media_storage =
    STRUCTURE({"ChannelName", &name, false}, {"ChannelARN", &kvg_shape_arn, false});
static const KvgShape media_storage =
    STRUCTURE({"StreamARN", &kvg_shape_arn, false}, {"Status", &on_off, true});
const KvgShape kvg_input_update_media_storage = STRUCTURE(
    {"ChannelARN", &kvg_shape_arn, true}, {"MediaStorageConfiguration", &media_storage, true});

/* ---- edge ---- */

static const KvgShape hub = {.kind = KVG_SHAPE_STRING,
                             .min = 1,
                             .max = 1024,
                             .pattern =
                                 "arn:[a-z\\d-]+:iot:[a-z0-9-]+:[0-9]+:thing/[a-zA-Z0-9_.-]+"};
static const KvgShape secret = {
    .kind = KVG_SHAPE_STRING,
    .min = 20,
    .max = 2048,
    .pattern = "arn:[a-z\\d-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:[a-zA-Z0-9_.-]+"};
static const KvgShape uri_type = ENUM("RTSP_URI", "FILE_URI");
static const KvgShape cron = {
    .kind = KVG_SHAPE_STRING, .min = 11, .max = 100, .pattern = "[^\\n]{11,100}"};
static const KvgShape duration = {.kind = KVG_SHAPE_INTEGER, .min = 60, .max = 3600};
static const KvgShape schedule =
    STRUCTURE({"ScheduleExpression", &cron, true}, {"DurationInSeconds", &duration, true});
static const KvgShape media_source =
    STRUCTURE({"MediaUriSecretArn", &secret, true}, {"MediaUriType", &uri_type, true});
static const KvgShape recorder =
    STRUCTURE({"MediaSourceConfig", &media_source, true}, {"ScheduleConfig", &schedule, false});
static const KvgShape uploader = STRUCTURE({"ScheduleConfig", &schedule, true});
static const KvgShape edge_hours = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 720};
static const KvgShape edge_megabytes = {.kind = KVG_SHAPE_INTEGER, .min = 64, .max = 2000000};
static const KvgShape strategy = ENUM("DELETE_OLDEST_MEDIA", "DENY_NEW_MEDIA");
static const KvgShape local_size = STRUCTURE({"MaxLocalMediaSizeInMB", &edge_megabytes, false},
                                             {"StrategyOnFullSize", &strategy, false});
static const KvgShape flag = {.kind = KVG_SHAPE_BOOLEAN};
static const KvgShape deletion = STRUCTURE({"EdgeRetentionInHours", &edge_hours, false},
                                           {"LocalSizeConfig", &local_size, false},
                                           {"DeleteAfterUpload", &flag, false});
static const KvgShape edge = STRUCTURE({"HubDeviceArn", &hub, true},
                                       {"RecorderConfig", &recorder, true},
                                       {"UploaderConfig", &uploader, false},
                                       {"DeletionConfig", &deletion, false});
const KvgShape kvg_input_start_edge = STRUCTURE(STREAM, {"EdgeConfig", &edge, true});
static const KvgShape page_10 = {.kind = KVG_SHAPE_INTEGER, .min = 1, .max = 10};
const KvgShape kvg_input_list_edge = STRUCTURE(
    {"HubDeviceArn", &hub, true}, {"MaxResults", &page_10, false}, {"NextToken", &token, false});
