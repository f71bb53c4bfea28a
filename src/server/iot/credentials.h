/* The decision of the credentials provider, without HTTP. */
#pragma once

#include "server/iot/call.h"

/* GET /role-aliases/@alias/credentials by the holder of @certificate (NULL: none) for @thing_name
 * (NULL: header absent). 200 carries {"credentials":...}. */
void kvg_credentials_decide(KvgServer *server,
                            X509 *certificate,
                            const char *thing_name,
                            const char *alias,
                            int64_t now_ms,
                            KvgIotReply *reply);
