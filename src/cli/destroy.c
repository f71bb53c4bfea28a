/* kvg destroy: takes away what provisioning made, by its ledger, each thing before what it depends
 * on. What was there before, or has been made by others since, stays. */
#include "base/clock.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/provision.h"
#include "os/file.h"
#include <kvg/error.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    KvgRun run;
    gboolean yes, keep_streams;
    char **names;   /* only these cameras; NULL: all, and what they share */
    char *data_url; /* of device shadows */
    json_t *kept;   /* for the report; under run.shared.lock */
} Destroy;

static void
destroy_clear(Destroy *d)
{
    kvg_run_clear(&d->run);
    g_free(d->data_url);
    json_decref(d->kept);
    g_strfreev(d->names);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Destroy, destroy_clear)

static bool
delete_call(
    KvgRun *run, const char *service, const char *path, const char *waits_for, GError **error)
{
    g_autoptr(json_t) gone = kvg_call_json(run,
                                           (KvgCall){.service = service,
                                                     .method = "DELETE",
                                                     .path = path,
                                                     .accepts = "ResourceNotFound",
                                                     .waits_for = {waits_for}},
                                           NULL, NULL, error);
    return gone != NULL;
}

static void
note_kept(Destroy *d, const char *kind, const char *name)
{
    g_mutex_lock(&d->run.shared.lock);
    json_array_append_new(d->kept, json_pack("{s:s, s:s}", "kind", kind, "name", name));
    g_mutex_unlock(&d->run.shared.lock);
}

/* ---- a camera ---- */

/* A certificate that was there before stays; what was added to it goes. */
static bool
detach_foreign(KvgRun *run, const char *camera, const char *id, GError **error)
{
    g_autofree char *arn = kvg_run_iot_arn(run, "cert", id);
    g_autofree char *thing_path = kvg_call_path("/things/%s/principals", camera);
    if (kvg_ledger_is_made(run->ledger, camera, "thing_attachment") ||
        kvg_ledger_is_made(run->ledger, camera, "thing")) {
        g_autoptr(json_t) done = kvg_call_json(run,
                                               (KvgCall){.service = "iot",
                                                         .method = "DELETE",
                                                         .path = thing_path,
                                                         .principal = arn,
                                                         .accepts = "ResourceNotFound"},
                                               NULL, NULL, error);
        if (done == NULL)
            return false;
    }
    if (!kvg_ledger_is_made(run->ledger, camera, "policy_attachment"))
        return true;
    g_autofree char *policy_path =
        kvg_call_path("/target-policies/%s", run->target.config->iot_policy);
    g_autoptr(json_t) done = kvg_call_json(
        run,
        (KvgCall){
            .service = "iot", .method = "POST", .path = policy_path, .accepts = "ResourceNotFound"},
        json_pack("{s:s}", "target", arn), NULL, error);
    return done != NULL;
}

static void
remove_files(const Destroy *d, const char *camera)
{
    static const char *const suffixes[] = {".private.key", ".cert.pem", ".private.key.next",
                                           ".cert.pem.next"};
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *name = g_strconcat(camera, suffixes[i], NULL);
        g_autofree char *path =
            g_build_filename(d->run.target.config->identity_directory, name, NULL);
        unlink(path);
    }
}

static bool
remove_certificates(Destroy *d, const char *camera, GError **error)
{
    static const char *const slots[] = {"next", "certificate"};
    KvgRun *run = &d->run;
    for (size_t i = 0; i < G_N_ELEMENTS(slots); i++) {
        g_autofree char *key = g_strconcat(slots[i], "_id", NULL);
        g_autofree char *id = kvg_ledger_get(run->ledger, camera, key);
        if (id == NULL)
            continue;
        if (kvg_ledger_is_made(run->ledger, camera, slots[i])) {
            if (!kvg_certificate_delete(run, camera, id, error))
                return false;
            remove_files(d, camera);
        } else {
            note_kept(d, "certificate", id);
            if (!detach_foreign(run, camera, id, error))
                return false;
        }
    }
    return kvg_certificate_delete_retired(run, camera, error);
}

