/* One camera: thing, key, certificate, attachments, stream, group. Each step looks at what is there
 * and changes what differs. */
#include "cli/key.h"
#include "cli/provision.h"
#include "os/file.h"
#include <kvg/error.h>
#include <string.h>

#define MAX_PEM_BYTES (64u * 1024)

static bool
ensure_thing(KvgRun *run, const char *name, GError **error)
{
    g_autofree char *path = kvg_call_path("/things/%s", name);
    bool missing = false;
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, &missing, error);
    if (found == NULL || !missing)
        return found != NULL;
    if (!kvg_run_change(run, KVG_CHANGE_CREATE, "thing", name, name, NULL))
        return true;
    kvg_ledger_set_made(run->ledger, name, "thing", true);
    if (!kvg_ledger_save(run->ledger, error))
        return false;
    g_autoptr(json_t) made =
        kvg_call_json(run, (KvgCall){.service = "iot", .method = "POST", .path = path},
                      json_object(), NULL, error);
    return made != NULL;
}

/* ---- certificate ---- */

static bool
copy_private(const char *from, const char *to, GError **error)
{
    size_t len;
    g_autofree char *text = kvg_file_read(from, MAX_PEM_BYTES, &len, error);
    const bool good = text != NULL && kvg_file_replace(to, text, len, 0600, error);
    if (text != NULL)
        explicit_bzero(text, len);
    return good;
}

/* Files as the former notebook left them, NAME-cert.pem and NAME-private.key, in the same folder.
 */
static bool
take_over_files(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    const char *directory = run->target.config->identity_directory;
    g_autofree char *stem = g_build_filename(directory, camera->name, NULL);
    g_autofree char *certificate = g_strconcat(stem, "-cert.pem", NULL);
    g_autofree char *key = g_strconcat(stem, "-private.key", NULL);
    if (g_file_test(camera->certificate_path, G_FILE_TEST_EXISTS) ||
        !g_file_test(certificate, G_FILE_TEST_EXISTS) || !g_file_test(key, G_FILE_TEST_EXISTS))
        return true;
    if (!kvg_key_matches(key, certificate)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "%s and %s do not belong together; move them away", certificate, key);
        return false;
    }
    if (!kvg_run_change(run, KVG_CHANGE_UPDATE, "certificate", camera->name, camera->name,
                        "taken over from NAME-cert.pem and NAME-private.key"))
        return true;
    return copy_private(key, camera->key_path, error) &&
           copy_private(certificate, camera->certificate_path, error);
}

/* The certificate in the file, if it is good: *@id, else NULL. One that is there but switched off
 * is not made good again: somebody had a reason. */
static bool
find_certificate(KvgRun *run, const KvgConfigCamera *camera, char **id, GError **error)
{
    g_autofree char *known = kvg_ledger_get(run->ledger, camera->name, "certificate_id");
    g_autofree char *found = kvg_key_matches(camera->key_path, camera->certificate_path)
                                 ? kvg_key_certificate_id(camera->certificate_path)
                                 : NULL;
    g_autofree char *status = NULL;
    if (found == NULL)
        return true;
    if (!kvg_certificate_status(run, found, &status, error))
        return false;
    if (g_strcmp0(status, "ACTIVE") != 0) {
        kvg_run_say(run, "%s: the certificate in %s is %s", camera->name, camera->certificate_path,
                    status != NULL ? status : "unknown to this account");
        return true;
    }
    *id = g_steal_pointer(&found);
    if (run->plans || g_strcmp0(known, *id) == 0)
        return true;
    if (known != NULL && kvg_ledger_is_made(run->ledger, camera->name, "certificate"))
        kvg_ledger_retire(run->ledger, camera->name, known);
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", *id);
    kvg_ledger_set(run->ledger, camera->name, "certificate_id", *id);
    kvg_ledger_set(run->ledger, camera->name, "certificate_arn", arn);
    kvg_ledger_set_made(run->ledger, camera->name, "certificate", false);
    return kvg_ledger_save(run->ledger, error);
}

