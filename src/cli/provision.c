/* kvg provision: role, policies, role alias, and for each camera thing, key, certificate and
 * stream. Each step looks first at what is there, so it can be run again at any time, also after a
 * kill. */
#include "cli/provision.h"
#include "cli/command.h"
#include <stdio.h>
#include <string.h>

#define EXIT_USAGE 2
#define EXIT_CHANGES_DUE 2 /* of --plan */

typedef struct {
    KvgRun run;
    gboolean plans, rotates, aws_keys;
    char *output, *key_type;
    KvgClaim claim; /* no certificate: not by claim */
    char **names;
} Command;

static void
command_clear(Command *command)
{
    kvg_run_clear(&command->run);
    g_free(command->output);
    g_free(command->key_type);
    g_free(command->claim.certificate);
    g_free(command->claim.key);
    g_free(command->claim.template_name);
    g_strfreev(command->names);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Command, command_clear)

/* The cameras that were named, or all of the configuration (g_strfreev). */
static GStrv
chosen(const Command *command)
{
    if (command->names != NULL)
        return g_strdupv(command->names);
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    const GPtrArray *cameras = command->run.target.config->cameras;
    for (guint i = 0; i < cameras->len; i++)
        g_strv_builder_add(list, ((const KvgConfigCamera *)g_ptr_array_index(cameras, i))->name);
    return g_strv_builder_end(list);
}

static bool
check_names(const Command *command, GError **error)
{
    for (char **name = command->names; name != NULL && *name != NULL; name++) {
        if (kvg_config_find_camera(command->run.target.config, *name) != NULL)
            continue;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "there is no camera '%s' in %s", *name, command->run.target.config->path);
        return false;
    }
    return true;
}

/* With a claim there are no operator's credentials, and no account to ask for. */
static bool
perform_claim(Command *command, unsigned *n, GError **error)
{
    KvgRun *run = &command->run;
    if (!kvg_target_open_config(&run->target, error) || !check_names(command, error))
        return false;
    run->ledger = kvg_ledger_open(run->target.config->identity_directory, run->plans, error);
    if (run->ledger == NULL)
        return false;
    g_auto(GStrv) cameras = chosen(command);
    *n = g_strv_length(cameras);
    return kvg_claim_cameras(run, &command->claim, (const char *const *)cameras, error);
}

static bool
perform(Command *command, unsigned *n, GError **error)
{
    KvgRun *run = &command->run;
    if (command->claim.certificate != NULL)
        return perform_claim(command, n, error);
    if (!kvg_run_open(run, error) || !check_names(command, error))
        return false;
    kvg_run_say(run, "account %s, region %s", run->account, kvg_run_region(run));
    g_auto(GStrv) cameras = chosen(command);
    *n = g_strv_length(cameras);
    const char *const *names = (const char *const *)cameras;
    if (command->rotates)
        return kvg_run_crew(run, names, "has a new certificate", kvg_rotate_camera, error);
    return kvg_provision_shared(run, error) &&
           kvg_run_crew(run, names, run->plans ? "looked at" : "is ready", kvg_provision_camera,
                        error);
}

static int
report(Command *command, unsigned n)
{
    KvgRun *run = &command->run;
    const size_t n_changes = json_array_size(run->shared.changes);
    if (command->output != NULL) {
        g_autofree char *text =
            run->plans ? kvg_json_to_text(run->shared.changes) : kvg_ledger_to_text(run->ledger);
        printf("%s\n", text);
    } else if (run->plans) {
        printf(n_changes > 0 ? "%zu changes due\n" : "nothing to change\n", n_changes);
    } else {
        printf("%u cameras %s, %zu changes; identities in %s\n", n,
               command->rotates ? "have new certificates" : "provisioned", n_changes,
               run->target.config->identity_directory);
    }
    return run->plans && n_changes > 0 ? EXIT_CHANGES_DUE : 0;
}

/* What is wrong with the options; NULL. */
static const char *
misuse(const Command *command)
{
    const char *type = command->run.key_type;
    if (strcmp(type, "ec") != 0 && strcmp(type, "rsa") != 0)
        return "--key-type takes ec or rsa";
    if (command->run.jobs < 1 || command->run.jobs > KVG_RUN_MAX_JOBS)
        return "--jobs takes 1 to " G_STRINGIFY(KVG_RUN_MAX_JOBS);
    if (command->output != NULL && strcmp(command->output, "json") != 0)
        return "--output takes json";
    const KvgClaim *claim = &command->claim;
    const int n_claim =
        (claim->certificate != NULL) + (claim->key != NULL) + (claim->template_name != NULL);
    if (n_claim != 0 && n_claim != 3)
        return "--claim-certificate, --claim-key and --template belong together";
    if (n_claim != 0 && (command->rotates || command->aws_keys))
        return "with a claim there is no --rotate, and keys are made here";
    return command->aws_keys && command->key_type != NULL
               ? "--aws-keys and --key-type together: the service chooses the type of its keys"
               : NULL;
}

static bool
parse(Command *command, int argc, char **argv, GError **error)
{
    const GOptionEntry entries[] = {
        KVG_TARGET_OPTIONS(command->run.target),
        {"plan", 0, 0, G_OPTION_ARG_NONE, &command->plans,
         "only say what would change; exit status 2 if anything", NULL},
        {"rotate", 0, 0, G_OPTION_ARG_NONE, &command->rotates,
         "new certificates in place of those in use", NULL},
        {"key-type", 0, 0, G_OPTION_ARG_STRING, &command->key_type, "ec (P-256, default) or rsa",
         "TYPE"},
        {"aws-keys", 0, 0, G_OPTION_ARG_NONE, &command->aws_keys,
         "let AWS IoT make the private keys, too", NULL},
        {"claim-certificate", 0, 0, G_OPTION_ARG_FILENAME, &command->claim.certificate,
         "fleet provisioning: the claim's certificate; no operator's credentials", "FILE"},
        {"claim-key", 0, 0, G_OPTION_ARG_FILENAME, &command->claim.key, "its private key", "FILE"},
        {"template", 0, 0, G_OPTION_ARG_STRING, &command->claim.template_name,
         "the provisioning template; it takes ThingName", "NAME"},
        {"jobs", 'j', 0, G_OPTION_ARG_INT, &command->run.jobs, "cameras at a time (8)", "N"},
        {"output", 0, 0, G_OPTION_ARG_STRING, &command->output,
         "'json': what was made, or with --plan what would change", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("[NAME...] - make what the cameras of the configuration need");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (argc > 1)
        command->names = g_strdupv(argv + 1);
    if (command->key_type != NULL)
        command->run.key_type = command->key_type;
    command->run.plans = command->plans;
    command->run.aws_keys = command->aws_keys;
    const char *problem = misuse(command);
    if (problem != NULL)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s", problem);
    return problem == NULL;
}

int
kvg_cmd_provision(int argc, char **argv)
{
    g_auto(Command) command = {0};
    kvg_run_init(&command.run);
    g_autoptr(GError) error = NULL;
    unsigned n = 0;
    if (!parse(&command, argc, argv, &error)) {
        fprintf(stderr, "kvg provision: %s\n", error->message);
        return EXIT_USAGE;
    }
    if (!perform(&command, &n, &error)) {
        fprintf(stderr, "kvg provision: %s; run it again to go on\n", error->message);
        return 1;
    }
    return report(&command, n);
}
