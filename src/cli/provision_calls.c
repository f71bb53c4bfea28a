/* Calls of provisioning, with patience: services throttle, and lag behind themselves. */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/provision.h"
#include <kvg/error.h>
#include <string.h>

#define PATIENCE_MS 60000       /* new roles and policies take a while to be known everywhere */
#define LONG_PATIENCE_MS 300000 /* a policy that was detached may stay undeletable for so long */

static bool
mentions(const KvgAwsReply *reply, const char *part)
{
    return part != NULL && ((reply->error_type != NULL && strstr(reply->error_type, part)) ||
                            (reply->error_text != NULL && strstr(reply->error_text, part)));
}

/* Until when another try is worth it; 0: it is not. */
static int64_t
patience_ms(const KvgCall *call, const KvgAwsReply *reply, const GError *cause)
{
    if (mentions(reply, call->waits_for[0]) || mentions(reply, call->waits_for[1]))
        return strstr(reply->error_type != NULL ? reply->error_type : "", "DeleteConflict")
                   ? LONG_PATIENCE_MS
                   : PATIENCE_MS;
    return kvg_error_is_retryable(cause) ? PATIENCE_MS : 0;
}

/* *@accepted: the error of `accepts` was met. */
static bool
perform(KvgRun *run, const KvgCall *call, KvgAwsReply *reply, bool *accepted, GError **error)
{
    g_autofree char *url = call->base_url != NULL ? g_strdup(call->base_url)
                                                  : kvg_target_url(&run->target, call->service);
    g_autofree char *principal =
        call->principal != NULL ? g_strdup_printf("x-amzn-principal: %s", call->principal) : NULL;
    const char *const headers[] = {principal, NULL};
    const bool is_global = strcmp(call->service, "iam") == 0;
    const KvgAwsRequest request = {.service = call->service,
                                   .region = is_global ? "us-east-1" : kvg_run_region(run),
                                   .base_url = url,
                                   .method = call->method,
                                   .path = call->path,
                                   .query = call->query,
                                   .content_type = call->content_type,
                                   .body = call->body,
                                   .extra_headers = headers,
                                   .ca_path = kvg_target_ca(&run->target)};
    KvgBackoff backoff = {.base_ms = 250, .cap_ms = 8000};
    const int64_t began_us = kvg_clock_mono_us();
    for (;;) {
        g_autoptr(GError) cause = NULL;
        if (kvg_aws_call(&request, run->target.credentials, reply, &cause))
            return true;
        if (mentions(reply, call->accepts)) {
            *accepted = true;
            return true;
        }
        if (kvg_clock_mono_us() - began_us >= patience_ms(call, reply, cause) * 1000) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        kvg_aws_reply_clear(reply);
        g_usleep((gulong)kvg_backoff_next_ms(&backoff) * 1000);
    }
}

json_t *
kvg_call_json(KvgRun *run, KvgCall call, json_t *body, bool *accepted, GError **error)
{
    G_GNUC_UNUSED g_autoptr(json_t) owned = body;
    g_autofree char *text = body != NULL ? kvg_json_to_text(body) : NULL;
    g_auto(KvgAwsReply) reply = {0};
    bool ignored = false;
    call.body = text;
    if (!perform(run, &call, &reply, accepted != NULL ? accepted : &ignored, error))
        return NULL;
    json_t *answer = kvg_json_parse_object(reply.body->str, reply.body->len, NULL);
    return answer != NULL ? answer : json_object();
}

static char *
form_to_text(const char *service, const char *const *form)
{
    GString *text =
        g_string_new(strcmp(service, "sts") == 0 ? "Version=2011-06-15" : "Version=2010-05-08");
    g_string_append_printf(text, "&Action=%s", form[0]);
    for (size_t i = 1; form[i] != NULL; i += 2) {
        g_autofree char *value = kvg_uri_escape(form[i + 1], false);
        g_string_append_printf(text, "&%s=%s", form[i], value);
    }
    return g_string_free(text, FALSE);
}

char *
kvg_call_query(KvgRun *run,
               const char *service,
               const char *const *form,
               const char *element,
               const char *accepts,
               bool *accepted,
               GError **error)
{
    g_autofree char *body = form_to_text(service, form);
    g_auto(KvgAwsReply) reply = {0};
    bool ignored = false;
    const KvgCall call = {.service = service,
                          .method = "POST",
                          .path = "/",
                          .content_type = "application/x-www-form-urlencoded; charset=utf-8",
                          .body = body,
                          .accepts = accepts};
    if (!perform(run, &call, &reply, accepted != NULL ? accepted : &ignored, error))
        return NULL;
    g_autofree char *open = g_strdup_printf("<%s>", element);
    const char *start = strstr(reply.body->str, open);
    if (start == NULL)
        return g_strdup("");
    start += strlen(open);
    return g_strndup(start, strcspn(start, "<"));
}

char *
kvg_call_path(const char *format, const char *name)
{
    g_autofree char *escaped = kvg_uri_escape(name, false);
    g_auto(GStrv) parts = g_strsplit(format, "%s", 2);
    return g_strjoinv(escaped, parts);
}

char *
kvg_run_iot_arn(const KvgRun *run, const char *kind, const char *name)
{
    return g_strdup_printf("arn:aws:iot:%s:%s:%s/%s", kvg_run_region(run), run->account, kind,
                           name);
}

char *
kvg_call_endpoint(KvgRun *run, const char *type, GError **error)
{
    g_autofree char *escaped = kvg_uri_escape(type, false);
    g_autofree char *query = g_strdup_printf("endpointType=%s", escaped);
    g_autoptr(json_t) found = kvg_call_json(
        run, (KvgCall){.service = "iot", .method = "GET", .path = "/endpoint", .query = query},
        NULL, NULL, error);
    const char *endpoint = found != NULL ? kvg_json_get_string(found, "endpointAddress") : NULL;
    if (found != NULL && endpoint == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT names no endpoint of type %s", type);
    return g_strdup(endpoint);
}
