/* The sentences of validation, for the forms that the conformance tables do not reach. */
#include "server/control/model.h"
#include "server/control/quotas.h"
#include <string.h>

static void
expect(const KvgShape *shape, const char *json, KvgShapeResult expected, const char *part)
{
    g_autoptr(json_t) value = json_loads(json, JSON_DECODE_ANY, NULL);
    g_autofree char *message = NULL;
    g_assert_nonnull(value);
    g_test_message("%s", json);
    g_assert_cmpint(kvg_shape_check(shape, value, &message), ==, expected);
    g_assert_true(part == NULL ? message == NULL : strstr(message, part) != NULL);
}

static void
test_shapes(void)
{
    const KvgShape *create = &kvg_input_create_stream;
    expect(create, "{\"StreamName\":\"a\",\"Unknown\":1,\"Tags\":null}", KVG_SHAPE_FITS, NULL);
    expect(create, "{\"StreamName\":1}", KVG_SHAPE_WRONG_TYPE,
           "NUMBER_VALUE can not be converted to a String");
    expect(create, "{\"StreamName\":\"a\",\"DataRetentionInHours\":\"1\"}", KVG_SHAPE_WRONG_TYPE,
           "STRING_VALUE can not be converted to an Integer");
    expect(create, "{\"StreamName\":\"a\",\"DataRetentionInHours\":1.5}", KVG_SHAPE_WRONG_TYPE,
           "an Integer");
    expect(create, "{\"StreamName\":\"a\",\"Tags\":[]}", KVG_SHAPE_WRONG_TYPE, "LIST_VALUE");
    expect(create, "{\"StreamName\":\"a\",\"Tags\":{\"k\":{}}}", KVG_SHAPE_WRONG_TYPE,
           "STRUCTURE_VALUE");
    expect(create, "{\"StreamName\":\"a\\nb\"}", KVG_SHAPE_VIOLATED, "regular expression");
    /* \w is ASCII, \p{L} is not. */
    expect(create, "{\"StreamName\":\"a\",\"MediaType\":\"vid\xc3\xa9o/h264\"}", KVG_SHAPE_VIOLATED,
           "'mediaType'");
    expect(create, "{\"StreamName\":\"a\",\"Tags\":{\"caf\xc3\xa9\":\"\"}}", KVG_SHAPE_FITS, NULL);
    expect(&kvg_input_untag_stream, "{\"TagKeyList\":[\"a\",1]}", KVG_SHAPE_WRONG_TYPE,
           "NUMBER_VALUE");
    expect(&kvg_input_start_edge, "{\"EdgeConfig\":{}}", KVG_SHAPE_VIOLATED,
           "2 validation errors detected: Value null at 'edgeConfig.hubDeviceArn'");
}

static void
test_long_value(void)
{
    g_autofree char *name = g_strnfill(1000000, 'a');
    g_autofree char *json = g_strdup_printf("{\"StreamName\":\"%s\"}", name);
    g_autoptr(json_t) value = json_loads(json, 0, NULL);
    g_autofree char *message = NULL;
    g_assert_cmpint(kvg_shape_check(&kvg_input_stream, value, &message), ==, KVG_SHAPE_VIOLATED);
    g_assert_cmpuint(strlen(message), <, 1000);
}

static void
test_rates(void)
{
    g_autoptr(KvgQuotas) quotas = kvg_quotas_new(7, true);
    g_assert_cmpuint(kvg_quotas_max_streams(quotas), ==, 7);
    for (int i = 0; i < 5; i++)
        g_assert_true(kvg_quotas_take(quotas, "Describe", 300, "a", 5, 1000000));
    g_assert_false(kvg_quotas_take(quotas, "Describe", 300, "a", 5, 1000000));
    g_assert_true(kvg_quotas_take(quotas, "Describe", 300, "b", 5, 1000000));
    g_assert_true(kvg_quotas_take(quotas, "Delete", 300, "a", 5, 1000000));
    /* A fifth of a second later there is one more. */
    g_assert_true(kvg_quotas_take(quotas, "Describe", 300, "a", 5, 1200001));
    g_assert_false(kvg_quotas_take(quotas, "Describe", 300, "a", 5, 1200001));
    /* The account's rate holds over all streams, and clocks that go back do no harm. */
    for (int i = 0; i < 3; i++)
        g_assert_true(kvg_quotas_take(quotas, "Start", 3, NULL, 1, 5000000 - i));
    g_assert_false(kvg_quotas_take(quotas, "Start", 3, NULL, 1, 5000000));
    for (int i = 0; i < 70000; i++) {
        g_autofree char *stream = g_strdup_printf("s%d", i);
        g_assert_true(kvg_quotas_take(quotas, "Many", 0, stream, 5, (int64_t)i * 1000000));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/control/shape", test_shapes);
    g_test_add_func("/server/control/shape/long-value", test_long_value);
    g_test_add_func("/server/control/quotas", test_rates);
    return g_test_run();
}
