/* IAM policy documents: parsed and checked once, then evaluated against a request. Serves identity
 * policies, role trust policies and IoT policies. No I/O; matching takes at most length of pattern
 * times length of text. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    KVG_POLICY_IDENTITY, /* Action and Resource */
    KVG_POLICY_TRUST,    /* Action and Principal */
    KVG_POLICY_IOT,      /* as identity; attached to certificates */
} KvgPolicyKind;

#define KVG_POLICY_MAX_BYTES 131072

typedef struct _KvgPolicy KvgPolicy;
/* KVG_ERROR_INVALID says what is malformed. */
KvgPolicy *kvg_policy_parse(const char *text, KvgPolicyKind kind, GError **error);
void kvg_policy_free(KvgPolicy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgPolicy, kvg_policy_free)

/* A key of the request context: "credentials-iot:ThingName", any case. May stand several times. */
typedef struct {
    const char *key;
    const char *value; /* NULL: absent */
} KvgPolicyVariable;

typedef struct {
    const char *action;   /* required: "kinesisvideo:PutMedia" */
    const char *resource; /* ARN, or "*" for actions without one; ignored by trust policies */
    const char *service_principal; /* trust: "credentials.iot.amazonaws.com"; NULL */
    const char *aws_principal;     /* trust: ARN of the caller; NULL */
    const char *aws_role;          /* trust: ARN of the role whose session the caller is; NULL */
    const char *account;           /* trust: the caller's account; NULL: only the caller itself
                                    * counts, not that the account is trusted */
    const KvgPolicyVariable *variables;
    size_t n_variables;
} KvgPolicyRequest;

typedef enum { KVG_POLICY_NO_MATCH, KVG_POLICY_ALLOW, KVG_POLICY_DENY } KvgPolicyDecision;
KvgPolicyDecision kvg_policy_evaluate(const KvgPolicy *policy, const KvgPolicyRequest *request);
/* Deny wins over allow, allow over no match. */
KvgPolicyDecision kvg_policy_combine(KvgPolicyDecision a, KvgPolicyDecision b);
