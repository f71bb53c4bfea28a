/* Certificates of cameras in the registry: made, attached, taken away. */
#include "base/clock.h"
#include "base/text.h"
#include "cli/key.h"
#include "cli/provision.h"
#include "os/file.h"
#include <kvg/error.h>
#include <stdlib.h>
#include <string.h>

/* This clock and the service's may differ by so much. */
#define CLOCK_SLACK_MS (10 * 60 * INT64_C(1000))

static char *
slot_key(const char *slot, const char *what)
{
    return g_strdup_printf("%s_%s", slot, what);
}

static json_t *
describe(KvgRun *run, const char *id, bool *missing, GError **error)
{
    g_autofree char *path = kvg_call_path("/certificates/%s", id);
    return kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, missing, error);
}

bool
kvg_certificate_status(KvgRun *run, const char *id, char **status, GError **error)
{
    bool missing = false;
    g_autoptr(json_t) found = describe(run, id, &missing, error);
    if (found == NULL)
        return false;
    *status = missing ? NULL
                      : g_strdup(kvg_json_get_string(
                            json_object_get(found, "certificateDescription"), "status"));
    return true;
}

/* ---- a certificate whose id got lost ---- */

/* When the first certificate was asked for whose answer is not known. */
static int64_t
first_asked_ms(KvgRun *run)
{
    static const char *const keys[] = {"certificate_asked", "next_asked"};
    int64_t first = INT64_MAX;
    g_auto(GStrv) cameras = kvg_ledger_cameras(run->ledger);
    for (size_t i = 0; cameras[i] != NULL; i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(keys); k++) {
            g_autofree char *asked = kvg_ledger_get(run->ledger, cameras[i], keys[k]);
            if (asked != NULL)
                first = MIN(first, g_ascii_strtoll(asked, NULL, 10));
        }
    }
    return first;
}

static bool
add_orphan(KvgRun *run, json_t *orphans, const char *id, GError **error)
{
    bool missing = false;
    g_autoptr(json_t) found = describe(run, id, &missing, error);
    if (found != NULL && !missing)
        json_array_append(orphans, json_object_get(found, "certificateDescription"));
    return found != NULL;
}

/* Every certificate of the account since then that the ledger does not know. */
static json_t *
list_orphans(KvgRun *run, GError **error)
{
    const double since_s = (double)(first_asked_ms(run) - CLOCK_SLACK_MS) / 1000.0;
    g_autoptr(json_t) orphans = json_array();
    g_autofree char *marker = NULL;
    do {
        g_autofree char *escaped = marker != NULL ? kvg_uri_escape(marker, false) : NULL;
        g_autofree char *query =
            g_strdup_printf("%s%s%spageSize=250", marker != NULL ? "marker=" : "",
                            marker != NULL ? escaped : "", marker != NULL ? "&" : "");
        g_autoptr(json_t) page = kvg_call_json(
            run,
            (KvgCall){.service = "iot", .method = "GET", .path = "/certificates", .query = query},
            NULL, NULL, error);
        if (page == NULL)
            return NULL;
        const json_t *list = json_object_get(page, "certificates");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *one = json_array_get(list, i);
            const char *id = kvg_json_get_string(one, "certificateId");
            if (id != NULL && json_number_value(json_object_get(one, "creationDate")) >= since_s &&
                !kvg_ledger_knows_certificate(run->ledger, id) &&
                !add_orphan(run, orphans, id, error))
                return NULL;
        }
        g_free(marker);
        marker = g_strdup(kvg_json_get_string(page, "nextMarker"));
    } while (marker != NULL);
    return g_steal_pointer(&orphans);
}

/* The id of the certificate that was made for this key by a run that was killed before it could
 * write it down; *@id NULL: there is none. */
static bool
find_orphan(KvgRun *run, const char *key_path, char **id, GError **error)
{
    g_mutex_lock(&run->shared.lock);
    if (run->shared.orphans == NULL)
        run->shared.orphans = list_orphans(run, error);
    json_t *orphans = json_incref(run->shared.orphans);
    g_mutex_unlock(&run->shared.lock);
    for (size_t i = 0; i < json_array_size(orphans) && *id == NULL; i++) {
        const json_t *one = json_array_get(orphans, i);
        const char *pem = kvg_json_get_string(one, "certificatePem");
        if (pem != NULL && kvg_key_fits(key_path, pem))
            *id = g_strdup(kvg_json_get_string(one, "certificateId"));
    }
    const bool good = orphans != NULL;
    json_decref(orphans);
    return good;
}

/* ---- making ---- */

static bool
remember(KvgRun *run, const char *camera, const char *slot, const char *id, GError **error)
{
    g_autofree char *id_key = slot_key(slot, "id");
    g_autofree char *arn_key = slot_key(slot, "arn");
    g_autofree char *asked_key = slot_key(slot, "asked");
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", id);
    kvg_ledger_set(run->ledger, camera, id_key, id);
    kvg_ledger_set(run->ledger, camera, arn_key, arn);
    kvg_ledger_set(run->ledger, camera, asked_key, NULL);
    kvg_ledger_set_made(run->ledger, camera, slot, true);
    return kvg_ledger_save(run->ledger, error);
}

