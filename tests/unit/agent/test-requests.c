/* Requests for recording that is kept: what is read, what a shadow makes of it, errands between
 * threads, and the timetable. */
#include "agent/errand.h"
#include "agent/request.h"
#include "agent/timetable.h"
#include "agent/wish.h"
#include <kvg/error.h>
#include <string.h>

static json_t *
parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    json_t *json = kvg_json_parse_object(text, strlen(text), &error);
    g_assert_no_error(error);
    return json;
}

/* ---- request ---- */

static void
test_bodies(void)
{
    static const struct {
        bool is_event;
        const char *body, *wrong; /* NULL: it is right */
        int64_t from_ms, to_ms;
    } rows[] = {
        {true, "{}", NULL, 90000, 130000},
        {true, "{\"pre_roll_ms\":0,\"post_roll_ms\":1}", NULL, 100000, 100001},
        {true, "{\"at_ms\":5000}", NULL, 0, 35000},
        {true, "{\"pre_roll_ms\":3600001}", "pre_roll_ms must be a whole number", 0, 0},
        {true, "{\"post_roll_ms\":-1}", "post_roll_ms", 0, 0},
        {true, "{\"at_ms\":1.5}", "at_ms", 0, 0},
        {true, "{\"at_ms\":null}", "at_ms", 0, 0},
        {true, "{\"from_ms\":1}", "'from_ms' means nothing here", 0, 0},
        {false, "{\"from_ms\":1,\"to_ms\":2}", NULL, 1, 2},
        {false, "{\"from_ms\":2,\"to_ms\":2}", "from_ms must be before to_ms", 0, 0},
        {false, "{\"from_ms\":2}", "to_ms must be", 0, 0},
        {false, "{\"to_ms\":2}", "from_ms must be", 0, 0},
        {false, "{\"from_ms\":true,\"to_ms\":2}", "from_ms must be", 0, 0},
        {false, "{\"from_ms\":1,\"to_ms\":253402300800001}", "to_ms must be", 0, 0},
        {false, "{\"from_ms\":1,\"to_ms\":2,\"id\":\"x\"}", "'id' means nothing", 0, 0},
    };
    const KvgConfigMode mode = {
        .kind = KVG_MODE_EVENT, .pre_roll_ms = 10000, .post_roll_ms = 30000};
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) body = parse(rows[i].body);
        g_autoptr(json_t) request = rows[i].is_event ? kvg_request_event(body, 100000, &error)
                                                     : kvg_request_upload(body, &error);
        g_test_message("%s", rows[i].body);
        if (rows[i].wrong != NULL) {
            g_assert_null(request);
            g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
            g_assert_nonnull(strstr(error->message, rows[i].wrong));
            continue;
        }
        KvgRequest parsed;
        g_assert_no_error(error);
        g_assert_true(kvg_request_parse(request, &mode, &parsed, &error));
        g_assert_true(parsed.is_event == rows[i].is_event);
        g_assert_cmpint(parsed.range.from_wall_ms, ==, rows[i].from_ms);
        g_assert_cmpint(parsed.range.to_wall_ms, ==, rows[i].to_ms);
        g_assert_cmpuint(strlen(parsed.id), >, 36);
    }
}

/* ---- wish ---- */

#define NOW_MS INT64_C(1700000000000)
#define STAMP_S "1699990000"

/* A document in which @desired was set @age_s seconds ago. */
static bool
see(KvgWishes *wishes, const char *desired, int age_s, const char *rest)
{
    g_autofree char *text = g_strdup_printf(
        "{\"state\":{\"desired\":%s},\"timestamp\":%s,\"metadata\":{\"desired\":{\"event\":"
        "{\"timestamp\":%" G_GINT64_FORMAT "},\"upload\":{\"to_ms\":{\"timestamp\":%s}}}}}",
        desired, STAMP_S, g_ascii_strtoll(STAMP_S, NULL, 10) - age_s, STAMP_S);
    g_autoptr(json_t) document = parse(text);
    json_t *left = NULL;
    const bool has_changed = kvg_wishes_see(wishes, document, NOW_MS, &left);
    g_autoptr(json_t) expected = parse(rest);
    g_assert_true(json_equal(left, expected));
    json_decref(left);
    return has_changed;
}

static const char *
todo_text(const KvgWishes *wishes, size_t i, const char *key)
{
    return kvg_json_get_string(json_array_get(wishes->todo, i), key);
}

static json_t *
reported_of(const KvgWishes *wishes)
{
    json_t *reported = json_object();
    kvg_wishes_report(wishes, reported);
    return reported;
}

/* As if the agent had ended and begun again. */
static void
restart(KvgWishes *wishes)
{
    g_autoptr(json_t) saved = kvg_wishes_to_json(wishes);
    g_autofree char *text = kvg_json_to_text(saved);
    g_autoptr(json_t) read = parse(text);
    kvg_wishes_clear(wishes);
    kvg_wishes_from_json(wishes, read);
}

