/* The default chain of AWS's SDKs: environment, web identity of the environment, profile (role,
 * keys), container, instance metadata. The environment is read once, when the chain is made; the
 * files are read again at each renewal. */
#include "aws/profile.h"
#include "aws/source.h"
#include "wire/sigv4.h"
#include <string.h>

#define MAX_SOURCE_PROFILES 5

typedef enum {
    ENV_ACCESS_KEY,
    ENV_SECRET_KEY,
    ENV_TOKEN,
    ENV_PROFILE,
    ENV_CREDENTIALS_FILE,
    ENV_CONFIG_FILE,
    ENV_WEB_TOKEN_FILE,
    ENV_ROLE_ARN,
    ENV_ROLE_SESSION,
    ENV_RELATIVE_URI,
    ENV_FULL_URI,
    ENV_CONTAINER_TOKEN,
    ENV_CONTAINER_TOKEN_FILE,
    ENV_INSTANCE_DISABLED,
    ENV_INSTANCE_ENDPOINT,
    ENV_INSTANCE_MODE,
    ENV_INSTANCE_TIMEOUT,
    ENV_REGION,
    ENV_DEFAULT_REGION,
    ENV_STS_ENDPOINT,
    ENV_ENDPOINT,
    ENV_CA_BUNDLE,
    N_ENV,
} Variable;

static const char *const variables[N_ENV] = {
    [ENV_ACCESS_KEY] = "AWS_ACCESS_KEY_ID",
    [ENV_SECRET_KEY] = "AWS_SECRET_ACCESS_KEY",
    [ENV_TOKEN] = "AWS_SESSION_TOKEN",
    [ENV_PROFILE] = "AWS_PROFILE",
    [ENV_CREDENTIALS_FILE] = "AWS_SHARED_CREDENTIALS_FILE",
    [ENV_CONFIG_FILE] = "AWS_CONFIG_FILE",
    [ENV_WEB_TOKEN_FILE] = "AWS_WEB_IDENTITY_TOKEN_FILE",
    [ENV_ROLE_ARN] = "AWS_ROLE_ARN",
    [ENV_ROLE_SESSION] = "AWS_ROLE_SESSION_NAME",
    [ENV_RELATIVE_URI] = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    [ENV_FULL_URI] = "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    [ENV_CONTAINER_TOKEN] = "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    [ENV_CONTAINER_TOKEN_FILE] = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    [ENV_INSTANCE_DISABLED] = "AWS_EC2_METADATA_DISABLED",
    [ENV_INSTANCE_ENDPOINT] = "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    [ENV_INSTANCE_MODE] = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    [ENV_INSTANCE_TIMEOUT] = "AWS_METADATA_SERVICE_TIMEOUT",
    [ENV_REGION] = "AWS_REGION",
    [ENV_DEFAULT_REGION] = "AWS_DEFAULT_REGION",
    [ENV_STS_ENDPOINT] = "AWS_ENDPOINT_URL_STS",
    [ENV_ENDPOINT] = "AWS_ENDPOINT_URL",
    [ENV_CA_BUNDLE] = "AWS_CA_BUNDLE",
};

typedef struct {
    KvgSource base;
    char *env[N_ENV]; /* NULL: not set, or empty */
    char *credentials_path, *config_path;
    char *profile;
    bool is_chosen;   /* somebody named the profile */
    bool is_argument; /* ... in the call: then the environment's keys do not count */
} Chain;

/* ---- profiles ---- */

typedef struct {
    const Chain *chain;
    const KvgProfiles *profiles;
    const char *visited[MAX_SOURCE_PROFILES];
    unsigned n_visited;
    char *who; /* "AWS profile 'x'" */
} Walk;

static KvgSource *resolve_profile(Walk *walk, const char *name, GError **error);
static KvgSource *resolve_container(const Chain *chain, GError **error);

static KvgSource *
resolve_environment_keys(const Chain *chain)
{
    return kvg_source_static(chain->env[ENV_ACCESS_KEY], chain->env[ENV_SECRET_KEY],
                             chain->env[ENV_TOKEN]);
}

