/* kvg explain: the tables are whole, and codes are found however they are written. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/explain.h"
#include "wire/ack.h"
#include <stdlib.h>
#include <string.h>

/* Section "Error codes" of the PutMedia API, and those of its KMS keys. */
static const int error_ids[] = {4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007,
                                4008, 4009, 4010, 4011, 4012, 4500, 4501, 4502,
                                4503, 4504, 4505, 4506, 4507, 5000, 5001};

static void
test_rows(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (size_t i = 0; i < kvg_explain_count(); i++) {
        const KvgExplanation *row = kvg_explain_row(i);
        g_assert_cmpint(row->class, <, KVG_EXPLAIN_N_CLASSES);
        g_assert_nonnull(row->name);
        if (row->cause == NULL || strlen(row->cause) < 10 || row->remedy == NULL ||
            strlen(row->remedy) < 7)
            g_error("%s: cause or remedy is missing", row->name);
        g_assert_false(g_str_has_suffix(row->cause, "."));
        g_autofree char *name = g_strdup_printf("%d %s", row->class, row->name);
        if (!g_hash_table_add(seen, g_steal_pointer(&name)))
            g_error("%s stands twice", row->name);
        g_autofree char *number = g_strdup_printf("%d #%u", row->class, row->number);
        if (row->number != 0 && !g_hash_table_add(seen, g_steal_pointer(&number)))
            g_error("number %u of %s stands twice", row->number, row->name);
        if (row->class == KVG_EXPLAIN_PRODUCER)
            g_assert_nonnull(kvg_explain_family(row->number));
    }
}

/* Each row is found by its own name and number. */
static void
test_reachable(void)
{
    for (size_t i = 0; i < kvg_explain_count(); i++) {
        const KvgExplanation *row = kvg_explain_row(i);
        g_autoptr(GPtrArray) by_name = kvg_explain_find(row->name);
        g_assert_true(g_ptr_array_find(by_name, row, NULL));
        if (row->number == 0)
            continue;
        g_autofree char *number = row->class == KVG_EXPLAIN_PRODUCER
                                      ? g_strdup_printf("0x%x", row->number)
                                      : g_strdup_printf("%u", row->number);
        g_autoptr(GPtrArray) by_number = kvg_explain_find(number);
        g_assert_cmpuint(by_number->len, ==, 1);
        g_assert_true(by_number->pdata[0] == row);
    }
}

static void
test_every_ack(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(error_ids); i++) {
        g_autofree char *number = g_strdup_printf("%d", error_ids[i]);
        g_autoptr(GPtrArray) found = kvg_explain_find(number);
        g_assert_cmpuint(found->len, ==, 1);
        const KvgExplanation *row = found->pdata[0];
        g_assert_cmpint(row->class, ==, KVG_EXPLAIN_ACK);
        g_assert_cmpstr(row->name, ==, kvg_ack_error_code(error_ids[i]));
    }
}

static void
test_spellings(void)
{
    static const struct {
        const char *text;
        const char *names[3];
    } cases[] = {
        {" 4002 ", {"MAX_FRAGMENT_DURATION_REACHED"}},
        {"max-fragment-duration-reached", {"MAX_FRAGMENT_DURATION_REACHED"}},
        {"5200005E", {"STATUS_ACK_ERR_FRAGMENT_DURATION_REACHED"}},
        {"1375731806", {"STATUS_ACK_ERR_FRAGMENT_DURATION_REACHED"}},
        {"0x15000010", {"STATUS_HMAC_GENERATION_ERROR"}},
        {"0x193", {NULL}}, /* 403 in hex is no HTTP status */
        {"HMAC_GENERATION_ERROR", {"STATUS_HMAC_GENERATION_ERROR"}},
        {"resourcenotfound", {"ResourceNotFoundException"}},
        {"AccessDenied", {"AccessDeniedException"}},
        {"InvalidSignatureException:http://internal.amazon.com/x", {"InvalidSignatureException"}},
        {"com.amazon.coral#ThrottlingException", {"ThrottlingException"}},
        {"dns", {"DNS"}},
        {"KVG_ERROR_NO_SPACE", {"NO_SPACE"}},
        {"not_found", {"NOT_FOUND", "Not Found", "STATUS_NOT_FOUND"}},
        {"PutMedia: HTTP 503 ServiceUnavailableException: x (request 4002)",
         {"Service Unavailable", "ServiceUnavailableException"}},
        {"stream 'gate': service error 4501 KMS_KEY_DISABLED for fragment 12 at 403",
         {"KMS_KEY_DISABLED"}},
        {"role arn:aws:iam::1:role/x: credentials of thing 'policy': clock: it has; set it",
         {"clock"}},
        {"putKinesisVideoFrame(): operation returned status code: 0x5200002e",
         {"STATUS_STORE_OUT_OF_MEMORY"}},
        {"", {NULL}},
        {"0", {NULL}},
        {"99999999999999999999", {NULL}},
        {"0x", {NULL}},
        {"\xff\xfe", {NULL}},
        {"Exception", {NULL}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) found = kvg_explain_find(cases[i].text);
        unsigned n = 0;
        while (n < G_N_ELEMENTS(cases[i].names) && cases[i].names[n] != NULL)
            n++;
        if (found->len != n)
            g_error("'%s': %u rows instead of %u", cases[i].text, found->len, n);
        for (unsigned j = 0; j < n; j++) {
            const KvgExplanation *row = found->pdata[j];
            g_assert_cmpstr(row->name, ==, cases[i].names[j]);
        }
    }
}

