/* Device shadows: one row for each rule of a document, then what is stored and told. */
#include "os/file.h"
#include "server/shadow/document.h"
#include "server/shadow/shadow.h"
#include <string.h>

#define NOW INT64_C(1700000000)

/* Quotes are written as ' in the table. */
static char *
unquote(const char *text)
{
    char *made = g_strdup(text);
    return g_strdelimit(made, "'", '"');
}

static json_t *
parse(const char *text)
{
    g_autofree char *json = unquote(text);
    json_error_t error;
    json_t *value = json_loads(json, JSON_DECODE_ANY, &error);
    if (value == NULL)
        g_error("%s: %s", json, error.text);
    return value;
}

static void
assert_json(const char *what, const json_t *actual, const char *expected)
{
    if (expected == NULL) {
        g_assert_null(actual);
        return;
    }
    g_autoptr(json_t) wanted = parse(expected);
    g_autofree char *is = actual != NULL ? kvg_json_to_text(actual) : g_strdup("nothing");
    g_autofree char *should = kvg_json_to_text(wanted);
    if (actual == NULL || !json_equal(actual, wanted))
        g_error("%s\n  is        %s\n  should be %s", what, is, should);
}

static json_t *
document_of(const char *state)
{
    g_autofree char *request = g_strdup_printf("{'state':%s}", state);
    g_autofree char *json = unquote(request);
    g_auto(KvgShadowUpdate) update = {0};
    kvg_shadow_update(NULL, 0, json, strlen(json), NOW - 100, &update);
    g_assert_cmpint(update.code, ==, 200);
    return json_incref(update.document);
}