static const char *
endpoint_mode(const Chain *chain)
{
    if (chain->env[ENV_INSTANCE_ENDPOINT] != NULL)
        return chain->env[ENV_INSTANCE_ENDPOINT];
    const char *mode = chain->env[ENV_INSTANCE_MODE];
    return mode != NULL && g_ascii_strcasecmp(mode, "IPv6") == 0 ? "http://[fd00:ec2::254]" : NULL;
}

static KvgSource *
resolve_instance_source(const Chain *chain, const char *looked)
{
    return kvg_source_instance(endpoint_mode(chain), chain->env[ENV_INSTANCE_TIMEOUT], looked);
}

static KvgSource *
resolve_credential_source(const Walk *walk, const char *name, GError **error)
{
    const Chain *chain = walk->chain;
    if (strcmp(name, "Environment") == 0 && chain->env[ENV_ACCESS_KEY] != NULL &&
        chain->env[ENV_SECRET_KEY] != NULL)
        return resolve_environment_keys(chain);
    if (strcmp(name, "Ec2InstanceMetadata") == 0)
        return resolve_instance_source(chain, NULL);
    if (strcmp(name, "EcsContainer") == 0 &&
        (chain->env[ENV_RELATIVE_URI] != NULL || chain->env[ENV_FULL_URI] != NULL))
        return resolve_container(chain, error);
    kvg_fault(error, KVG_ERROR_INVALID, walk->who, "file",
              "use Environment, EcsContainer or Ec2InstanceMetadata where it exists",
              "credential_source %.100s has no keys here", name);
    return NULL;
}

static KvgRole
role_of(const Chain *chain, const char *arn)
{
    const char *const *env = (const char *const *)chain->env;
    return (KvgRole){.arn = arn,
                     .region = env[ENV_REGION] != NULL ? env[ENV_REGION] : env[ENV_DEFAULT_REGION],
                     .endpoint =
                         env[ENV_STS_ENDPOINT] != NULL ? env[ENV_STS_ENDPOINT] : env[ENV_ENDPOINT],
                     .ca_path = env[ENV_CA_BUNDLE]};
}

static KvgSource *
resolve_role(Walk *walk, const char *name, const char *arn, GError **error)
{
    const KvgProfiles *profiles = walk->profiles;
    const char *source_profile = kvg_profiles_get(profiles, name, "source_profile");
    const char *source = kvg_profiles_get(profiles, name, "credential_source");
    KvgRole role = role_of(walk->chain, arn);
    role.session_name = kvg_profiles_get(profiles, name, "role_session_name");
    role.external_id = kvg_profiles_get(profiles, name, "external_id");
    role.duration = kvg_profiles_get(profiles, name, "duration_seconds");
    role.token_file = kvg_profiles_get(profiles, name, "web_identity_token_file");
    if (role.region == NULL)
        role.region = kvg_profiles_get(profiles, name, "region");
    if (kvg_profiles_get(profiles, name, "mfa_serial") != NULL) {
        kvg_fault(error, KVG_ERROR_UNSUPPORTED, walk->who, "role",
                  "put keys of 'aws sts assume-role' into the environment",
                  "it asks for an MFA code, which nobody can type here");
        return NULL;
    }
    if (role.token_file != NULL)
        return kvg_source_role(NULL, &role);
    if (source_profile == NULL && source == NULL) {
        kvg_fault(error, KVG_ERROR_INVALID, walk->who, "file",
                  "add source_profile or credential_source",
                  "it has a role_arn and nothing to assume it with");
        return NULL;
    }
    KvgSource *keys = source_profile != NULL ? resolve_profile(walk, source_profile, error)
                                             : resolve_credential_source(walk, source, error);
    return keys != NULL ? kvg_source_role(keys, &role) : NULL;
}

