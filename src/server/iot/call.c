/* Dispatch of the IoT control plane: path to operation, authorisation, JSON in and out. */
#include "server/iot/call.h"

#include "base/clock.h"
#include "base/text.h"
#include <string.h>

#define DEFAULT_PAGE 100
#define MAX_PAGE 250

void
kvg_iot_reply_clear(KvgIotReply *reply)
{
    g_free(reply->message);
    json_decref(reply->json);
    memset(reply, 0, sizeof *reply);
}

void
kvg_iot_fail(KvgIotContext *c, int status, const char *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    kvg_iot_reply_clear(c->reply);
    c->reply->status = status;
    c->reply->type = type;
    c->reply->message = g_strdup_vprintf(format, args);
    va_end(args);
}

void
kvg_iot_not_found(KvgIotContext *c, const char *what, const char *name)
{
    kvg_iot_fail(c, 404, "ResourceNotFoundException", "%s %.128s not found", what, name);
}

void
kvg_iot_broken(KvgIotContext *c)
{
    kvg_iot_fail(c, 500, "InternalFailureException", "Internal failure");
}

void
kvg_iot_succeed(KvgIotContext *c, json_t *json)
{
    kvg_iot_reply_clear(c->reply);
    c->reply->status = 200;
    c->reply->json = json;
}

char *
kvg_iot_arn(const KvgServer *server, const char *kind, const char *name)
{
    return g_strdup_printf("arn:aws:iot:%s:%s:%s/%s", server->region, server->account, kind, name);
}

char *
kvg_iot_certificate_of_arn(const KvgServer *server, const char *arn)
{
    g_autofree char *prefix = kvg_iot_arn(server, "cert", "");
    if (arn == NULL || !g_str_has_prefix(arn, prefix))
        return NULL;
    const char *id = arn + strlen(prefix);
    if (strlen(id) != 64 || strspn(id, "0123456789abcdef") != 64)
        return NULL;
    return g_strdup(id);
}

bool
kvg_iot_exists(KvgIotContext *c, const char *sql, const char *name)
{
    return kvg_sql_int(c->db, 0, sql, "t", name) != 0;
}

char *
kvg_iot_param(const KvgIotContext *c, const char *name)
{
    if (c->request->query == NULL)
        return NULL;
    g_auto(GStrv) parts = g_strsplit(c->request->query, "&", 64);
    const size_t len = strlen(name);
    for (char **part = parts; *part != NULL; part++) {
        if (strncmp(*part, name, len) == 0 && (*part)[len] == '=')
            return kvg_uri_unescape(*part + len + 1, strlen(*part + len + 1), true);
    }
    return NULL;
}

bool
kvg_iot_name_fits(const char *name, size_t max, const char *allowed)
{
    const size_t len = name != NULL ? strlen(name) : 0;
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(name[i]) && strchr(allowed, name[i]) == NULL)
            return false;
    }
    return true;
}

json_t *
kvg_iot_seconds(int64_t ms)
{
    return json_real((double)ms / 1000.0);
}

void
kvg_iot_page_clear(KvgIotPage *page)
{
    g_free(page->after);
    page->after = NULL;
}

bool
kvg_iot_page(KvgIotContext *c, const char *size_name, const char *marker_name, KvgIotPage *page)
{
    g_autofree char *size = kvg_iot_param(c, size_name);
    guint64 limit = DEFAULT_PAGE;
    if (size != NULL && !g_ascii_string_to_unsigned(size, 10, 1, MAX_PAGE, &limit, NULL)) {
        kvg_iot_fail(c, 400, "InvalidRequestException", "%s must be between 1 and 250", size_name);
        return false;
    }
    g_autofree char *order = kvg_iot_param(c, "isAscendingOrder");
    page->descends = g_strcmp0(order, "false") == 0;
    page->limit = (int64_t)limit;
    page->after = kvg_iot_param(c, marker_name);
    if (page->after == NULL)
        page->after = g_strdup("");
    return true;
}

void
kvg_iot_list(KvgIotContext *c,
             KvgStatement rows,
             const char *key,
             const char *marker_name,
             int64_t limit,
             json_t *(*item)(const KvgIotContext *c, KvgStatement row))
{
    json_t *list = json_array();
    g_autofree char *last = NULL;
    bool more = false;
    while (kvg_sql_step(rows)) {
        more = (int64_t)json_array_size(list) >= limit;
        if (more)
            break;
        json_array_append_new(list, item(c, rows));
        g_free(last);
        last = g_strdup(kvg_sql_column(rows, 0));
    }
    json_t *reply = json_object();
    json_object_set_new(reply, key, list);
    if (more)
        json_object_set_new(reply, marker_name, json_string(last));
    kvg_iot_succeed(c, reply);
}