/* A certificate that was switched off takes its key with it. */
static bool
drop_inactive(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    g_autofree char *known = kvg_ledger_get(run->ledger, camera->name, "certificate_id");
    g_autofree char *status = NULL;
    if (known == NULL || !g_file_test(camera->certificate_path, G_FILE_TEST_EXISTS))
        return true;
    if (!kvg_certificate_status(run, known, &status, error))
        return false;
    if (kvg_ledger_is_made(run->ledger, camera->name, "certificate") && status != NULL)
        kvg_ledger_retire(run->ledger, camera->name, known);
    kvg_ledger_set(run->ledger, camera->name, "certificate_id", NULL);
    kvg_ledger_set(run->ledger, camera->name, "certificate_arn", NULL);
    if (!kvg_ledger_save(run->ledger, error))
        return false;
    if (status != NULL)
        unlink(camera->key_path);
    unlink(camera->certificate_path);
    return true;
}

static bool
make_certificate(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    if (!kvg_run_change(run, KVG_CHANGE_CREATE, "certificate", camera->name, camera->name, NULL))
        return true;
    if (!drop_inactive(run, camera, error) ||
        !kvg_certificate_make(run, camera->name, "certificate", camera->key_path,
                              camera->certificate_path, error))
        return false;
    g_autofree char *id = kvg_ledger_get(run->ledger, camera->name, "certificate_id");
    return kvg_certificate_attach(run, camera->name, id, error);
}

/* Whether @value is in the array @list_key of the answer, as itself or as its member @key. */
static bool
is_listed(const json_t *answer, const char *list_key, const char *key, const char *value)
{
    const json_t *list = json_object_get(answer, list_key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *text = key != NULL ? kvg_json_get_string(item, key) : json_string_value(item);
        if (g_strcmp0(text, value) == 0)
            return true;
    }
    return false;
}

/* Policy and thing of a certificate that was there before this run. */
static bool
check_attachments(KvgRun *run, const char *name, const char *id, GError **error)
{
    const char *policy = run->target.config->iot_policy;
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", id);
    g_autofree char *policies_path = kvg_call_path("/attached-policies/%s", arn);
    g_autofree char *principals_path = kvg_call_path("/things/%s/principals", name);
    g_autoptr(json_t) policies =
        kvg_call_json(run, (KvgCall){.service = "iot", .method = "POST", .path = policies_path},
                      NULL, NULL, error);
    g_autoptr(json_t) principals =
        policies == NULL
            ? NULL
            : kvg_call_json(run,
                            (KvgCall){.service = "iot",
                                      .method = "GET",
                                      .path = principals_path,
                                      .accepts = run->plans ? "ResourceNotFound" : NULL,
                                      .waits_for = {run->plans ? NULL : "ResourceNotFound"}},
                            NULL, NULL, error);
    if (principals == NULL)
        return false;
    const bool has_policy = is_listed(policies, "policies", "policyName", policy);
    const bool has_thing = is_listed(principals, "principals", NULL, arn);
    if (has_policy && has_thing)
        return true;
    if (!kvg_run_change(run, KVG_CHANGE_UPDATE, "certificate", id, name,
                        has_thing    ? "the policy it lacks"
                        : has_policy ? "the thing it lacks"
                                     : "policy and thing it lacks"))
        return true;
    if (!has_policy)
        kvg_ledger_set_made(run->ledger, name, "policy_attachment", true);
    if (!has_thing)
        kvg_ledger_set_made(run->ledger, name, "thing_attachment", true);
    return kvg_ledger_save(run->ledger, error) && kvg_certificate_attach(run, name, id, error);
}

static bool
ensure_certificate(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    g_autofree char *id = NULL;
    if (!take_over_files(run, camera, error) || !find_certificate(run, camera, &id, error))
        return false;
    return id == NULL ? make_certificate(run, camera, error)
                      : check_attachments(run, camera->name, id, error);
}

/* ---- stream ---- */

static bool
create_stream(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    g_autofree char *detail = g_strdup_printf("kept for %d hours", (int)camera->retention_hours);
    if (!kvg_run_change(run, KVG_CHANGE_CREATE, "stream", camera->name, camera->name, detail))
        return true;
    kvg_ledger_set_made(run->ledger, camera->name, "stream", true);
    if (!kvg_ledger_save(run->ledger, error))
        return false;
    json_t *body = json_pack("{s:s, s:I, s:s}", "StreamName", camera->name, "DataRetentionInHours",
                             (json_int_t)camera->retention_hours, "MediaType", "video/h264");
    const GPtrArray *tags = run->target.config->tags;
    if (tags->len > 0)
        json_object_set_new(body, "Tags", json_object());
    for (guint i = 0; i < tags->len; i += 2)
        json_object_set_new(json_object_get(body, "Tags"), g_ptr_array_index(tags, i),
                            json_string(g_ptr_array_index(tags, i + 1)));
    /* The agent of a camera that was provisioned a moment ago may be quicker. */
    g_autoptr(json_t) made = kvg_call_json(run,
                                           (KvgCall){.service = "kinesisvideo",
                                                     .method = "POST",
                                                     .path = "/createStream",
                                                     .accepts = "ResourceInUse"},
                                           body, NULL, error);
    return made != NULL;
}