static KvgSource *
refuse_profile(const Walk *walk, const char *name, GError **error)
{
    if (!kvg_profiles_has(walk->profiles, name))
        kvg_fault(error, KVG_ERROR_AUTH, walk->who, "file",
                  "check the name (aws configure list-profiles)",
                  "profile '%.100s' is neither in %s nor in %s", name,
                  walk->chain->credentials_path, walk->chain->config_path);
    else if (kvg_profiles_get(walk->profiles, name, "credential_process") != NULL ||
             kvg_profiles_get(walk->profiles, name, "sso_session") != NULL ||
             kvg_profiles_get(walk->profiles, name, "sso_start_url") != NULL)
        kvg_fault(error, KVG_ERROR_UNSUPPORTED, walk->who, "file",
                  "eval \"$(aws configure export-credentials --format env)\" and start again",
                  "SSO and credential_process are left to the AWS CLI");
    else
        kvg_fault(error, KVG_ERROR_AUTH, walk->who, "file",
                  "add aws_access_key_id and aws_secret_access_key, or role_arn",
                  "profile '%.100s' has no keys", name);
    return NULL;
}

static KvgSource *
resolve_profile(Walk *walk, const char *name, GError **error)
{
    const char *key = kvg_profiles_get(walk->profiles, name, "aws_access_key_id");
    const char *secret = kvg_profiles_get(walk->profiles, name, "aws_secret_access_key");
    const char *arn = kvg_profiles_get(walk->profiles, name, "role_arn");
    bool was_here = false;
    for (unsigned i = 0; i < walk->n_visited; i++)
        was_here = was_here || strcmp(walk->visited[i], name) == 0;
    /* A role's source may be the same profile's own keys. */
    if (arn != NULL && !was_here) {
        if (walk->n_visited == MAX_SOURCE_PROFILES) {
            kvg_fault(error, KVG_ERROR_INVALID, walk->who, "file", "make the chain shorter",
                      "more than %d source profiles follow each other", MAX_SOURCE_PROFILES);
            return NULL;
        }
        walk->visited[walk->n_visited++] = name;
        return resolve_role(walk, name, arn, error);
    }
    if (key != NULL && secret != NULL)
        return kvg_source_static(key, secret,
                                 kvg_profiles_get(walk->profiles, name, "aws_session_token"));
    if (was_here) {
        kvg_fault(error, KVG_ERROR_INVALID, walk->who, "file", "correct source_profile",
                  "profile '%.100s' is its own source", name);
        return NULL;
    }
    return refuse_profile(walk, name, error);
}

/* ---- container and instance ---- */

static KvgSource *
resolve_container(const Chain *chain, GError **error)
{
    const char *relative = chain->env[ENV_RELATIVE_URI];
    g_autofree char *url = relative != NULL ? g_strconcat("http://169.254.170.2", relative, NULL)
                                            : g_strdup(chain->env[ENV_FULL_URI]);
    return kvg_source_container(url, chain->env[ENV_CONTAINER_TOKEN],
                                chain->env[ENV_CONTAINER_TOKEN_FILE], error);
}

static KvgSource *
resolve_instance(const Chain *chain, const char *looked, GError **error)
{
    const char *disabled = chain->env[ENV_INSTANCE_DISABLED];
    if (disabled == NULL || g_ascii_strcasecmp(disabled, "true") != 0)
        return resolve_instance_source(chain, looked);
    kvg_fault(error, KVG_ERROR_AUTH, "no AWS credentials", "file",
              "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
              "%s, and AWS_EC2_METADATA_DISABLED is true", looked);
    return NULL;
}

/* ---- the chain ---- */

static KvgSource *
resolve_after_environment(const Chain *chain, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(KvgProfiles) profiles =
        kvg_profiles_read(chain->credentials_path, chain->config_path, &cause);
    g_autofree char *who = g_strdup_printf("AWS profile '%.100s'", chain->profile);
    if (profiles == NULL) {
        kvg_fault(error, KVG_ERROR_AUTH, who, "file", "give this user the right to read it", "%s",
                  cause->message);
        return NULL;
    }
    Walk walk = {.chain = chain, .profiles = profiles, .who = who};
    KvgSource *source = resolve_profile(&walk, chain->profile, &cause);
    if (source != NULL)
        return source;
    /* Nobody asked for the default profile: when it has no keys, somebody else may. */
    if (chain->is_chosen || cause->code != KVG_ERROR_AUTH) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    if (chain->env[ENV_RELATIVE_URI] != NULL || chain->env[ENV_FULL_URI] != NULL)
        return resolve_container(chain, error);
    g_autofree char *looked =
        g_strdup_printf("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, there is no "
                        "profile '%s' with keys "
                        "in %s or %s, no container",
                        chain->profile, chain->credentials_path, chain->config_path);
    return resolve_instance(chain, looked, error);
}