json_t *
kvg_iot_name_item(const KvgIotContext *c, KvgStatement row)
{
    return json_string(kvg_sql_column(row, 0));
}

json_t *
kvg_iot_certificate_arn_item(const KvgIotContext *c, KvgStatement row)
{
    g_autofree char *arn = kvg_iot_arn(c->server, "cert", kvg_sql_column(row, 0));
    return json_string(arn);
}

/* @pattern "/a/{}/b/{}" against @path; the parts under {} are decoded to @names. */
static bool
match_path(const char *pattern, const char *path, char *names[2])
{
    g_auto(GStrv) wanted = g_strsplit(pattern, "/", -1);
    g_auto(GStrv) given = g_strsplit(path, "/", -1);
    size_t n = 0;
    if (g_strv_length(wanted) != g_strv_length(given))
        return false;
    for (size_t i = 0; wanted[i] != NULL; i++)
        if (strcmp(wanted[i], "{}") != 0 ? strcmp(wanted[i], given[i]) != 0 : given[i][0] == '\0')
            return false;
    for (size_t i = 0; wanted[i] != NULL; i++) {
        if (strcmp(wanted[i], "{}") == 0 && n < 2 &&
            (names[n++] = kvg_uri_unescape(given[i], strlen(given[i]), false)) == NULL)
            return false;
    }
    return true;
}

static const KvgIotOperation *
find_operation(const KvgIotRequest *request, char *names[2])
{
    const KvgIotOperation *const tables[] = {
        kvg_iot_things,  kvg_iot_certificates, kvg_iot_policies, kvg_iot_targets,
        kvg_iot_aliases, kvg_iot_groups,       kvg_iot_tags,     kvg_iot_templates};
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const KvgIotOperation *operation = tables[i]; operation->method != NULL; operation++) {
            if (strcmp(operation->method, request->method) == 0 &&
                match_path(operation->path, request->path, names))
                return operation;
            g_clear_pointer(&names[0], g_free);
            g_clear_pointer(&names[1], g_free);
        }
    }
    return NULL;
}

/* IAM's name of the resource: the ARN with the path's parameter in its place. */
static char *
resource_of(const KvgServer *server, const KvgIotOperation *operation, const char *name)
{
    if (operation->resource == NULL || name == NULL)
        return g_strdup("*");
    return kvg_iot_arn(server, operation->resource, name);
}

static void
perform(KvgIotContext *c, const KvgIotOperation *operation)
{
    if (operation->unlocked) {
        operation->handle(c);
        return;
    }
    c->db = kvg_state_lock(c->server->state);
    kvg_sql_run(c->db, "BEGIN IMMEDIATE", "");
    operation->handle(c);
    const bool keep = c->reply->status < 400;
    if (kvg_sql_run(c->db, keep ? "COMMIT" : "ROLLBACK", "") < 0)
        kvg_iot_broken(c);
    if (sqlite3_get_autocommit(c->db) == 0)
        kvg_sql_run(c->db, "ROLLBACK", "");
    kvg_state_unlock(c->server->state);
}

void
kvg_iot_call(KvgServer *server,
             const KvgCaller *caller,
             const KvgIotRequest *request,
             KvgIotReply *reply)
{
    KvgIotContext c = {.server = server,
                       .caller = caller,
                       .request = request,
                       .now_ms = kvg_clock_wall_ms(),
                       .reply = reply};
    char *names[2] = {NULL, NULL};
    const KvgIotOperation *operation = find_operation(request, names);
    g_autofree char *name = names[0];
    g_autofree char *second = names[1];
    if (operation == NULL) {
        kvg_iot_fail(&c, 404, "UnknownOperationException", "No such operation");
        return;
    }
    c.name = name;
    c.second = second;
    g_autofree char *resource = resource_of(server, operation, name);
    if (!kvg_auth_allows(server, caller, operation->action, resource)) {
        kvg_iot_fail(&c, 403, "AccessDeniedException",
                     "User: %s is not authorized to perform: %s on resource: %s",
                     caller->principal_arn, operation->action, resource);
        return;
    }
    g_autoptr(json_t) input =
        request->len > 0 ? kvg_json_parse_object(request->body, request->len, NULL) : json_object();
    if (input == NULL) {
        kvg_iot_fail(&c, 400, "InvalidRequestException", "Request body is not a JSON object");
        return;
    }
    c.input = input;
    perform(&c, operation);
}
