/* One control-plane call at a time for a stream: DescribeStream, CreateStream, GetDataEndpoint. */
#include "base/json.h"
#include "putmedia/private.h"
#include <string.h>

#define MAX_ENDPOINT 1024
/* For the answer, when there is a connection. */
#define ANSWER_MS 6000u

static char *
call_body(KvgUpload *upload, KvgControlKind kind)
{
    g_autoptr(json_t) body = json_pack("{s:s}", "StreamName", upload->name);
    if (kind == KVG_CONTROL_ENDPOINT)
        json_object_set_new(body, "APIName", json_string("PUT_MEDIA"));
    if (kind == KVG_CONTROL_CREATE) {
        json_object_set_new(body, "DataRetentionInHours", json_integer(upload->retention_hours));
        json_object_set_new(body, "MediaType", json_string(upload->media_type));
    }
    return kvg_json_to_text(body);
}

void
kvg_control_drop(KvgUpload *upload)
{
    KvgControl *control = &upload->mine.control;
    if (control->call == NULL)
        return;
    kvg_loop_remove(upload->uploader->loop, kvg_aws_transfer_easy(control->call));
    g_clear_pointer(&control->call, kvg_aws_transfer_free);
    kvg_aws_reply_clear(&control->reply);
    control->reply = (KvgAwsReply){0};
}

void
kvg_control_begin(KvgUpload *upload, KvgControlKind kind)
{
    static const char *const paths[] = {
        [KVG_CONTROL_DESCRIBE] = "/describeStream",
        [KVG_CONTROL_CREATE] = "/createStream",
        [KVG_CONTROL_ENDPOINT] = "/getDataEndpoint",
    };
    KvgUploader *uploader = upload->uploader;
    KvgControl *control = &upload->mine.control;
    kvg_control_drop(upload);
    g_auto(KvgKeys) keys = {0};
    if (!kvg_credentials_peek(upload->credentials, &keys)) {
        kvg_upload_step_failed(upload, KVG_ERROR_AUTH, "the credentials have expired");
        return;
    }
    g_autofree char *body = call_body(upload, kind);
    control->clock_offset_ms = uploader->mine.clock_offset_ms;
    const KvgAwsRequest request = {.service = "kinesisvideo",
                                   .region = uploader->region,
                                   .base_url = uploader->base_url,
                                   .method = "POST",
                                   .path = paths[kind],
                                   .body = body,
                                   .ca_path = uploader->ca_path,
                                   .user_agent = uploader->user_agent,
                                   .connect_timeout_ms = kvg_upload_connect_ms(upload),
                                   .total_timeout_ms = kvg_upload_connect_ms(upload) + ANSWER_MS,
                                   .clock_offset_ms = control->clock_offset_ms};
    control->kind = kind;
    control->call = kvg_aws_transfer_new(&request, &keys, &control->reply);
    CURL *easy = kvg_aws_transfer_easy(control->call);
    kvg_loop_share(uploader->loop, easy);
    kvg_uploader_add_transfer(uploader, easy, &control->transfer);
}

static bool
judge_description(const json_t *reply, KvgSessionEvent *event)
{
    const json_t *info = json_object_get(reply, "StreamInfo");
    const char *status = kvg_json_get_string(info, "Status");
    if (status == NULL)
        return false;
    event->kind = KVG_SESSION_ON_STREAM;
    /* UPDATING streams take media, too. */
    event->is_active = strcmp(status, "ACTIVE") == 0 || strcmp(status, "UPDATING") == 0;
    event->retention_hours = kvg_json_get_int(info, "DataRetentionInHours", 1);
    return true;
}

static bool
judge_endpoint(KvgUpload *upload, const json_t *reply, KvgSessionEvent *event)
{
    const char *endpoint = kvg_json_get_string(reply, "DataEndpoint");
    if (endpoint == NULL || strlen(endpoint) > MAX_ENDPOINT)
        return false;
    g_autofree char *trimmed = g_strdup(endpoint);
    if (g_str_has_suffix(trimmed, "/"))
        trimmed[strlen(trimmed) - 1] = '\0';
    g_autofree char *host = kvg_putmedia_host(trimmed, NULL);
    if (host == NULL)
        return false;
    g_free(upload->mine.endpoint);
    upload->mine.endpoint = g_steal_pointer(&trimmed);
    event->kind = KVG_SESSION_ON_ENDPOINT;
    return true;
}

static void
judge_answer(KvgUpload *upload)
{
    const KvgControl *control = &upload->mine.control;
    const GString *body = control->reply.body;
    g_autoptr(json_t) reply =
        body != NULL ? kvg_json_parse_object(body->str, body->len, NULL) : NULL;
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_CREATED};
    bool ok = true;
    if (control->kind == KVG_CONTROL_DESCRIBE)
        ok = judge_description(reply, &event);
    else if (control->kind == KVG_CONTROL_ENDPOINT)
        ok = judge_endpoint(upload, reply, &event);
    kvg_control_drop(upload);
    if (ok)
        kvg_upload_step(upload, &event);
    else
        kvg_upload_step_failed(upload, KVG_ERROR_RETRY,
                               "the service's answer could not be understood");
}

static void
on_control_done(void *owner, CURLcode result)
{
    KvgUpload *upload = owner;
    KvgControl *control = &upload->mine.control;
    KvgAwsReply *reply = &control->reply;
    g_autoptr(GError) error = NULL;
    kvg_upload_learn_connect(upload, kvg_aws_transfer_easy(control->call), result);
    if (kvg_aws_transfer_end(control->call, result, &error)) {
        judge_answer(upload);
        return;
    }
    g_autofree char *type = g_strdup(reply->error_type);
    KvgSessionEvent event = {.kind = KVG_SESSION_ON_FAILED,
                             .code = error->code,
                             .error_type = type,
                             .text = error->message,
                             .is_skew = kvg_uploader_judge_skew(
                                 upload->uploader, control->clock_offset_ms, reply->date_wall_ms,
                                 reply->status, reply->error_type, reply->error_text)};
    kvg_control_drop(upload);
    kvg_upload_step(upload, &event);
}

void
kvg_control_init(KvgControl *control, KvgUpload *upload)
{
    control->transfer = (KvgTransfer){on_control_done, upload};
}
