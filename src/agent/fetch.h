/* GET of a session's resources, with connections that stay open from one to the next. Thread: any.
 */
#pragma once

#include <glib.h>

typedef struct _KvgFetch KvgFetch;

KvgFetch *kvg_fetch_new(void);
void kvg_fetch_free(KvgFetch *fetch); /* when no get is under way; NULL is fine */
/* The HTTP status, with the answer in @body and its Content-Type in @type (g_free); 0 and @error if
 * there was none. @ca_path NULL: the system's store. */
long kvg_fetch_get(KvgFetch *fetch,
                   const char *url,
                   const char *ca_path,
                   GString *body,
                   char **type,
                   GError **error);
