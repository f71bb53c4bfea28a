/* PutMedia acknowledgements. The parser finds the end of each JSON object by counting braces
 * outside of strings, so it needs no more than one object in memory; what lies between two objects
 * must be white space. Anything else ends the parser, but acks before it are still handed out. */
#include "wire/ack.h"

#include "base/json.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_OBJECT_BYTES 4096
/* Acks waiting to be taken; a caller steps after each put, so this only stops a caller that does
 * not. */
#define MAX_WAITING 65536

struct _KvgAckParser {
    GString *object; /* the unfinished one, at most MAX_OBJECT_BYTES */
    unsigned depth;
    bool in_string;
    bool after_backslash;
    GQueue waiting; /* char *, whole objects */
    char *failure;  /* set once, for good */
};

static const struct {
    KvgAckType type;
    const char *name;
} types[] = {
    {KVG_ACK_BUFFERING, "BUFFERING"}, {KVG_ACK_RECEIVED, "RECEIVED"},
    {KVG_ACK_PERSISTED, "PERSISTED"}, {KVG_ACK_ERROR, "ERROR"},
    {KVG_ACK_IDLE, "IDLE"},
};

static const struct {
    int id;
    const char *code;
} codes[] = {
    {4000, "STREAM_READ_ERROR"},
    {4001, "MAX_FRAGMENT_SIZE_REACHED"},
    {4002, "MAX_FRAGMENT_DURATION_REACHED"},
    {4003, "MAX_CONNECTION_DURATION_REACHED"},
    {4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"},
    {4005, "MORE_THAN_ONE_TRACK_FOUND"},
    {4006, "INVALID_MKV_DATA"},
    {4007, "INVALID_PRODUCER_TIMESTAMP"},
    {4008, "STREAM_NOT_ACTIVE"},
    {4009, "FRAGMENT_METADATA_LIMIT_REACHED"},
    {4010, "TRACK_NUMBER_MISMATCH"},
    {4011, "FRAMES_MISSING_FOR_TRACK"},
    {4012, "MORE_THAN_ALLOWED_TRACKS_FOUND"},
    {4500, "KMS_KEY_ACCESS_DENIED"},
    {4501, "KMS_KEY_DISABLED"},
    {4502, "KMS_KEY_VALIDATION_ERROR"},
    {4503, "KMS_KEY_UNAVAILABLE"},
    {4504, "KMS_KEY_INVALID_USAGE"},
    {4505, "KMS_KEY_INVALID_STATE"},
    {4506, "KMS_KEY_NOT_FOUND"},
    {4507, "STREAM_DELETED"},
    {5000, "INTERNAL_ERROR"},
    {5001, "ARCHIVAL_ERROR"},
};

KvgAckParser *
kvg_ack_parser_new(void)
{
    KvgAckParser *parser = g_new0(KvgAckParser, 1);
    parser->object = g_string_new(NULL);
    g_queue_init(&parser->waiting);
    return parser;
}

void
kvg_ack_parser_free(KvgAckParser *parser)
{
    if (!parser)
        return;
    g_string_free(parser->object, TRUE);
    g_queue_clear_full(&parser->waiting, g_free);
    g_free(parser->failure);
    g_free(parser);
}

static void
track_string(KvgAckParser *parser, char byte)
{
    if (parser->after_backslash)
        parser->after_backslash = false;
    else if (byte == '\\')
        parser->after_backslash = true;
    else if (byte == '"')
        parser->in_string = false;
}

/* One byte inside an object; true if it ended the object. */
static bool
put_byte(KvgAckParser *parser, char byte)
{
    g_string_append_c(parser->object, byte);
    if (parser->in_string) {
        track_string(parser, byte);
        return false;
    }
    if (byte == '"')
        parser->in_string = true;
    else if (byte == '{')
        parser->depth++;
    else if (byte == '}')
        parser->depth--;
    return parser->depth == 0;
}

static const char *
scan(KvgAckParser *parser, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (parser->depth == 0 && g_ascii_isspace(data[i]))
            continue;
        if (parser->depth == 0 && data[i] != '{')
            return "acknowledgement stream: no JSON object where one should begin";
        if (data[i] == '\0')
            return "acknowledgement stream: NUL byte";
        if (parser->object->len >= MAX_OBJECT_BYTES)
            return "acknowledgement stream: object larger than 4096 bytes";
        if (!put_byte(parser, data[i]))
            continue;
        if (g_queue_get_length(&parser->waiting) >= MAX_WAITING)
            return "acknowledgement stream: too many acknowledgements at once";
        g_queue_push_tail(&parser->waiting, g_strdup(parser->object->str));
        g_string_truncate(parser->object, 0);
    }
    return NULL;
}

bool
kvg_ack_parser_put(KvgAckParser *parser, const void *data, size_t len, GError **error)
{
    if (!parser->failure)
        parser->failure = g_strdup(scan(parser, data, len));
    if (!parser->failure)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, parser->failure);
    return false;
}