/* Its shadow would outlive it. */
static bool
remove_thing(Destroy *d, const char *camera, GError **error)
{
    KvgRun *run = &d->run;
    if (!kvg_ledger_is_made(run->ledger, camera, "thing")) {
        note_kept(d, "thing", camera);
        if (!kvg_ledger_is_made(run->ledger, camera, "membership"))
            return true;
        g_autoptr(json_t) done =
            kvg_call_json(run,
                          (KvgCall){.service = "iot",
                                    .method = "PUT",
                                    .path = "/thing-groups/removeThingFromThingGroup",
                                    .accepts = "ResourceNotFound"},
                          json_pack("{s:s?, s:s}", "thingGroupName",
                                    run->target.config->thing_group, "thingName", camera),
                          NULL, error);
        return done != NULL;
    }
    kvg_run_change(run, KVG_CHANGE_DELETE, "thing", camera, camera, NULL);
    g_autofree char *shadow = kvg_call_path("/things/%s/shadow", camera);
    g_autofree char *path = kvg_call_path("/things/%s", camera);
    g_autoptr(json_t) gone = kvg_call_json(run,
                                           (KvgCall){.service = "iotdata",
                                                     .method = "DELETE",
                                                     .path = shadow,
                                                     .base_url = d->data_url,
                                                     .accepts = "ResourceNotFound"},
                                           NULL, NULL, error);
    return gone != NULL && delete_call(run, "iot", path, "still attached", error);
}

static bool
remove_stream(Destroy *d, const char *camera, GError **error)
{
    KvgRun *run = &d->run;
    if (d->keep_streams || !kvg_ledger_is_made(run->ledger, camera, "stream")) {
        note_kept(d, "stream", camera);
        return true;
    }
    bool missing = false;
    g_autoptr(json_t) found =
        kvg_call_json(run,
                      (KvgCall){.service = "kinesisvideo",
                                .method = "POST",
                                .path = "/describeStream",
                                .accepts = "ResourceNotFound"},
                      json_pack("{s:s}", "StreamName", camera), &missing, error);
    if (found == NULL || missing)
        return found != NULL;
    const json_t *info = json_object_get(found, "StreamInfo");
    kvg_run_change(run, KVG_CHANGE_DELETE, "stream", camera, camera, NULL);
    g_autoptr(json_t) gone = kvg_call_json(
        run,
        (KvgCall){.service = "kinesisvideo",
                  .method = "POST",
                  .path = "/deleteStream",
                  .accepts = "ResourceNotFound",
                  .waits_for = {"ResourceInUse"}},
        json_pack("{s:s?}", "StreamARN", kvg_json_get_string(info, "StreamARN")), NULL, error);
    return gone != NULL;
}

static bool
destroy_camera(KvgRun *run, const char *camera, GError **error)
{
    Destroy *d = (Destroy *)run; /* run is its first member */
    if (!remove_certificates(d, camera, error) || !remove_thing(d, camera, error) ||
        !remove_stream(d, camera, error))
        return false;
    kvg_ledger_forget_camera(run->ledger, camera);
    return kvg_ledger_save(run->ledger, error);
}

/* ---- what they shared ---- */

/* The name of what provisioning made under @key (g_free); NULL: it made none. */
static char *
made_name(Destroy *d, const char *key, const char *kind, const char *configured)
{
    g_autofree char *name = kvg_ledger_get(d->run.ledger, NULL, key);
    if (kvg_ledger_is_made(d->run.ledger, NULL, key)) {
        kvg_run_change(&d->run, KVG_CHANGE_DELETE, kind, name != NULL ? name : configured, NULL,
                       NULL);
        return name != NULL ? g_steal_pointer(&name) : g_strdup(configured);
    }
    if (configured != NULL)
        note_kept(d, kind, configured);
    return NULL;
}

