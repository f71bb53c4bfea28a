#include "agent/kept.h"
#include "agent/request.h"
#include "base/clock.h"

static json_t *
run(KvgErrands *errands, const char *camera, json_t *request, GError **error)
{
    g_autoptr(json_t) packet = request;
    g_autoptr(json_t) answer =
        packet != NULL ? kvg_errands_run(errands, camera, packet, error) : NULL;
    return answer != NULL ? json_incref(json_object_get(answer, "upload")) : NULL;
}

json_t *
kvg_kept_event(KvgErrands *errands, const char *camera, const json_t *body, GError **error)
{
    return run(errands, camera, kvg_request_event(body, kvg_clock_wall_ms(), error), error);
}

json_t *
kvg_kept_upload(KvgErrands *errands, const char *camera, const json_t *body, GError **error)
{
    return run(errands, camera, kvg_request_upload(body, error), error);
}

json_t *
kvg_kept_list(KvgErrands *errands, const char *camera, GError **error)
{
    g_autoptr(json_t) packet = json_pack("{s:s}", "op", "uploads");
    json_t *answer = kvg_errands_run(errands, camera, packet, error);
    json_object_del(answer, "errand");
    return answer;
}
