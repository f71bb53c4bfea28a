/* A policy document: what is accepted can be evaluated. */
#include "fuzz.h"

#include "server/auth/policy.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const KvgPolicyVariable variables[] = {
        {"aws:username", "alice"},
        {"aws:SourceIp", "10.1.2.3"},
        {"aws:CurrentTime", "2024-05-20T12:34:56Z"},
        {"aws:TagKeys", "a"},
        {"aws:TagKeys", "b"},
        {"aws:userid", NULL},
    };
    const KvgPolicyRequest request = {
        .action = "kinesisvideo:PutMedia",
        .resource = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/cam/1",
        .aws_principal = "arn:aws:iam::123456789012:user/alice",
        .account = "123456789012",
        .variables = variables,
        .n_variables = G_N_ELEMENTS(variables)};
    g_autofree char *text = g_strndup((const char *)data, size);
    for (int kind = KVG_POLICY_IDENTITY; kind <= KVG_POLICY_IOT; kind++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgPolicy) policy = kvg_policy_parse(text, (KvgPolicyKind)kind, &error);
        g_assert((policy == NULL) == (error != NULL));
        if (policy != NULL)
            kvg_policy_evaluate(policy, &request);
    }
    return 0;
}