/* A number, bare or quoted; false if present and neither. */
static bool
read_number(const json_t *object, const char *key, int64_t max, int64_t *value, bool *is_present)
{
    const json_t *member = json_object_get(object, key);
    *is_present = member && !json_is_null(member);
    *value = 0;
    if (!*is_present)
        return true;
    if (json_is_integer(member)) {
        *value = json_integer_value(member);
        return *value >= 0 && *value <= max;
    }
    guint64 parsed = 0;
    if (!json_is_string(member) ||
        !g_ascii_string_to_unsigned(json_string_value(member), 10, 0, (guint64)max, &parsed, NULL))
        return false;
    *value = (int64_t)parsed;
    return true;
}

static bool
read_fragment_number(const json_t *object, KvgAck *ack)
{
    const json_t *member = json_object_get(object, "FragmentNumber");
    if (!member || json_is_null(member))
        return true;
    if (json_is_integer(member) && json_integer_value(member) >= 0) {
        g_snprintf(ack->fragment_number, sizeof ack->fragment_number, "%" JSON_INTEGER_FORMAT,
                   json_integer_value(member));
        return true;
    }
    const char *text = json_string_value(member);
    if (!text || strlen(text) >= sizeof ack->fragment_number ||
        strspn(text, "0123456789") != strlen(text))
        return false;
    g_strlcpy(ack->fragment_number, text, sizeof ack->fragment_number);
    return true;
}

static KvgAckType
type_from_name(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return KVG_ACK_UNKNOWN;
}

/* NULL, or which member is at fault. */
static const char *
ack_from_json(const json_t *object, KvgAck *ack)
{
    const char *event = kvg_json_get_string(object, "EventType");
    if (!event)
        return "EventType";
    ack->type = type_from_name(event);
    if (ack->type == KVG_ACK_UNKNOWN || ack->type == KVG_ACK_IDLE)
        return NULL;

    bool has_timecode;
    if (!read_number(object, "FragmentTimecode", INT64_MAX, &ack->timecode_ms, &has_timecode) ||
        (!has_timecode && ack->type != KVG_ACK_ERROR))
        return "FragmentTimecode";
    if (!read_fragment_number(object, ack))
        return "FragmentNumber";
    if (ack->type != KVG_ACK_ERROR)
        return NULL;

    bool has_id;
    int64_t id;
    if (!read_number(object, "ErrorId", 999999, &id, &has_id) || !has_id)
        return "ErrorId";
    ack->error_id = (int)id;
    const char *code = kvg_json_get_string(object, "ErrorCode");
    g_strlcpy(ack->error_code, code ? code : kvg_ack_error_code(ack->error_id),
              sizeof ack->error_code);
    return NULL;
}

KvgAckStep
kvg_ack_parser_step(KvgAckParser *parser, KvgAck *ack, GError **error)
{
    memset(ack, 0, sizeof *ack);
    g_autofree char *text = g_queue_pop_head(&parser->waiting);
    if (!text && !parser->failure)
        return KVG_ACK_STEP_NEED_MORE;
    if (text) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(json_t) object = kvg_json_parse_object(text, strlen(text), &problem);
        const char *fault = object ? ack_from_json(object, ack) : problem->message;
        if (!fault)
            return KVG_ACK_STEP_ACK;
        g_free(parser->failure);
        parser->failure = g_strdup_printf("acknowledgement not understood: %s", fault);
        g_queue_clear_full(&parser->waiting, g_free);
        memset(ack, 0, sizeof *ack);
    }
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_CORRUPT, parser->failure);
    return KVG_ACK_STEP_FAILED;
}

char *
kvg_ack_to_text(const KvgAck *ack)
{
    const char *name = "IDLE";
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
        if (types[i].type == ack->type)
            name = types[i].name;
    if (strcmp(name, "IDLE") == 0)
        return g_strdup("{\"EventType\":\"IDLE\"}\n");

    /* Written by hand: producers read this with parsers that are particular about order and form.
     * All texts are ours: digits and upper-case names, nothing to escape. */
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "{\"EventType\":\"%s\",\"FragmentTimecode\":%" G_GINT64_FORMAT,
                           name, ack->timecode_ms);
    if (*ack->fragment_number)
        g_string_append_printf(out, ",\"FragmentNumber\":\"%s\"", ack->fragment_number);
    if (ack->type == KVG_ACK_ERROR)
        g_string_append_printf(
            out, ",\"ErrorCode\":\"%s\",\"ErrorId\":%d",
            *ack->error_code ? ack->error_code : kvg_ack_error_code(ack->error_id), ack->error_id);
    g_string_append(out, "}\n");
    return g_string_free(out, FALSE);
}

const char *
kvg_ack_error_code(int error_id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
        if (codes[i].id == error_id)
            return codes[i].code;
    return "UNKNOWN_ERROR";
}