static bool
note_asking(KvgRun *run, const char *camera, const char *slot, GError **error)
{
    g_autofree char *key = slot_key(slot, "asked");
    g_autofree char *now = g_strdup_printf("%" G_GINT64_FORMAT, kvg_clock_wall_ms());
    kvg_ledger_set(run->ledger, camera, key, now);
    return kvg_ledger_save(run->ledger, error);
}

/* The answer of @path to @body (taken), which must have a certificate in it. */
static json_t *
ask(KvgRun *run, const char *path, bool is_active, json_t *body, GError **error)
{
    g_autoptr(json_t) made =
        kvg_call_json(run,
                      (KvgCall){.service = "iot",
                                .method = "POST",
                                .path = path,
                                .query = is_active ? "setAsActive=true" : "setAsActive=false"},
                      body, NULL, error);
    if (made == NULL)
        return NULL;
    if (kvg_json_get_string(made, "certificateId") == NULL ||
        kvg_json_get_string(made, "certificatePem") == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT made a certificate without its text");
        return NULL;
    }
    return g_steal_pointer(&made);
}

/* For a key of our own. */
static bool
make_by_request(
    KvgRun *run, const char *camera, const char *slot, const char *key_path, GError **error)
{
    g_autofree char *request = kvg_key_request(key_path, camera, error);
    if (request == NULL || !note_asking(run, camera, slot, error))
        return false;
    g_autoptr(json_t) made = ask(run, "/certificates", true,
                                 json_pack("{s:s}", "certificateSigningRequest", request), error);
    return made != NULL &&
           remember(run, camera, slot, kvg_json_get_string(made, "certificateId"), error);
}

/* The service's key comes once. It is written down before anything else; a certificate whose key
 * got lost on the way is of no use, and inactive. */
static bool
make_by_service(
    KvgRun *run, const char *camera, const char *slot, const char *key_path, GError **error)
{
    if (!note_asking(run, camera, slot, error))
        return false;
    g_autoptr(json_t) made = ask(run, "/keys-and-certificate", false, NULL, error);
    const char *key =
        made != NULL ? kvg_json_get_string(json_object_get(made, "keyPair"), "PrivateKey") : NULL;
    if (made == NULL)
        return false;
    if (key == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY, "IoT made a certificate without a key");
        return false;
    }
    return kvg_file_replace(key_path, key, strlen(key), 0600, error) &&
           remember(run, camera, slot, kvg_json_get_string(made, "certificateId"), error);
}

static bool
activate(KvgRun *run, const char *id, const char *status, GError **error)
{
    g_autofree char *path = kvg_call_path("/certificates/%s", id);
    g_autofree char *query = g_strdup_printf("newStatus=%s", status);
    g_autoptr(json_t) done = kvg_call_json(
        run, (KvgCall){.service = "iot", .method = "PUT", .path = path, .query = query}, NULL, NULL,
        error);
    return done != NULL;
}

/* Writes the text of @id, which fits the key, and has it active. *@fits: false: it does not. */
static bool
fetch(KvgRun *run,
      const char *id,
      const char *key_path,
      const char *certificate_path,
      bool *fits,
      GError **error)
{
    bool missing = false;
    g_autoptr(json_t) found = describe(run, id, &missing, error);
    if (found == NULL)
        return false;
    const json_t *about = json_object_get(found, "certificateDescription");
    const char *pem = kvg_json_get_string(about, "certificatePem");
    *fits = !missing && pem != NULL && kvg_key_fits(key_path, pem);
    if (!*fits)
        return true;
    return (g_strcmp0(kvg_json_get_string(about, "status"), "ACTIVE") == 0 ||
            activate(run, id, "ACTIVE", error)) &&
           kvg_file_replace(certificate_path, pem, strlen(pem), 0600, error);
}

bool
kvg_certificate_make(KvgRun *run,
                     const char *camera,
                     const char *slot,
                     const char *key_path,
                     const char *certificate_path,
                     GError **error)
{
    g_autofree char *id_key = slot_key(slot, "id");
    g_autofree char *asked_key = slot_key(slot, "asked");
    g_autofree char *id = kvg_ledger_get(run->ledger, camera, id_key);
    g_autofree char *asked = kvg_ledger_get(run->ledger, camera, asked_key);
    const bool has_key = g_file_test(key_path, G_FILE_TEST_EXISTS);
    if (id == NULL && asked != NULL && has_key &&
        (!find_orphan(run, key_path, &id, error) ||
         (id != NULL && !remember(run, camera, slot, id, error))))
        return false;
    bool fits = false;
    if (id != NULL && has_key && !fetch(run, id, key_path, certificate_path, &fits, error))
        return false;
    if (fits)
        return true;
    if (id != NULL && kvg_ledger_is_made(run->ledger, camera, slot))
        kvg_ledger_retire(run->ledger, camera, id); /* of no use without its key */
    if (!(run->aws_keys ? make_by_service(run, camera, slot, key_path, error)
                        : kvg_key_ensure(key_path, run->key_type, error) &&
                              make_by_request(run, camera, slot, key_path, error)))
        return false;
    g_free(id);
    id = kvg_ledger_get(run->ledger, camera, id_key);
    if (!fetch(run, id, key_path, certificate_path, &fits, error))
        return false;
    if (!fits)
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "IoT's certificate does not fit %s",
                    key_path);
    return fits;
}

