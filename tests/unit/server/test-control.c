/* The control plane over loopback. Authentication and the store are stood in for here: they have
 * tests of their own. */
#include "server/server.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>

static GString *expired;

bool
kvg_auth_verify(KvgServer *server, KvgHttpExchange *x, GBytes *body, KvgCaller *caller)
{
    return true;
}

bool
kvg_auth_allows_tags(KvgServer *server,
                     const KvgCaller *caller,
                     const char *action,
                     const char *resource_arn,
                     const json_t *tags)
{
    return true;
}

void
kvg_auth_refuse(KvgHttpExchange *x,
                const KvgCaller *caller,
                const char *action,
                const char *resource)
{
}

void
kvg_caller_clear(KvgCaller *caller)
{
}

void
kvg_respond_error(KvgHttpExchange *x, int status, const char *type, const char *format, ...)
{
    kvg_http_respond_json(x, status, type);
}

bool
kvg_store_expire(KvgStore *store, const char *stream_arn, int64_t before_ms, GError **error)
{
    g_string_append(expired, before_ms == INT64_MAX ? "deleted " : "live ");
    return true;
}

static void
handle(KvgHttpExchange *x, void *user_data)
{
    kvg_control_handle(user_data, x);
}

static char *
call(uint16_t port, const char *path, const char *json)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host(client, "127.0.0.1", port, NULL, NULL);
    g_assert_nonnull(connection);
    g_autofree char *text = g_strdup_printf("POST %s HTTP/1.1\r\nHost: kvs.local\r\nConnection: "
                                            "close\r\nContent-Length: %zu\r\n\r\n%s",
                                            path, strlen(json), json);
    g_assert_true(g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)),
                                            text, strlen(text), NULL, NULL, NULL));
    char buffer[8192] = "";
    gsize len = 0;
    g_input_stream_read_all(g_io_stream_get_input_stream(G_IO_STREAM(connection)), buffer,
                            sizeof buffer - 1, &len, NULL, NULL);
    const char *body = strstr(buffer, "\r\n\r\n");
    return g_strdup(body ? body + 4 : "");
}

static void
expect(uint16_t port, const char *path, const char *json, const char *part)
{
    g_autofree char *reply = call(port, path, json);
    g_test_message("%s %s -> %s", path, json, reply);
    g_assert_nonnull(strstr(reply, part));
}

static void
test_streams(void)
{
    g_autofree char *folder = g_dir_make_tmp("kvg-control-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "state.db", NULL);
    g_autoptr(GError) error = NULL;
    KvgServer server = {.region = "us-west-2", .account = "123456789012"};
    server.store = (KvgStore *)&server;
    server.state = kvg_state_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(kvg_control_open(&server, &error));
    KvgHttpServer *http = kvg_http_server_start(
        &(KvgHttpServerOptions){.handler = handle, .user_data = &server}, &error);
    const uint16_t port = kvg_http_server_port(http);
    expired = g_string_new(NULL);

    expect(port, "/createStream", "{\"StreamName\":\"a b\"}", "InvalidArgument");
    expect(port, "/createStream",
           "{\"StreamName\":\"cam-1\",\"DataRetentionInHours\":2,\"Tags\":{\"k\":\"v\"}}",
           "stream/cam-1/");
    expect(port, "/createStream", "{\"StreamName\":\"cam-1\"}", "ResourceInUse");
    expect(port, "/createStream", "{\"StreamName\":\"cam-2\",\"Tags\":{\"k\":1}}", "Serialization");
    expect(port, "/describeStream", "{\"StreamName\":\"cam-2\"}", "ResourceNotFound");
    expect(port, "/createStream", "{\"StreamName\":\"cam-2\"}", "StreamARN");
    expect(port, "/describeStream", "{\"StreamName\":\"cam-1\"}", "\"DataRetentionInHours\":2,");
    expect(port, "/describeStream", "{}", "InvalidArgument");
    expect(port, "/listStreams", "{\"MaxResults\":1}", "\"NextToken\":\"Y2FtLTE=\"");
    expect(port, "/listStreams", "{\"NextToken\":\"Y2FtLTE=\"}", "\"NextToken\":null");
    expect(port, "/listTagsForStream", "{\"StreamName\":\"cam-1\"}", "{\"k\":\"v\"}");
    expect(port, "/getDataEndpoint", "{\"StreamName\":\"cam-1\",\"APIName\":\"PUT_MEDIA\"}",
           "http://kvs.local:");
    expect(port, "/getDataEndpoint", "{\"StreamName\":\"cam-1\",\"APIName\":\"X\"}", "InvalidArg");
    expect(port, "/nothing", "{}", "UnknownOperation");
    expect(port, "/listStreams", "{", "Serialization");

    g_auto(KvgStreamInfo) stream = {0};
    g_assert_true(kvg_control_find_stream(&server, "cam-1", NULL, &stream));
    g_autofree char *wrong =
        g_strdup_printf("{\"StreamARN\":\"%s\",\"CurrentVersion\":\"x\"}", stream.arn);
    g_autofree char *right = g_strdup_printf("{\"StreamARN\":\"%s\"}", stream.arn);
    expect(port, "/deleteStream", wrong, "VersionMismatch");
    expect(port, "/deleteStream", right, "{}");
    kvg_control_expire(&server, &(KvgExpiryClock){0});
    g_assert_cmpstr(expired->str, ==, "live deleted ");
    kvg_control_expire(&server, &(KvgExpiryClock){0});
    g_assert_cmpstr(expired->str, ==, "live deleted live ");

    kvg_http_server_stop(http, 1000);
    kvg_state_close(server.state);
    g_string_free(expired, TRUE);
    g_autofree char *remove = g_strdup_printf("%s-wal", path);
    g_unlink(remove);
    g_unlink(path);
    g_rmdir(folder);
}

/* Streams of an older kvg-server are there, and may be changed and deleted. */
static void
test_older_streams(void)
{
    static const char older[] =
        "CREATE TABLE stream (name TEXT PRIMARY KEY, arn TEXT NOT NULL UNIQUE,"
        " version TEXT NOT NULL, media_type TEXT, device_name TEXT, kms_key_id TEXT,"
        " created_ms INTEGER NOT NULL, retention_hours INTEGER NOT NULL) WITHOUT ROWID;"
        "INSERT INTO stream VALUES ('old', 'arn:old', 'v', NULL, NULL, NULL, 1, 7);";
    g_autofree char *folder = g_dir_make_tmp("kvg-control-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "state.db", NULL);
    g_autoptr(GError) error = NULL;
    KvgServer server = {.region = "us-west-2", .account = "123456789012"};
    server.state = kvg_state_open(path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(sqlite3_exec(kvg_state_lock(server.state), older, NULL, NULL, NULL), ==,
                    SQLITE_OK);
    kvg_state_unlock(server.state);
    for (int i = 0; i < 2; i++) {
        g_auto(KvgStreamInfo) stream = {0};
        g_assert_true(kvg_control_open(&server, &error));
        g_assert_no_error(error);
        g_assert_true(kvg_control_find_stream(&server, "old", NULL, &stream));
        g_assert_cmpint(stream.retention_hours, ==, 7);
        g_assert_cmpstr(stream.storage_tier, ==, "HOT");
        g_assert_cmpstr(stream.status, ==, "ACTIVE");
    }
    kvg_state_close(server.state);
    g_unlink(path);
    g_rmdir(folder);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/control/streams", test_streams);
    g_test_add_func("/server/control/older-streams", test_older_streams);
    return g_test_run();
}
