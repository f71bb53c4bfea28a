/* IAM policies as tables: document, request, decision. */
#include "server/auth/policy.h"
#include <kvg/error.h>
#include <string.h>

#define STREAM "arn:aws:kinesisvideo:us-east-1:123456789012:stream/"
#define DOC(statement) "{\"Version\":\"2012-10-17\",\"Statement\":[" statement "]}"
#define ALLOW(rest) DOC("{\"Effect\":\"Allow\"," rest "}")

static const KvgPolicyVariable variables[] = {
    {"credentials-iot:ThingName", "cam-1"},
    {"aws:username", NULL},
    {"aws:SourceIp", "10.1.2.3"},
    {"aws:EpochTime", "1716208496"},
    {"aws:SecureTransport", "true"},
    {"aws:TagKeys", "site"},
    {"aws:TagKeys", "team"},
};
#define IF_TAGS(operator, values)                                                                  \
    ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\""                                  \
          operator"\":{\"aws:TagKeys\":" values "}}")

static const struct {
    const char *label, *document, *action, *resource;
    KvgPolicyDecision expected;
} cases[] = {
    {"own stream",
     ALLOW("\"Action\":\"kinesisvideo:*\",\"Resource\":"
           "\"arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*\""),
     "kinesisvideo:PutMedia", STREAM "cam-1/1", KVG_POLICY_ALLOW},
    {"other stream",
     ALLOW("\"Action\":\"kinesisvideo:*\",\"Resource\":"
           "\"arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*\""),
     "kinesisvideo:PutMedia", STREAM "cam-2/1", KVG_POLICY_NO_MATCH},
    {"longer name",
     ALLOW("\"Action\":\"kinesisvideo:*\",\"Resource\":"
           "\"arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*\""),
     "kinesisvideo:PutMedia", STREAM "cam-11/1", KVG_POLICY_NO_MATCH},
    {"unknown variable", ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::${aws:username}*\""),
     "s3:Get", "arn:aws:s3:::x", KVG_POLICY_NO_MATCH},
    {"default of a variable",
     ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::${aws:username, 'x'}\""), "s3:Get",
     "arn:aws:s3:::x", KVG_POLICY_ALLOW},
    {"literal star", ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::${*}\""), "s3:Get",
     "arn:aws:s3:::x", KVG_POLICY_NO_MATCH},
    {"action case", ALLOW("\"Action\":\"KinesisVideo:putmedia\",\"Resource\":\"*\""),
     "kinesisvideo:PutMedia", STREAM "a/1", KVG_POLICY_ALLOW},
    {"star does not cross segments",
     ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:kinesisvideo:*\""), "kinesisvideo:PutMedia",
     STREAM "a/1", KVG_POLICY_NO_MATCH},
    {"deny wins",
     DOC("{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"},"
         "{\"Effect\":\"Deny\",\"Action\":\"kinesisvideo:Put*\",\"Resource\":\"*\"}"),
     "kinesisvideo:PutMedia", STREAM "a/1", KVG_POLICY_DENY},
    {"not action", ALLOW("\"NotAction\":\"iam:*\",\"Resource\":\"*\""), "iam:GetRole", "*",
     KVG_POLICY_NO_MATCH},
    {"not resource", ALLOW("\"Action\":\"*\",\"NotResource\":\"" STREAM "a/*\""), "kinesisvideo:X",
     STREAM "b/1", KVG_POLICY_ALLOW},
    {"not resource of an unknown variable",
     ALLOW("\"Action\":\"*\",\"NotResource\":\"" STREAM "${aws:username}\""), "kinesisvideo:X",
     STREAM "b/1", KVG_POLICY_NO_MATCH},
    {"no resource needs star", ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:iam::*:*\""),
     "iam:ListRoles", "*", KVG_POLICY_NO_MATCH},
    {"all values are known", IF_TAGS("ForAllValues:StringEquals", "[\"team\",\"site\",\"x\"]"),
     "s3:Get", "*", KVG_POLICY_ALLOW},
    {"one of all values is not known", IF_TAGS("ForAllValues:StringEquals", "[\"team\"]"), "s3:Get",
     "*", KVG_POLICY_NO_MATCH},
    {"any value", IF_TAGS("ForAnyValue:StringEquals", "\"team\""), "s3:Get", "*", KVG_POLICY_ALLOW},
    {"no value", IF_TAGS("ForAnyValue:StringEquals", "\"x\""), "s3:Get", "*", KVG_POLICY_NO_MATCH},
    {"any value that is not", IF_TAGS("ForAnyValue:StringNotEquals", "\"team\""), "s3:Get", "*",
     KVG_POLICY_ALLOW},
    {"all values are not", IF_TAGS("ForAllValues:StringNotEquals", "\"team\""), "s3:Get", "*",
     KVG_POLICY_NO_MATCH},
    {"several values and no prefix: none may be it", IF_TAGS("StringNotEquals", "\"team\""),
     "s3:Get", "*", KVG_POLICY_NO_MATCH},
    {"a key with several values is no variable",
     ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::${aws:TagKeys}\""), "s3:Get",
     "arn:aws:s3:::site", KVG_POLICY_NO_MATCH},
    {"condition holds",
     ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"StringLike\":"
           "{\"credentials-iot:thingname\":[\"x\",\"cam-?\"]},\"IpAddress\":"
           "{\"aws:SourceIp\":\"10.1.0.0/16\"},\"Bool\":{\"aws:SecureTransport\":true},"
           "\"NumericLessThan\":{\"aws:EpochTime\":2000000000},"
           "\"DateGreaterThan\":{\"aws:EpochTime\":\"2020-01-01T00:00:00Z\"},"
           "\"Null\":{\"aws:username\":\"true\"}}"),
     "a:B", "*", KVG_POLICY_ALLOW},
    {"condition fails",
     ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"IpAddress\":"
           "{\"aws:SourceIp\":\"10.2.0.0/16\"}}"),
     "a:B", "*", KVG_POLICY_NO_MATCH},
    {"absent key",
     ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":"
           "{\"aws:username\":\"x\"}}"),
     "a:B", "*", KVG_POLICY_NO_MATCH},
    {"absent key, if exists",
     ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"StringEqualsIfExists\":"
           "{\"aws:username\":\"x\"}}"),
     "a:B", "*", KVG_POLICY_ALLOW},
    {"negated: none of the values",
     ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"StringNotEquals\":"
           "{\"credentials-iot:ThingName\":[\"a\",\"cam-1\"]}}"),
     "a:B", "*", KVG_POLICY_NO_MATCH},
};

