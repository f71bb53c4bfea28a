/* Between the files of the API only: what a request comes to, the table of routes, answers. */
#pragma once

#include "agent/api.h"
#include "agent/api_access.h"
#include <pthread.h>

struct _KvgApi {
    KvgHttpServer *server;
    KvgBoard *board;
    KvgControl *control;
    KvgProxy *proxy;
    KvgReload *reload;
    KvgErrands *errands;
    KvgAccess *access;
    int64_t started_us;
    pthread_mutex_t lock;
    KvgConfig *config; /* under lock */
};

/* The configuration in force; a reference. */
KvgConfig *kvg_api_config(KvgApi *api);

typedef struct {
    KvgHttpExchange *x;
    char *camera; /* of the path; NULL if the route has none */
    char *file;   /* of the path; NULL if the route has none */
} KvgApiRequest;

typedef void (*KvgApiHandler)(KvgApi *api, const KvgApiRequest *request);

/* A route is a row of the table in api.c, a function, and an entry of docs/openapi.json. Every
 * method but GET changes something: it is refused to other sites, and needs Content-Type:
 * application/json. GET answers HEAD, too. */
typedef struct {
    const char *method;
    const char *pattern; /* "/api/cameras/{camera}/history"; {camera} is a camera's name, {file} any
                          * one segment */
    KvgApiHandler handle;
    bool is_public; /* answered without the token */
} KvgApiRoute;

const KvgApiRoute *kvg_api_routes(size_t *n);
/* Whether @path fits @pattern; what stands in its braces goes into @request (g_free each). */
bool kvg_api_match(const char *pattern, const char *path, KvgApiRequest *request);

/* ---- answers ---- */
void kvg_api_respond(KvgHttpExchange *x, int status, const json_t *body);
void kvg_api_respond_message(KvgHttpExchange *x, int status, const char *message);
/* The status that fits the code of @error, and its message. */
void kvg_api_respond_error(KvgHttpExchange *x, const GError *error);
/* The body as a JSON object; NULL: it has been answered already. An empty body is {}. */
json_t *kvg_api_read_object(KvgHttpExchange *x);

/* The agent as a whole, as /api/site shows it; @cameras: as kvg_board_all() gives them. */
json_t *kvg_api_make_site(KvgApi *api, const json_t *cameras);

/* ---- handlers ---- */
void kvg_api_get_cameras(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_camera(KvgApi *api, const KvgApiRequest *request);
void kvg_api_patch_camera(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_history(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_site(KvgApi *api, const KvgApiRequest *request);
void kvg_api_post_reload(KvgApi *api, const KvgApiRequest *request);
void kvg_api_post_event(KvgApi *api, const KvgApiRequest *request);
void kvg_api_post_upload(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_uploads(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_health(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_metrics(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_ready(KvgApi *api, const KvgApiRequest *request);
void kvg_api_get_description(KvgApi *api, const KvgApiRequest *request);
void kvg_api_post_session(KvgApi *api, const KvgApiRequest *request);
void kvg_api_delete_session(KvgApi *api, const KvgApiRequest *request);
/* The console: whatever no route answers. */
void kvg_api_respond_page(KvgHttpExchange *x, const char *path);