KvgSource *
kvg_source_chain_resolve(const KvgSource *source, GError **error)
{
    const Chain *chain = (const Chain *)source;
    const bool has_key = chain->env[ENV_ACCESS_KEY] != NULL;
    const bool has_secret = chain->env[ENV_SECRET_KEY] != NULL;
    if (!chain->is_argument && has_key && has_secret)
        return resolve_environment_keys(chain);
    if (!chain->is_argument && has_key != has_secret) {
        kvg_fault(error, KVG_ERROR_AUTH, "AWS credentials", "environment", "set both or none",
                  "%s is set and %s is not", variables[has_key ? ENV_ACCESS_KEY : ENV_SECRET_KEY],
                  variables[has_key ? ENV_SECRET_KEY : ENV_ACCESS_KEY]);
        return NULL;
    }
    if (!chain->is_argument && chain->env[ENV_WEB_TOKEN_FILE] != NULL &&
        chain->env[ENV_ROLE_ARN] != NULL) {
        KvgRole role = role_of(chain, chain->env[ENV_ROLE_ARN]);
        role.session_name = chain->env[ENV_ROLE_SESSION];
        role.token_file = chain->env[ENV_WEB_TOKEN_FILE];
        return kvg_source_role(NULL, &role);
    }
    return resolve_after_environment(chain, error);
}

static KvgRenewalStep
chain_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    if (attempt->chosen == NULL)
        attempt->chosen = kvg_source_chain_resolve(source, error);
    return attempt->chosen != NULL ? attempt->chosen->class->step(attempt->chosen, attempt, error)
                                   : KVG_RENEWAL_FAILED;
}

static uint64_t
chain_stamp(const KvgSource *source)
{
    const Chain *chain = (const Chain *)source;
    return kvg_file_stamp(chain->credentials_path) * 31 + kvg_file_stamp(chain->config_path);
}

static void
chain_free(KvgSource *source)
{
    Chain *chain = (Chain *)source;
    for (unsigned i = 0; i < N_ENV; i++)
        kvg_secret_free(chain->env[i]);
    g_free(chain->credentials_path);
    g_free(chain->config_path);
    g_free(chain->profile);
    g_free(chain);
}

static char *
file_path(const char *given, const char *name)
{
    return given != NULL ? g_strdup(given) : g_build_filename(g_get_home_dir(), ".aws", name, NULL);
}

KvgSource *
kvg_source_chain(const char *profile)
{
    static const KvgSourceClass class = {
        .step = chain_step, .stamp = chain_stamp, .free = chain_free};
    Chain *chain = g_new0(Chain, 1);
    chain->base.class = &class;
    for (unsigned i = 0; i < N_ENV; i++) {
        const char *value = g_getenv(variables[i]);
        chain->env[i] = value != NULL && value[0] != '\0' ? g_strdup(value) : NULL;
    }
    const char *named = profile != NULL ? profile : chain->env[ENV_PROFILE];
    chain->is_argument = profile != NULL;
    chain->is_chosen = named != NULL;
    chain->profile = g_strdup(named != NULL ? named : "default");
    chain->credentials_path = file_path(chain->env[ENV_CREDENTIALS_FILE], "credentials");
    chain->config_path = file_path(chain->env[ENV_CONFIG_FILE], "config");
    return &chain->base;
}

char *
kvg_source_chain_identity(const KvgSource *source)
{
    const Chain *chain = (const Chain *)source;
    GString *all = g_string_new(chain->profile);
    for (unsigned i = 0; i < N_ENV; i++)
        g_string_append_printf(all, "\n%s", chain->env[i] != NULL ? chain->env[i] : "");
    g_string_append_printf(all, "\n%s\n%s\n%d", chain->credentials_path, chain->config_path,
                           chain->is_argument);
    char *identity = kvg_sigv4_sha256_hex(all->str, all->len);
    explicit_bzero(all->str, all->len);
    g_string_free(all, TRUE);
    return identity;
}