static bool
is_gone(Destroy *d, const char *key, GError **error)
{
    kvg_ledger_set_made(d->run.ledger, NULL, key, false);
    return kvg_ledger_save(d->run.ledger, error);
}

static bool
remove_policy(Destroy *d, GError **error)
{
    g_autofree char *name =
        made_name(d, "iot_policy", "IoT policy", d->run.target.config->iot_policy);
    if (name == NULL)
        return true;
    g_autofree char *path = kvg_call_path("/policies/%s", name);
    g_autofree char *versions_path = g_strconcat(path, "/version", NULL);
    g_autoptr(json_t) found = kvg_call_json(&d->run,
                                            (KvgCall){.service = "iot",
                                                      .method = "GET",
                                                      .path = versions_path,
                                                      .accepts = "ResourceNotFound"},
                                            NULL, NULL, error);
    if (found == NULL)
        return false;
    const json_t *versions = json_object_get(found, "policyVersions");
    for (size_t i = 0; i < json_array_size(versions); i++) {
        const json_t *version = json_array_get(versions, i);
        g_autofree char *old =
            g_strdup_printf("%s/%s", versions_path, kvg_json_get_string(version, "versionId"));
        if (!kvg_json_get_bool(version, "isDefaultVersion", false) &&
            !delete_call(&d->run, "iot", old, NULL, error))
            return false;
    }
    return delete_call(&d->run, "iot", path, "DeleteConflict", error) &&
           is_gone(d, "iot_policy", error);
}

static bool
remove_named(Destroy *d,
             const char *key,
             const char *kind,
             const char *configured,
             const char *path_format,
             GError **error)
{
    g_autofree char *name = made_name(d, key, kind, configured);
    if (name == NULL)
        return true;
    g_autofree char *path = kvg_call_path(path_format, name);
    return delete_call(&d->run, "iot", path, "DeleteConflict", error) && is_gone(d, key, error);
}

static bool
remove_role(Destroy *d, GError **error)
{
    g_autofree char *given = kvg_ledger_get(d->run.ledger, NULL, "iam_role");
    const char *role = given != NULL ? given : d->run.target.config->iam_role;
    g_autofree char *policy = made_name(d, "role_policy", "IAM role policy", KVG_ROLE_POLICY_NAME);
    if (policy != NULL) {
        const char *const form[] = {"DeleteRolePolicy", "RoleName", role,
                                    "PolicyName",       policy,     NULL};
        g_autofree char *gone =
            kvg_call_query(&d->run, "iam", form, "RequestId", "NoSuchEntity", NULL, error);
        if (gone == NULL || !is_gone(d, "role_policy", error))
            return false;
    }
    g_autofree char *name = made_name(d, "iam_role", "IAM role", role);
    if (name == NULL)
        return true;
    const char *const form[] = {"DeleteRole", "RoleName", name, NULL};
    g_autofree char *gone =
        kvg_call_query(&d->run, "iam", form, "RequestId", "NoSuchEntity", NULL, error);
    return gone != NULL && is_gone(d, "iam_role", error);
}

static bool
remove_shared(Destroy *d, GError **error)
{
    const KvgConfig *config = d->run.target.config;
    return remove_policy(d, error) &&
           remove_named(d, "thing_group", "thing group", config->thing_group, "/thing-groups/%s",
                        error) &&
           remove_named(d, "role_alias", "role alias", config->role_alias, "/role-aliases/%s",
                        error) &&
           remove_role(d, error);
}

/* ---- the command ---- */

static bool
ask(const Destroy *d, char **cameras)
{
    if (d->yes)
        return true;
    if (isatty(STDIN_FILENO) != 1) {
        fprintf(stderr, "kvg destroy: give --yes when nobody can be asked\n");
        return false;
    }
    fprintf(stderr,
            "This deletes certificates and things of %u cameras%s%s, in account %s, region %s.\n"
            "Write 'yes' to go on: ",
            g_strv_length(cameras), d->keep_streams ? "" : ", their streams with all video",
            d->names == NULL ? ", and what they share" : "", d->run.account,
            kvg_run_region(&d->run));
    char answer[16] = "";
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}