static void
test_table(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].label);
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgPolicy) policy =
            kvg_policy_parse(cases[i].document, KVG_POLICY_IDENTITY, &error);
        g_assert_no_error(error);
        const KvgPolicyRequest request = {.action = cases[i].action,
                                          .resource = cases[i].resource,
                                          .variables = variables,
                                          .n_variables = G_N_ELEMENTS(variables)};
        g_assert_cmpint(kvg_policy_evaluate(policy, &request), ==, cases[i].expected);
    }
}

static void
test_malformed(void)
{
    static const char *const documents[] = {
        "",
        "[]",
        "{}",
        "{\"Statement\":[]}",
        "{\"Version\":\"2030-01-01\",\"Statement\":[]}",
        ALLOW("\"Action\":\"*\""),
        ALLOW("\"Action\":\"*\",\"Resource\":\"stream/x\""),
        ALLOW("\"Action\":\"PutMedia\",\"Resource\":\"*\""),
        ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Extra\":1"),
        ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Principal\":\"*\""),
        ALLOW("\"Action\":[],\"Resource\":\"*\""),
        ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"StringIs\":{\"a\":\"b\"}}"),
        ALLOW("\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{\"Bool\":{\"a\":{}}}"),
        DOC("{\"Effect\":\"allow\",\"Action\":\"*\",\"Resource\":\"*\"}"),
        DOC("{\"Effect\":\"Allow\",\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}"),
    };
    for (size_t i = 0; i < G_N_ELEMENTS(documents); i++) {
        g_test_message("%s", documents[i]);
        g_autoptr(GError) error = NULL;
        g_assert_null(kvg_policy_parse(documents[i], KVG_POLICY_IDENTITY, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
}

static void
test_trust(void)
{
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(
        DOC("{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"credentials.iot.amazonaws.com\"},"
            "\"Action\":\"sts:AssumeRole\"}"),
        KVG_POLICY_TRUST, NULL);
    g_assert_nonnull(policy);
    KvgPolicyRequest request = {.action = "sts:AssumeRole",
                                .service_principal = "credentials.iot.amazonaws.com",
                                .account = "123456789012"};
    g_assert_cmpint(kvg_policy_evaluate(policy, &request), ==, KVG_POLICY_ALLOW);
    request.service_principal = "ec2.amazonaws.com";
    g_assert_cmpint(kvg_policy_evaluate(policy, &request), ==, KVG_POLICY_NO_MATCH);
}

/* A backtracking matcher would need longer than the universe has. */
static void
test_hostile_wildcards(void)
{
    GString *document = g_string_new("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\","
                                     "\"Resource\":\"arn:aws:s3:::");
    for (int i = 0; i < 10000; i++)
        g_string_append(document, "*a");
    g_string_append(document, "b\"}}");
    g_autoptr(KvgPolicy) policy = kvg_policy_parse(document->str, KVG_POLICY_IDENTITY, NULL);
    g_assert_nonnull(policy);
    g_autofree char *as = g_strnfill(20000, 'a');
    g_autofree char *resource = g_strconcat("arn:aws:s3:::", as, NULL);
    const KvgPolicyRequest request = {.action = "s3:Get", .resource = resource};
    g_assert_cmpint(kvg_policy_evaluate(policy, &request), ==, KVG_POLICY_NO_MATCH);
    g_string_free(document, true);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/table", test_table);
    g_test_add_func("/policy/malformed", test_malformed);
    g_test_add_func("/policy/trust", test_trust);
    g_test_add_func("/policy/hostile-wildcards", test_hostile_wildcards);
    return g_test_run();
}
