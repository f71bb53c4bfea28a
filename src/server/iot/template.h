/* Provisioning templates: parameters into a thing, a certificate's status and a policy. Also the
 * calls that keep templates. */
#pragma once

#include "base/json.h"
#include "server/server.h"
#include "server/state/sql.h"

/* Whether @body can be carried out at all. KVG_ERROR_INVALID names what cannot. */
bool kvg_template_check(const char *body, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Carries @body out for the certificate; the caller's transaction is to be rolled back on failure.
 * {"deviceConfiguration", "thingName"}, or NULL. */
json_t *kvg_template_apply(KvgServer *server,
                           sqlite3 *db,
                           const char *body,
                           const json_t *parameters,
                           const char *certificate_id,
                           int64_t now_ms,
                           GError **error);