/* For AWS, shadows have a host of their own. */
static bool
find_data_url(Destroy *d, GError **error)
{
    g_autofree char *iot = kvg_target_url(&d->run.target, "iot");
    if (strstr(iot, ".amazonaws.com") == NULL) {
        d->data_url = g_steal_pointer(&iot);
        return true;
    }
    g_autofree char *host = kvg_call_endpoint(&d->run, "iot:Data-ATS", error);
    d->data_url = host != NULL ? g_strdup_printf("https://%s", host) : NULL;
    return host != NULL;
}

static bool
write_report(const Destroy *d, char **path, GError **error)
{
    g_autofree char *now = kvg_format_iso8601(kvg_clock_wall_ms(), false);
    g_autoptr(json_t) report =
        json_pack("{s:s, s:s, s:s, s:O, s:O}", "time", now, "account", d->run.account, "region",
                  kvg_run_region(&d->run), "deleted", d->run.shared.changes, "kept", d->kept);
    g_autofree char *text = kvg_json_to_text(report);
    *path = g_build_filename(d->run.target.config->identity_directory, "destroy.json", NULL);
    return kvg_file_replace(*path, text, strlen(text), 0600, error);
}

/* Those of the ledger that were asked for; a camera that was never provisioned, or is gone already,
 * needs nothing. */
static GStrv
chosen(const Destroy *d)
{
    g_auto(GStrv) all = kvg_ledger_cameras(d->run.ledger);
    if (d->names == NULL)
        return g_steal_pointer(&all);
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    for (char **name = d->names; *name != NULL; name++) {
        if (g_strv_contains((const char *const *)all, *name))
            g_strv_builder_add(list, *name);
        else
            fprintf(stderr, "%s: provisioning made nothing for it\n", *name);
    }
    return g_strv_builder_end(list);
}

static int
run(Destroy *d, GError **error)
{
    if (!kvg_run_open(&d->run, error))
        return 1;
    g_auto(GStrv) cameras = chosen(d);
    if (!ask(d, cameras))
        return 2;
    if (!find_data_url(d, error) ||
        !kvg_run_crew(&d->run, (const char *const *)cameras, "destroyed", destroy_camera, error))
        return 1;
    g_autofree char *report = NULL;
    const bool is_all = d->names == NULL;
    if ((is_all && !remove_shared(d, error)) || !write_report(d, &report, error) ||
        (is_all && !kvg_ledger_remove_file(d->run.ledger, error)))
        return 1;
    printf("%u cameras destroyed; %s says what is gone and what was kept\n", g_strv_length(cameras),
           report);
    return 0;
}

int
kvg_cmd_destroy(int argc, char **argv)
{
    g_auto(Destroy) d = {0};
    kvg_run_init(&d.run);
    d.kept = json_array();
    const GOptionEntry entries[] = {
        KVG_TARGET_OPTIONS(d.run.target),
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &d.yes, "do not ask", NULL},
        {"keep-streams", 0, 0, G_OPTION_ARG_NONE, &d.keep_streams, "leave the streams and video",
         NULL},
        {"jobs", 'j', 0, G_OPTION_ARG_INT, &d.run.jobs, "cameras at a time (8)", "N"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("[NAME...] - take away what kvg provision made");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "kvg destroy: %s\n", error->message);
        return 2;
    }
    d.names = argc > 1 ? g_strdupv(argv + 1) : NULL;
    if (d.run.jobs < 1 || d.run.jobs > KVG_RUN_MAX_JOBS) {
        fprintf(stderr, "kvg destroy: --jobs takes 1 to %d\n", KVG_RUN_MAX_JOBS);
        return 2;
    }
    const int status = run(&d, &error);
    if (error != NULL)
        fprintf(stderr, "kvg destroy: %s; run it again to go on\n", error->message);
    return status;
}
