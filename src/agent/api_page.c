/* Files that are in the program: the console and the description of the API. */
#include "agent/api_private.h"
#include "agent/kvg-agent.h"
#include <string.h>

#define CONSOLE "/kvg/console"
#define DESCRIPTION "/kvg/agent/openapi.json"

static const char POLICY[] = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
                             "object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
                             "base-uri 'none'";

static const char *
content_type(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".json", "application/json"},
                 {".svg", "image/svg+xml"}};
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (g_str_has_suffix(path, types[i].suffix))
            return types[i].type;
    }
    return "application/octet-stream";
}

static void
respond_file(KvgHttpExchange *x, const char *resource, GBytes *page)
{
    const KvgHeader headers[] = {{"Content-Type", content_type(resource)},
                                 {"Cache-Control", "no-cache"},
                                 {"Content-Security-Policy", POLICY},
                                 {"X-Content-Type-Options", "nosniff"},
                                 {"Referrer-Policy", "no-referrer"}};
    size_t len;
    const void *data = g_bytes_get_data(page, &len);
    kvg_http_respond(x, 200, headers, G_N_ELEMENTS(headers), data, len);
}

void
kvg_api_respond_page(KvgHttpExchange *x, const char *path)
{
    g_autofree char *resource =
        g_strconcat(CONSOLE, strcmp(path, "/") == 0 ? "/index.html" : path, NULL);
    g_autoptr(GBytes) page = g_resources_lookup_data(resource, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
    if (page != NULL)
        respond_file(x, resource, page);
    else
        kvg_api_respond_message(x, 404, "there is nothing here; /openapi.json describes the API");
}

void
kvg_api_get_description(KvgApi *api, const KvgApiRequest *request)
{
    g_autoptr(GBytes) page = g_resource_lookup_data(kvg_agent_get_resource(), DESCRIPTION,
                                                    G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
    respond_file(request->x, DESCRIPTION, page);
}