static void
test_events_of_shadow(void)
{
    KvgWishes wishes = {0};
    g_assert_false(see(&wishes, "{\"fps\":5}", 0, "{\"fps\":5}"));
    g_assert_true(see(&wishes, "{\"fps\":5,\"event\":\"a\"}", 1, "{\"fps\":5}"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 1);
    const json_t *first = json_array_get(wishes.todo, 0);
    g_assert_cmpint(kvg_json_get_int(first, "at_ms", 0), ==, NOW_MS); /* at once is now */
    KvgRequest parsed;
    g_assert_true(kvg_request_parse(first, &(KvgConfigMode){0}, &parsed, NULL));

    /* The same is no news, neither now nor after a restart; nothing is reported yet. */
    g_assert_false(see(&wishes, "{\"event\":\"a\"}", 7, "{}"));
    restart(&wishes);
    g_assert_false(see(&wishes, "{\"event\":\"a\"}", 9, "{}"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 1);
    g_autoptr(json_t) before = reported_of(&wishes);
    g_assert_true(json_is_null(json_object_get(before, "event")));

    /* A number, set an hour ago by the service's clock; then the first one again. */
    g_assert_true(see(&wishes, "{\"event\":7}", 3600, "{}"));
    g_assert_cmpint(kvg_json_get_int(json_array_get(wishes.todo, 1), "at_ms", 0), ==,
                    NOW_MS - 3600000);
    g_assert_true(see(&wishes, "{\"event\":\"a\"}", 100, "{}"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 3);
    g_assert_cmpstr(todo_text(&wishes, 0, "id"), !=, todo_text(&wishes, 2, "id"));

    g_autofree char *id = g_strdup(todo_text(&wishes, 1, "id"));
    g_assert_true(kvg_wishes_confirm(&wishes, id, NULL));
    g_assert_false(kvg_wishes_confirm(&wishes, id, NULL));
    restart(&wishes);
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 2);
    g_autoptr(json_t) after = reported_of(&wishes);
    g_assert_cmpint(kvg_json_get_int(after, "event", 0), ==, 7);

    /* Taken back: nothing is asked for, and nothing reported. */
    g_assert_true(see(&wishes, "{}", 0, "{}"));
    g_autoptr(json_t) none = reported_of(&wishes);
    g_assert_true(json_is_null(json_object_get(none, "event")));

    g_assert_true(see(&wishes, "{\"event\":[1]}", 0, "{}"));
    g_assert_nonnull(strstr(wishes.problem, "event must be"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 2);
    kvg_wishes_clear(&wishes);
}

static void
test_uploads_of_shadow(void)
{
    KvgWishes wishes = {0};
    g_assert_true(see(&wishes, "{\"upload\":{\"from_ms\":1,\"to_ms\":9}}", 0, "{}"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 1);
    g_autofree char *id = g_strdup(todo_text(&wishes, 0, "id"));
    g_assert_true(kvg_wishes_confirm(&wishes, id, "camera 'a' has mode always"));
    g_assert_cmpstr(wishes.problem, ==, "camera 'a' has mode always");
    g_autoptr(json_t) reported = reported_of(&wishes);
    g_assert_cmpint(kvg_json_get_int(json_object_get(reported, "upload"), "to_ms", 0), ==, 9);

    g_assert_true(see(&wishes, "{\"upload\":{\"from_ms\":9,\"to_ms\":1}}", 0, "{}"));
    g_assert_nonnull(strstr(wishes.problem, "upload: from_ms must be before to_ms"));
    g_assert_true(see(&wishes, "{\"upload\":\"all\"}", 0, "{}"));
    g_assert_nonnull(strstr(wishes.problem, "upload: from_ms"));
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 0);

    /* However many come while nobody confirms them: it stays bounded, the newest are kept. */
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *text = g_strdup_printf("{\"upload\":{\"from_ms\":%u,\"to_ms\":1000}}", i);
        g_assert_true(see(&wishes, text, 0, "{}"));
    }
    g_assert_cmpuint(json_array_size(wishes.todo), ==, 50);
    g_assert_cmpint(kvg_json_get_int(json_array_get(wishes.todo, 49), "from_ms", 0), ==, 199);
    kvg_wishes_clear(&wishes);
}

/* ---- errand ---- */

typedef struct {
    KvgErrands *errands;
    GMainLoop *loop;
    const char *op;
    json_t *answer;
    GError *error;
} Asker;

static gboolean
on_quit(void *data)
{
    g_main_loop_quit(data);
    return G_SOURCE_REMOVE;
}

static void *
ask(void *data)
{
    Asker *asker = data;
    g_autoptr(json_t) packet = json_pack("{s:s}", "op", asker->op);
    asker->answer = kvg_errands_run(asker->errands, "gate", packet, &asker->error);
    g_idle_add(on_quit, asker->loop);
    return NULL;
}

/* The worker: answers some, refuses some, is silent about the others. */
static bool
send_errand(const char *camera, const json_t *packet, void *user_data)
{
    const Asker *asker = user_data;
    const char *op = kvg_json_get_string(packet, "op");
    g_autoptr(GError) error = g_error_new(KVG_ERROR, KVG_ERROR_NO_SPACE, "full");
    g_assert_cmpstr(camera, ==, "gate");
    g_assert_cmpstr(kvg_json_get_string(packet, "camera"), ==, "gate");
    if (strcmp(op, "lost") == 0)
        return false;
    if (strcmp(op, "silent") == 0) {
        kvg_errands_stop(asker->errands);
        return true;
    }
    const bool refuses = strcmp(op, "refused") == 0;
    g_autoptr(json_t) answer =
        kvg_errand_answer(packet, json_pack("{s:i}", "n", 5), refuses ? error : NULL);
    g_assert_true(kvg_errands_take(asker->errands, answer));
    g_assert_true(kvg_errands_take(asker->errands, answer)); /* twice is once */
    return true;
}

static void
run_errand(Asker *asker, const char *op)
{
    g_clear_pointer(&asker->answer, json_decref);
    g_clear_error(&asker->error);
    asker->op = op;
    GThread *thread = g_thread_new("ask", ask, asker);
    g_main_loop_run(asker->loop);
    g_thread_join(thread);
}

static void
test_errands(void)
{
    Asker asker = {.loop = g_main_loop_new(NULL, FALSE)};
    asker.errands = kvg_errands_new(send_errand, &asker);
    run_errand(&asker, "answered");
    g_assert_no_error(asker.error);
    g_assert_cmpint(kvg_json_get_int(asker.answer, "n", 0), ==, 5);
    run_errand(&asker, "refused");
    g_assert_error(asker.error, KVG_ERROR, KVG_ERROR_NO_SPACE);
    g_assert_cmpstr(asker.error->message, ==, "full");
    run_errand(&asker, "lost");
    g_assert_error(asker.error, KVG_ERROR, KVG_ERROR_RETRY);
    g_assert_nonnull(strstr(asker.error->message, "'gate'"));
    run_errand(&asker, "silent"); /* the agent ends */
    g_assert_error(asker.error, KVG_ERROR, KVG_ERROR_RETRY);
    run_errand(&asker, "answered"); /* too late */
    g_assert_error(asker.error, KVG_ERROR, KVG_ERROR_RETRY);
    g_autoptr(json_t) late = json_pack("{s:i}", "errand", 1);
    g_autoptr(json_t) other = json_pack("{s:s}", "name", "gate");
    g_assert_true(kvg_errands_take(asker.errands, late));
    g_assert_false(kvg_errands_take(asker.errands, other));
    g_clear_pointer(&asker.answer, json_decref);
    g_clear_error(&asker.error);
    kvg_errands_free(asker.errands);
    g_main_loop_unref(asker.loop);
}

/* ---- timetable ---- */

static void
test_timetable(void)
{
    KvgSchedule schedule = {.n_windows = 1, .zone = "UTC"};
    g_assert_true(kvg_window_parse("* 08:00-18:00", &schedule.windows[0], NULL));
    const int64_t midnight_ms = INT64_C(1764028800000); /* 2025-11-25, a Tuesday */
    const int64_t hour_ms = 3600000;
    KvgTimetable timetable = {0};
    g_assert_false(kvg_timetable_is_on(&timetable, &schedule, midnight_ms + 8 * hour_ms - 1));
    g_autofree char *off = kvg_timetable_reason(&timetable, &schedule);
    g_assert_cmpstr(off, ==, "outside its schedule until 08:00");
    g_assert_true(kvg_timetable_is_on(&timetable, &schedule, midnight_ms + 8 * hour_ms));
    g_autofree char *on = kvg_timetable_reason(&timetable, &schedule);
    g_assert_cmpstr(on, ==, "in its schedule until 18:00");
    /* The clock is set back, and ahead. */
    g_assert_false(kvg_timetable_is_on(&timetable, &schedule, midnight_ms));
    g_assert_true(kvg_timetable_is_on(&timetable, &schedule, midnight_ms + 9 * hour_ms));
    g_assert_false(kvg_timetable_is_on(&timetable, &schedule, midnight_ms + 18 * hour_ms));
    g_autofree char *later = kvg_timetable_reason(&timetable, &schedule);
    g_assert_cmpstr(later, ==, "outside its schedule until Wed 08:00");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/requests/bodies", test_bodies);
    g_test_add_func("/requests/shadow/events", test_events_of_shadow);
    g_test_add_func("/requests/shadow/uploads", test_uploads_of_shadow);
    g_test_add_func("/requests/errands", test_errands);
    g_test_add_func("/requests/timetable", test_timetable);
    return g_test_run();
}