static void
test_nearest(void)
{
    static const char *const cases[][2] = {
        {"AccesDenied", "AccessDeniedException"},
        {"invalidsignatur", "InvalidSignatureException"},
        {"certificat", "certificate"},
        {"MAX_FRAGMENT_DURATION", "MAX_FRAGMENT_DURATION_REACHED"},
        {"HMAC_GENERATION", "STATUS_HMAC_GENERATION_ERROR"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) nearest = kvg_explain_nearest(cases[i][0], 3);
        g_assert_cmpuint(nearest->len, >, 0);
        const KvgExplanation *row = nearest->pdata[0];
        g_assert_cmpstr(row->name, ==, cases[i][1]);
    }
    g_autoptr(GPtrArray) none = kvg_explain_nearest("qqqqqqqqqqqqqqqq", 3);
    g_assert_cmpuint(none->len, ==, 0);
}

/* ---- the command ---- */

static void
run_in_child(const char *first, const char *second, const char *third)
{
    const char *arguments[] = {"explain", first, second, third, NULL};
    const int argc = (int)g_strv_length((char **)(uintptr_t)arguments);
    exit(kvg_cmd_explain(argc, (char **)(uintptr_t)arguments));
}

static void
child_known(void)
{
    run_in_child("4002", NULL, NULL);
}

static void
child_unknown(void)
{
    run_in_child("0x52000fff", "4002", NULL);
}

static void
child_json(void)
{
    run_in_child("--output=json", "AccesDenied", "403");
}

static void
child_classes(void)
{
    run_in_child(NULL, NULL, NULL);
}

static void
child_class(void)
{
    run_in_child("http", NULL, NULL);
}

static void
child_usage(void)
{
    run_in_child("--output=xml", NULL, NULL);
}

static void
test_command(void)
{
    g_test_trap_subprocess("/cli/explain/command/subprocess/known", 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout(
        "*4002 MAX_FRAGMENT_DURATION_REACHED (ack)\n  cause   *\n  remedy  *");
    g_test_trap_subprocess("/cli/explain/command/subprocess/unknown", 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*'0x52000fff' is not known*client (stream state machine)*");
    g_test_trap_assert_stdout("*MAX_FRAGMENT*"); /* the one that is known is still explained */
    g_test_trap_subprocess("/cli/explain/command/subprocess/json", 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stdout("*[{\"code\":\"AccesDenied\",\"explanations\":[],\"nearest\":["
                              "\"AccessDeniedException\"*\"number\":\"403\"*}]*");
    g_test_trap_subprocess("/cli/explain/command/subprocess/classes", 0, 0);
    g_test_trap_assert_passed();
    for (KvgExplainClass class = 0; class < KVG_EXPLAIN_N_CLASSES; class ++) {
        g_autofree char *pattern = g_strdup_printf("*%s *", kvg_explain_class_name(class));
        g_test_trap_assert_stdout(pattern);
    }
    g_test_trap_subprocess("/cli/explain/command/subprocess/class", 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*403 *Forbidden*503 *");
    g_test_trap_subprocess("/cli/explain/command/subprocess/usage", 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*--output takes*");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/explain/rows", test_rows);
    g_test_add_func("/cli/explain/reachable", test_reachable);
    g_test_add_func("/cli/explain/every-ack", test_every_ack);
    g_test_add_func("/cli/explain/spellings", test_spellings);
    g_test_add_func("/cli/explain/nearest", test_nearest);
    g_test_add_func("/cli/explain/command", test_command);
    g_test_add_func("/cli/explain/command/subprocess/known", child_known);
    g_test_add_func("/cli/explain/command/subprocess/unknown", child_unknown);
    g_test_add_func("/cli/explain/command/subprocess/json", child_json);
    g_test_add_func("/cli/explain/command/subprocess/classes", child_classes);
    g_test_add_func("/cli/explain/command/subprocess/class", child_class);
    g_test_add_func("/cli/explain/command/subprocess/usage", child_usage);
    return g_test_run();
}
