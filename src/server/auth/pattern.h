/* Wildcard patterns of policies: '*', '?', ${variables}. What a variable brings in is literal: a
 * '*' in a thing's name is not a wildcard, nor a ':' a border between segments. */
#pragma once

#include "server/auth/policy.h"
#include <stdint.h>

typedef GArray KvgPattern; /* of uint16_t */

/* NULL if a variable has no value. @variables false: "${" is plain text (policy version 2008). */
KvgPattern *kvg_pattern_new(const char *text, const KvgPolicyRequest *request, bool variables);
void kvg_pattern_free(KvgPattern *pattern);

bool kvg_pattern_matches(const KvgPattern *pattern, const char *text, bool ignore_case);
/* Segment by segment of the first five ':'; "*" alone matches everything. */
bool kvg_pattern_matches_arn(const KvgPattern *pattern, const char *arn);
/* Plain comparison: wildcards are ordinary characters. */
bool kvg_pattern_equals(const KvgPattern *pattern, const char *text, bool ignore_case);