/* state before, request, state after, state of delta */
static void
test_merge(void)
{
    static const struct {
        const char *rule, *before, *request, *after, *delta;
    } rows[] = {
        {"a first update", NULL, "{'desired':{'a':1}}", "{'desired':{'a':1}}", "{'a':1}"},
        {"objects merge", "{'desired':{'a':{'x':1,'y':2}}}", "{'desired':{'a':{'y':3}}}",
         "{'desired':{'a':{'x':1,'y':3}}}", "{'a':{'x':1,'y':3}}"},
        {"scalars replace objects", "{'desired':{'a':{'x':1}}}", "{'desired':{'a':5}}",
         "{'desired':{'a':5}}", "{'a':5}"},
        {"objects replace scalars", "{'desired':{'a':5}}", "{'desired':{'a':{'x':1}}}",
         "{'desired':{'a':{'x':1}}}", "{'a':{'x':1}}"},
        {"arrays replace whole", "{'desired':{'a':[1,2,3]}}", "{'desired':{'a':[4]}}",
         "{'desired':{'a':[4]}}", "{'a':[4]}"},
        {"null deletes", "{'desired':{'a':1,'b':2}}", "{'desired':{'a':null}}",
         "{'desired':{'b':2}}", "{'b':2}"},
        {"null inside deletes", "{'desired':{'a':{'x':1,'y':2}}}", "{'desired':{'a':{'x':null}}}",
         "{'desired':{'a':{'y':2}}}", "{'a':{'y':2}}"},
        {"null in what is new is left out", NULL, "{'desired':{'a':{'x':null,'y':1}}}",
         "{'desired':{'a':{'y':1}}}", "{'a':{'y':1}}"},
        {"null removes a section", "{'desired':{'a':1},'reported':{'a':2}}", "{'desired':null}",
         "{'reported':{'a':2}}", NULL},
        {"the last member takes its section along", "{'reported':{'a':2}}",
         "{'reported':{'a':null}}", "{}", NULL},
        {"a null state clears", "{'desired':{'a':1},'reported':{'b':1}}", "null", "{}", NULL},
        {"nothing asked, nothing changed", "{'reported':{'a':1}}", "{}", "{'reported':{'a':1}}",
         NULL},
        {"equal fields are no difference", "{'desired':{'a':1,'b':2}}", "{'reported':{'a':1}}",
         "{'desired':{'a':1,'b':2},'reported':{'a':1}}", "{'b':2}"},
        {"only reported is no difference", "{'desired':{'a':1}}", "{'reported':{'a':1,'z':9}}",
         "{'desired':{'a':1},'reported':{'a':1,'z':9}}", NULL},
        {"differences by their full path", "{'desired':{'v':{'w':1,'h':2}}}",
         "{'reported':{'v':{'w':1,'h':3}}}",
         "{'desired':{'v':{'w':1,'h':2}},'reported':{'v':{'w':1,'h':3}}}", "{'v':{'h':2}}"},
        {"arrays compare as values", "{'desired':{'a':[1,2]}}", "{'reported':{'a':[2,1]}}",
         "{'desired':{'a':[1,2]},'reported':{'a':[2,1]}}", "{'a':[1,2]}"},
        {"what reported loses is wanted again", "{'desired':{'a':1},'reported':{'a':1}}",
         "{'reported':{'a':null}}", "{'desired':{'a':1}}", "{'a':1}"},
        {"a difference that this update did not touch", "{'desired':{'a':1}}",
         "{'reported':{'b':1}}", "{'desired':{'a':1},'reported':{'b':1}}", "{'a':1}"},
        {"six levels", NULL, "{'desired':{'a':{'b':{'c':{'d':{'e':{'f':1}}}}}}}",
         "{'desired':{'a':{'b':{'c':{'d':{'e':{'f':1}}}}}}}",
         "{'a':{'b':{'c':{'d':{'e':{'f':1}}}}}}"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(json_t) before = rows[i].before != NULL ? document_of(rows[i].before) : NULL;
        const int64_t version = before != NULL ? 1 : 0;
        g_autofree char *text = g_strdup_printf("{'state':%s,'clientToken':'t'}", rows[i].request);
        g_autofree char *request = unquote(text);
        g_auto(KvgShadowUpdate) update = {0};
        kvg_shadow_update(before, version, request, strlen(request), NOW, &update);
        g_assert_cmpint(update.code, ==, 200);
        assert_json(rows[i].rule, json_object_get(update.document, "state"), rows[i].after);
        assert_json(rows[i].rule,
                    update.delta != NULL ? json_object_get(update.delta, "state") : NULL,
                    rows[i].delta);
        g_assert_cmpint(kvg_json_get_int(update.document, "version", 0), ==, version + 1);
        assert_json(rows[i].rule, json_object_get(update.accepted, "state"), rows[i].request);
        g_assert_cmpint(kvg_json_get_int(update.accepted, "version", 0), ==, version + 1);
        g_assert_cmpstr(kvg_json_get_string(update.accepted, "clientToken"), ==, "t");
    }
}

static void
test_metadata(void)
{
    g_autoptr(json_t) before =
        document_of("{'desired':{'a':{'x':1},'l':[1,2]},'reported':{'a':{'x':2}}}");
    g_autofree char *request =
        unquote("{'state':{'desired':{'a':{'y':5},'gone':null},'reported':{'b':true}}}");
    g_auto(KvgShadowUpdate) update = {0};
    kvg_shadow_update(before, 1, request, strlen(request), NOW, &update);
    assert_json("metadata of the document", json_object_get(update.document, "metadata"),
                "{'desired':{'a':{'x':{'timestamp':1699999900},'y':{'timestamp':1700000000}},"
                "'l':[{'timestamp':1699999900},{'timestamp':1699999900}]},"
                "'reported':{'a':{'x':{'timestamp':1699999900}},'b':{'timestamp':1700000000}}}");
    assert_json("accepted", update.accepted,
                "{'state':{'desired':{'a':{'y':5},'gone':null},'reported':{'b':true}},"
                "'metadata':{'desired':{'a':{'y':{'timestamp':1700000000}}},"
                "'reported':{'b':{'timestamp':1700000000}}},'version':2,'timestamp':1700000000}");
    assert_json("delta", update.delta,
                "{'state':{'a':{'x':1,'y':5},'l':[1,2]},'version':2,'timestamp':1700000000,"
                "'metadata':{'a':{'x':{'timestamp':1699999900},'y':{'timestamp':1700000000}},"
                "'l':[{'timestamp':1699999900},{'timestamp':1699999900}]}}");
    const json_t *previous = json_object_get(update.documents, "previous");
    g_assert_true(json_equal(previous, before));
    g_assert_cmpint(kvg_json_get_int(json_object_get(update.documents, "current"), "version", 0),
                    ==, 2);
    g_autoptr(json_t) got = kvg_shadow_get(update.document, NOW + 5);
    assert_json("delta of get", json_object_get(json_object_get(got, "state"), "delta"),
                "{'a':{'x':1,'y':5},'l':[1,2]}");
    g_assert_cmpint(kvg_json_get_int(got, "timestamp", 0), ==, NOW + 5);
}

static void
test_refusals(void)
{
    static const struct {
        const char *request;
        int code;
        const char *message;
    } rows[] = {
        {"", 400, "Invalid JSON"},
        {"{", 400, "Invalid JSON"},
        {"[]", 400, "Invalid JSON"},
        {"{}", 400, "Missing required node: state"},
        {"{'state':5}", 400, "State node must be an object"},
        {"{'state':{'desired':5}}", 400, "Desired node must be an object"},
        {"{'state':{'reported':[]}}", 400, "Reported node must be an object"},
        {"{'state':{'delta':{}}}", 400, "State contains an invalid node"},
        {"{'state':{'desired':{'a':[1,null]}}}", 400, "State contains an invalid node"},
        {"{'state':{'desired':{'a':[{'b':null}]}}}", 400, "State contains an invalid node"},
        {"{'state':{},'version':'1'}", 400, "Invalid version"},
        {"{'state':{},'version':-1}", 400, "Invalid version"},
        {"{'state':{},'version':6}", 409, "Version conflict"},
        {"{'state':{},'clientToken':5}", 400, "Invalid clientToken"},
        {"{'state':{'desired':{'a':{'b':{'c':{'d':{'e':{'f':{'g':1}}}}}}}}}", 400,
         "JSON contains too many levels of nesting; maximum is 6"},
        {"{'state':{'desired':{'a':'\xff'}}}", 415,
         "Unsupported documented encoding; supported encoding is UTF-8"},
    };
    g_autoptr(json_t) before = document_of("{'desired':{'a':1}}");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *request = unquote(rows[i].request);
        g_auto(KvgShadowUpdate) update = {0};
        kvg_shadow_update(before, 5, request, strlen(request), NOW, &update);
        if (update.code != rows[i].code || g_strcmp0(update.message, rows[i].message) != 0)
            g_error("%s: %d %s", rows[i].request, update.code, update.message);
        g_assert_null(update.document);
        g_assert_null(update.accepted);
    }
    g_auto(KvgShadowUpdate) right = {0};
    g_autofree char *request = unquote("{'state':{},'version':5,'whatever':1}");
    kvg_shadow_update(before, 5, request, strlen(request), NOW, &right);
    g_assert_cmpint(right.code, ==, 200);
}

