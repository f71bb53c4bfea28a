/* The Condition element of policy statements. */
#pragma once

#include "base/json.h"
#include "server/auth/policy.h"

/* Known operators with values of the right form; else KVG_ERROR_INVALID. */
bool kvg_condition_check(const json_t *condition, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether every operator and every key holds. @condition was checked; NULL holds. */
bool kvg_condition_holds(const json_t *condition, const KvgPolicyRequest *request, bool variables);