bool
kvg_certificate_attach(KvgRun *run, const char *camera, const char *id, GError **error)
{
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", id);
    g_autofree char *policy_path =
        kvg_call_path("/target-policies/%s", run->target.config->iot_policy);
    g_autofree char *thing_path = kvg_call_path("/things/%s/principals", camera);
    /* All were made a moment ago, maybe. */
    g_autoptr(json_t) to_policy = kvg_call_json(run,
                                                (KvgCall){.service = "iot",
                                                          .method = "PUT",
                                                          .path = policy_path,
                                                          .waits_for = {"ResourceNotFound"}},
                                                json_pack("{s:s}", "target", arn), NULL, error);
    if (to_policy == NULL)
        return false;
    g_autoptr(json_t) to_thing = kvg_call_json(run,
                                               (KvgCall){.service = "iot",
                                                         .method = "PUT",
                                                         .path = thing_path,
                                                         .principal = arn,
                                                         .waits_for = {"ResourceNotFound"}},
                                               NULL, NULL, error);
    return to_thing != NULL;
}

/* ---- taking away ---- */

static bool
detach_things(KvgRun *run, const char *arn, GError **error)
{
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){
            .service = "iot", .method = "GET", .path = "/principals/things", .principal = arn},
        NULL, NULL, error);
    const json_t *things = json_object_get(found, "things");
    for (size_t i = 0; i < json_array_size(things); i++) {
        g_autofree char *path =
            kvg_call_path("/things/%s/principals", json_string_value(json_array_get(things, i)));
        g_autoptr(json_t) done = kvg_call_json(run,
                                               (KvgCall){.service = "iot",
                                                         .method = "DELETE",
                                                         .path = path,
                                                         .principal = arn,
                                                         .accepts = "ResourceNotFound"},
                                               NULL, NULL, error);
        if (done == NULL)
            return false;
    }
    return found != NULL;
}

static bool
detach_policies(KvgRun *run, const char *arn, GError **error)
{
    g_autofree char *list_path = kvg_call_path("/attached-policies/%s", arn);
    g_autoptr(json_t) found = kvg_call_json(
        run, (KvgCall){.service = "iot", .method = "POST", .path = list_path}, NULL, NULL, error);
    const json_t *policies = json_object_get(found, "policies");
    for (size_t i = 0; i < json_array_size(policies); i++) {
        g_autofree char *path = kvg_call_path(
            "/target-policies/%s", kvg_json_get_string(json_array_get(policies, i), "policyName"));
        g_autoptr(json_t) done = kvg_call_json(
            run,
            (KvgCall){
                .service = "iot", .method = "POST", .path = path, .accepts = "ResourceNotFound"},
            json_pack("{s:s}", "target", arn), NULL, error);
        if (done == NULL)
            return false;
    }
    return found != NULL;
}

bool
kvg_certificate_delete(KvgRun *run, const char *camera, const char *id, GError **error)
{
    g_autofree char *status = NULL;
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", id);
    if (!kvg_certificate_status(run, id, &status, error))
        return false;
    if (status == NULL)
        return true;
    if (!kvg_run_change(run, KVG_CHANGE_DELETE, "certificate", id, camera, NULL))
        return true;
    /* Inactive first: from then on it opens nothing, whatever happens to this run. */
    if ((strcmp(status, "ACTIVE") == 0 && !activate(run, id, "INACTIVE", error)) ||
        !detach_things(run, arn, error) || !detach_policies(run, arn, error))
        return false;
    g_autofree char *path = kvg_call_path("/certificates/%s", id);
    g_autoptr(json_t) gone = kvg_call_json(run,
                                           (KvgCall){.service = "iot",
                                                     .method = "DELETE",
                                                     .path = path,
                                                     .accepts = "ResourceNotFound",
                                                     .waits_for = {"DeleteConflict"}},
                                           NULL, NULL, error);
    return gone != NULL;
}

bool
kvg_certificate_delete_retired(KvgRun *run, const char *camera, GError **error)
{
    g_auto(GStrv) ids = kvg_ledger_retired(run->ledger, camera);
    for (size_t i = 0; ids[i] != NULL; i++) {
        if (!kvg_certificate_delete(run, camera, ids[i], error))
            return false;
        if (run->plans)
            continue;
        kvg_ledger_forget_retired(run->ledger, camera, ids[i]);
        if (!kvg_ledger_save(run->ledger, error))
            return false;
    }
    return true;
}