static char *
large_request(size_t len)
{
    g_autofree char *fill = g_strnfill(len, 'x');
    return g_strdup_printf("{\"state\":{\"desired\":{\"%c\":\"%s\"}}}", (int)('a' + len % 26),
                           fill);
}

/* 8 KB of state after the merge, metadata not counted; a request no larger either. */
static void
test_size(void)
{
    g_autofree char *half = large_request(5000);
    g_auto(KvgShadowUpdate) first = {0};
    kvg_shadow_update(NULL, 0, half, strlen(half), NOW, &first);
    g_assert_cmpint(first.code, ==, 200);
    g_autofree char *more = large_request(5001);
    g_auto(KvgShadowUpdate) second = {0};
    kvg_shadow_update(first.document, 1, more, strlen(more), NOW, &second);
    g_assert_cmpint(second.code, ==, 413);
    g_autofree char *whole = large_request(9000);
    g_auto(KvgShadowUpdate) third = {0};
    kvg_shadow_update(NULL, 0, whole, strlen(whole), NOW, &third);
    g_assert_cmpint(third.code, ==, 413);
    g_assert_cmpstr(third.message, ==, "The payload exceeds the maximum size allowed");
}

static void
test_topics(void)
{
    static const struct {
        const char *topic, *thing, *name;
        KvgShadowVerb verb;
    } rows[] = {
        {"$aws/things/gate/shadow/get", "gate", NULL, KVG_SHADOW_GET},
        {"$aws/things/gate/shadow/update", "gate", NULL, KVG_SHADOW_UPDATE},
        {"$aws/things/gate/shadow/name/v-1/delete", "gate", "v-1", KVG_SHADOW_DELETE},
        {"$aws/things/gate/shadow/name/get", NULL, NULL, 0},
        {"$aws/things/gate/shadow/get/accepted", NULL, NULL, 0},
        {"$aws/things/gate/shadow/name/v/get/accepted", NULL, NULL, 0},
        {"$aws/things/ga te/shadow/get", NULL, NULL, 0},
        {"$aws/things//shadow/get", NULL, NULL, 0},
        {"$aws/things/gate/jobs/get", NULL, NULL, 0},
        {"things/gate/shadow/get", NULL, NULL, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(KvgShadowId) id = {0};
        KvgShadowVerb verb = KVG_SHADOW_GET;
        g_assert_cmpint(kvg_shadow_parse_topic(rows[i].topic, &id, &verb), ==,
                        rows[i].thing != NULL);
        g_assert_cmpstr(id.thing, ==, rows[i].thing);
        g_assert_cmpstr(id.name, ==, rows[i].name);
        if (rows[i].thing == NULL)
            continue;
        g_assert_cmpint(verb, ==, rows[i].verb);
        g_autofree char *accepted = kvg_shadow_topic(&id, verb, "accepted");
        g_autofree char *expected = g_strconcat(rows[i].topic, "/accepted", NULL);
        g_assert_cmpstr(accepted, ==, expected);
    }
}

/* ---- what is stored ---- */

typedef struct {
    char *folder;
    KvgServer server;
} Fixture;

static void
set_up(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    f->folder = g_dir_make_tmp("kvg-shadow-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *path = g_build_filename(f->folder, "state.db", NULL);
    f->server.state = kvg_state_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(kvg_shadow_open(&f->server, &error));
}

static void
tear_down(Fixture *f, const void *unused)
{
    kvg_state_close(f->server.state);
    g_assert_true(kvg_dir_remove(f->folder, NULL));
    g_free(f->folder);
}

/* Performs at @now_s and checks code and version of the answer. */
static void
perform(Fixture *f,
        KvgShadowVerb verb,
        const char *name,
        const char *payload,
        int64_t now_s,
        int code,
        int64_t version)
{
    g_auto(KvgShadowReply) reply = {0};
    g_autofree char *text = unquote(payload);
    const KvgShadowId id = {.thing = (char *)(uintptr_t) "gate", .name = (char *)(uintptr_t)name};
    kvg_shadow_perform(&f->server, &id, verb, text, strlen(text), now_s * 1000, &reply);
    g_assert_cmpint(reply.code, ==, code);
    if (code == 200)
        g_assert_cmpint(kvg_json_get_int(reply.answer, "version", -1), ==, version);
    else
        g_assert_cmpint(kvg_json_get_int(reply.answer, "code", -1), ==, code);
}

static void
test_life(Fixture *f, const void *unused)
{
    perform(f, KVG_SHADOW_GET, NULL, "", NOW, 404, 0);
    perform(f, KVG_SHADOW_DELETE, NULL, "", NOW, 404, 0);
    perform(f, KVG_SHADOW_UPDATE, NULL, "{'state':{'desired':{'a':1}}}", NOW, 200, 1);
    perform(f, KVG_SHADOW_UPDATE, NULL, "{'state':{'desired':{'a':1}}}", NOW, 200, 2);
    perform(f, KVG_SHADOW_UPDATE, NULL, "{'state':{},'version':1}", NOW, 409, 0);
    perform(f, KVG_SHADOW_GET, NULL, "{'clientToken':'x'}", NOW, 200, 2);
    perform(f, KVG_SHADOW_GET, NULL, "{'clientToken':1}", NOW, 400, 0);
    perform(f, KVG_SHADOW_UPDATE, "other", "{'state':{'reported':{'a':1}}}", NOW, 200, 1);
    perform(f, KVG_SHADOW_DELETE, NULL, "", NOW, 200, 2);
    perform(f, KVG_SHADOW_GET, NULL, "", NOW, 404, 0);
    /* The count goes on for two days. */
    perform(f, KVG_SHADOW_UPDATE, NULL, "{'state':{}}", NOW + 47 * 3600, 200, 3);
    perform(f, KVG_SHADOW_DELETE, NULL, "", NOW, 200, 3);
    perform(f, KVG_SHADOW_UPDATE, NULL, "{'state':{}}", NOW + 49 * 3600, 200, 1);
    perform(f, KVG_SHADOW_GET, "other", "", NOW, 200, 1);
    g_autoptr(json_t) names = kvg_shadow_list(&f->server, "gate", "", 10);
    assert_json("named shadows", names, "['other']");
}

static void
test_messages(Fixture *f, const void *unused)
{
    g_auto(KvgShadowReply) reply = {0};
    const KvgShadowId id = {.thing = (char *)(uintptr_t) "gate", .name = (char *)(uintptr_t) "n"};
    g_autofree char *request = unquote("{'state':{'desired':{'a':1}},'clientToken':'mine'}");
    kvg_shadow_perform(&f->server, &id, KVG_SHADOW_UPDATE, request, strlen(request), 1000 * NOW,
                       &reply);
    g_assert_cmpint(reply.code, ==, 200);
    g_assert_cmpuint(reply.others->len, ==, 2);
    const KvgShadowMessage *delta = g_ptr_array_index(reply.others, 0);
    const KvgShadowMessage *documents = g_ptr_array_index(reply.others, 1);
    g_assert_cmpstr(delta->topic, ==, "$aws/things/gate/shadow/name/n/update/delta");
    g_assert_cmpstr(documents->topic, ==, "$aws/things/gate/shadow/name/n/update/documents");
    assert_json("delta", delta->payload,
                "{'state':{'a':1},'metadata':{'a':{'timestamp':1700000000}},'version':1,"
                "'timestamp':1700000000,'clientToken':'mine'}");
    g_assert_null(json_object_get(documents->payload, "previous"));
    g_auto(KvgShadowReply) missing = {0};
    const KvgShadowId nobody = {.thing = (char *)(uintptr_t) "gate",
                                .name = (char *)(uintptr_t) "z"};
    kvg_shadow_perform(&f->server, &nobody, KVG_SHADOW_GET, "", 0, 1000 * NOW, &missing);
    assert_json("rejected", missing.answer,
                "{'code':404,'message':\"No shadow exists with name: \\u0027gate~z\\u0027\","
                "'timestamp':1700000000}");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/shadow/merge", test_merge);
    g_test_add_func("/server/shadow/metadata", test_metadata);
    g_test_add_func("/server/shadow/refusals", test_refusals);
    g_test_add_func("/server/shadow/size", test_size);
    g_test_add_func("/server/shadow/topics", test_topics);
    g_test_add("/server/shadow/life", Fixture, NULL, set_up, test_life, tear_down);
    g_test_add("/server/shadow/messages", Fixture, NULL, set_up, test_messages, tear_down);
    return g_test_run();
}