static bool
adjust_retention(KvgRun *run, const KvgConfigCamera *camera, const json_t *info, GError **error)
{
    const int64_t now = kvg_json_get_int(info, "DataRetentionInHours", 0);
    const char *version = kvg_json_get_string(info, "Version");
    if (now == camera->retention_hours || version == NULL)
        return true;
    g_autofree char *detail =
        g_strdup_printf("retention from %d to %d hours", (int)now, (int)camera->retention_hours);
    if (!kvg_run_change(run, KVG_CHANGE_UPDATE, "stream", camera->name, camera->name, detail))
        return true;
    const bool grows = camera->retention_hours > now;
    g_autoptr(json_t) updated = kvg_call_json(
        run, (KvgCall){.service = "kinesisvideo", .method = "POST", .path = "/updateDataRetention"},
        json_pack(
            "{s:s, s:s, s:s, s:I}", "StreamName", camera->name, "CurrentVersion", version,
            "Operation", grows ? "INCREASE_DATA_RETENTION" : "DECREASE_DATA_RETENTION",
            "DataRetentionChangeInHours",
            (json_int_t)(grows ? camera->retention_hours - now : now - camera->retention_hours)),
        NULL, error);
    return updated != NULL;
}

static bool
ensure_stream(KvgRun *run, const KvgConfigCamera *camera, GError **error)
{
    bool missing = false;
    g_autoptr(json_t) found =
        kvg_call_json(run,
                      (KvgCall){.service = "kinesisvideo",
                                .method = "POST",
                                .path = "/describeStream",
                                .accepts = "ResourceNotFound"},
                      json_pack("{s:s}", "StreamName", camera->name), &missing, error);
    if (found == NULL)
        return false;
    return missing ? create_stream(run, camera, error)
                   : adjust_retention(run, camera, json_object_get(found, "StreamInfo"), error);
}

/* ---- group ---- */

static bool
ensure_member(KvgRun *run, const char *name, GError **error)
{
    const char *group = run->target.config->thing_group;
    if (group == NULL)
        return true;
    g_autofree char *path = kvg_call_path("/things/%s/thing-groups", name);
    g_autoptr(json_t) found = kvg_call_json(
        run,
        (KvgCall){.service = "iot", .method = "GET", .path = path, .accepts = "ResourceNotFound"},
        NULL, NULL, error);
    if (found == NULL)
        return false;
    if (is_listed(found, "thingGroups", "groupName", group) ||
        !kvg_run_change(run, KVG_CHANGE_UPDATE, "thing", name, name, "into the thing group"))
        return true;
    kvg_ledger_set_made(run->ledger, name, "membership", true);
    if (!kvg_ledger_save(run->ledger, error))
        return false;
    g_autoptr(json_t) done = kvg_call_json(
        run,
        (KvgCall){.service = "iot",
                  .method = "PUT",
                  .path = "/thing-groups/addThingToThingGroup",
                  .waits_for = {"ResourceNotFound"}},
        json_pack("{s:s, s:s}", "thingGroupName", group, "thingName", name), NULL, error);
    return done != NULL;
}

bool
kvg_provision_camera(KvgRun *run, const char *name, GError **error)
{
    const KvgConfigCamera *camera = kvg_config_find_camera(run->target.config, name);
    g_autofree char *next = kvg_ledger_get(run->ledger, name, "next_id");
    /* A change of certificates that was begun is brought to its end. */
    if (next != NULL && !run->plans && !kvg_rotate_camera(run, name, error))
        return false;
    return ensure_thing(run, name, error) && ensure_certificate(run, camera, error) &&
           ensure_stream(run, camera, error) && ensure_member(run, name, error) &&
           kvg_certificate_delete_retired(run, name, error);
}
