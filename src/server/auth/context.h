/* What policies are asked about a request: the keys of its context, and the decision over all
 * policies that concern the caller. */
#pragma once

#include "server/auth/policy.h"
#include "server/server.h"

typedef struct {
    GArray *variables; /* KvgPolicyVariable; a key with several values stands there several times */
    GPtrArray *texts;  /* what they point to */
} KvgPolicyContext;

/* Of @caller, the time, and the tags of @resource_arn (NULL: none); @request_tags as a map, or
 * NULL. */
void kvg_policy_context_init(KvgPolicyContext *context,
                             KvgServer *server,
                             const KvgCaller *caller,
                             const char *resource_arn,
                             const json_t *request_tags);
/* Copies; @value NULL: nothing. */
void kvg_policy_context_add(KvgPolicyContext *context, const char *key, const char *value);
void kvg_policy_context_clear(KvgPolicyContext *context);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgPolicyContext, kvg_policy_context_clear)

/* Identity policies and session policy together. The administrator is always allowed. */
KvgPolicyDecision kvg_auth_decide(KvgServer *server,
                                  const KvgCaller *caller,
                                  const char *action,
                                  const char *resource_arn,
                                  const json_t *request_tags);
