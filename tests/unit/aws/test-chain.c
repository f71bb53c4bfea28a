/* Where keys come from and in which order, with a container's agent, instance metadata and STS
 * played by a service on loopback; and what each of them does wrong. */
#include "aws/profile.h"
#include "aws/source.h"
#include "lab.h"
#include <glib/gstdio.h>
#include <kvg/error.h>
#include <string.h>

#define SECRET "SECRETsecretSECRETsecretSECRETsecretSECR"
#define TOKEN "TOKENtokenTOKENtoken"

static void
put(const Lab *lab, const char *name, const char *text)
{
    g_free(lab_write(lab, name, text));
}

/* The access key of the default chain, or the text of its error. No error ever holds a secret. */
static char *
outcome(const char *profile)
{
    g_autoptr(GError) error = NULL;
    g_auto(KvgKeys) keys = {0};
    g_autoptr(KvgCredentials) credentials = kvg_credentials_new_default(profile, &error);
    if (credentials != NULL && kvg_credentials_get(credentials, &keys, &error)) {
        g_assert_no_error(error);
        return g_strdup(keys.access_key);
    }
    g_assert_nonnull(error);
    g_assert_true(error->domain == KVG_ERROR);
    g_assert_null(strstr(error->message, "SECRETsecret"));
    g_assert_null(strstr(error->message, "TOKENtoken"));
    return g_strdup(error->message);
}

static void
assert_outcome(const char *profile, const char *expected)
{
    g_autofree char *found = outcome(profile);
    if (strstr(found, expected) == NULL)
        g_error("'%s' expected in: %s", expected, found);
}

static void
test_profile_file(void)
{
    g_autoptr(Lab) lab = lab_new();
    put(lab, "credentials",
        "; a comment\r\n[default]\r\naws_access_key_id = AKIDDEFAULT\r\n"
        "AWS_SECRET_ACCESS_KEY=a=b # why\r\n\r\n[two]\naws_access_key_id=FROMCREDENTIALS\n"
        "garbage without equals\n[open\nx=1\n");
    put(lab, "config",
        "[profile two]\naws_access_key_id = FROMCONFIG\nregion = eu-west-1\ns3 =\n"
        "  aws_secret_access_key = NESTED\n[two]\nregion = ignored\n[sso-session my]\n"
        "region=x\n[profile  spaced ]\nregion = eu-north-1\n[default]\nregion = us-west-2\n");
    g_autoptr(GError) error = NULL;
    g_autofree char *credentials = lab_path(lab, "credentials");
    g_autofree char *config = lab_path(lab, "config");
    g_autoptr(KvgProfiles) profiles = kvg_profiles_read(credentials, config, &error);
    g_assert_no_error(error);
    static const struct {
        const char *profile, *key, *value;
    } cases[] = {
        {"default", "aws_access_key_id", "AKIDDEFAULT"},
        {"default", "aws_secret_access_key", "a=b"},
        {"default", "region", "us-west-2"},
        {"two", "aws_access_key_id", "FROMCREDENTIALS"},
        {"two", "region", "eu-west-1"},
        {"two", "aws_secret_access_key", NULL},
        {"two", "s3", NULL},
        {"spaced", "region", "eu-north-1"},
        {"my", "region", NULL},
        {"three", "region", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpstr(kvg_profiles_get(profiles, cases[i].profile, cases[i].key), ==,
                        cases[i].value);
    g_assert_true(kvg_profiles_has(profiles, "spaced"));
    g_assert_false(kvg_profiles_has(profiles, "my"));
    g_assert_false(kvg_profiles_has(profiles, "open"));
}

/* Each row adds to what is there before it; what it gives must win over all of that. */
static void
test_precedence(void)
{
    g_autoptr(Lab) lab = lab_new();
    lab_serve(lab, NULL, NULL);
    g_autofree char *expires = lab_time(3600);
    assert_outcome(NULL, "AWS_EC2_METADATA_DISABLED");

    lab_answer(lab, "/latest/api/token", 200, "IMDSTOKEN");
    lab_answer(lab, "/latest/meta-data/iam/security-credentials/", 200, "camera-role\n");
    lab_answer(
        lab, "/latest/meta-data/iam/security-credentials/camera-role", 200,
        "{\"Code\":\"Success\",\"AccessKeyId\":\"FROMINSTANCE\",\"SecretAccessKey\":\"" SECRET
        "\",\"Token\":\"" TOKEN "\",\"Expiration\":\"%s\"}",
        expires);
    lab_answer(lab, "/container", 200,
               "{\"RoleArn\":\"x\",\"AccessKeyId\":\"FROMCONTAINER\",\"SecretAccessKey\":\"" SECRET
               "\",\"Token\":\"" TOKEN "\",\"Expiration\":\"%s\"}",
               expires);
    g_unsetenv("AWS_EC2_METADATA_DISABLED");
    lab_setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:%u/", lab->port);
    lab_setenv("http_proxy", "http://127.0.0.1:9"); /* neither goes through a proxy */
    assert_outcome(NULL, "FROMINSTANCE");
    g_assert_nonnull(
        strstr(lab->log->str, "PUT /latest/api/token x-aws-ec2-metadata-token-ttl-seconds="));
    g_assert_nonnull(strstr(lab->log->str, "camera-role x-aws-ec2-metadata-token=IMDSTOKEN"));

    lab_setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:%u/container", lab->port);
    lab_setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "CONTAINER" TOKEN);
    assert_outcome(NULL, "FROMCONTAINER");
    g_assert_nonnull(strstr(lab->log->str, "GET /container authorization=CONTAINER" TOKEN "\n"));
    g_autofree char *token = lab_write(lab, "token", "FILETOKEN\n");
    lab_setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s", token);
    assert_outcome(NULL, "FROMCONTAINER");
    g_assert_nonnull(strstr(lab->log->str, "GET /container authorization=FILETOKEN\n"));

    put(lab, "config",
        "[default]\naws_access_key_id=FROMCONFIG\naws_secret_access_key=" SECRET "\n"
        "[profile other]\naws_access_key_id=FROMOTHER\naws_secret_access_key=" SECRET "\n");
    assert_outcome(NULL, "FROMCONFIG");
    put(lab, "credentials",
        "[default]\naws_access_key_id=FROMFILE\naws_secret_access_key=" SECRET "\n");
    assert_outcome(NULL, "FROMFILE");
    lab_setenv("AWS_PROFILE", "other");
    assert_outcome(NULL, "FROMOTHER");
    lab_setenv("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT");
    assert_outcome(NULL, "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not");
    lab_setenv("AWS_SECRET_ACCESS_KEY", SECRET);
    assert_outcome(NULL, "FROMENVIRONMENT");
    assert_outcome("default", "FROMFILE");
    assert_outcome("other", "FROMOTHER");
    assert_outcome("nobody", "profile 'nobody' is neither in");
}

static void
test_profile_faults(void)
{
    g_autoptr(Lab) lab = lab_new();
    put(lab, "config",
        "[profile empty]\nregion=eu-west-1\n[profile half]\naws_secret_access_key=" SECRET "\n"
        "[profile sso]\nsso_session=my\n[profile process]\ncredential_process=/bin/echo " SECRET
        "\n"
        "[profile loop1]\nrole_arn=arn:1\nsource_profile=loop2\n"
        "[profile loop2]\nrole_arn=arn:2\nsource_profile=loop1\n"
        "[profile mfa]\nrole_arn=arn:3\nmfa_serial=x\nsource_profile=half\n"
        "[profile lonely]\nrole_arn=arn:4\n[profile src]\nrole_arn=arn:5\ncredential_source=Moon\n"
        "[profile gone]\nrole_arn=arn:6\nsource_profile=nowhere\n");
    static const char *const cases[][2] = {
        {"empty", "profile 'empty' has no keys; add aws_access_key_id"},
        {"half", "profile 'half' has no keys"},
        {"sso", "aws configure export-credentials"},
        {"process", "aws configure export-credentials"},
        {"loop1", "profile 'loop1' is its own source"},
        {"mfa", "MFA"},
        {"lonely", "nothing to assume it with"},
        {"src", "credential_source Moon"},
        {"gone", "profile 'nowhere' is neither in"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_outcome(cases[i][0], cases[i][1]);
    g_autofree char *large = g_malloc0(1100000);
    memset(large, 'x', 1099999);
    put(lab, "credentials", large);
    assert_outcome(NULL, "larger than");
}

/* The role's call is signed with the source's keys; the answer's keys are the outcome. */
static void
test_role(void)
{
    g_autoptr(Lab) lab = lab_new();
    lab_serve(lab, NULL, NULL);
    g_autofree char *expires = lab_time(3600);
    lab_answer(
        lab, "/", 200,
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>FROMROLE</AccessKeyId>"
        "<SecretAccessKey>" SECRET "</SecretAccessKey><SessionToken>" TOKEN
        "</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult>"
        "</AssumeRoleResponse>",
        expires);
    put(lab, "config",
        "[profile base]\naws_access_key_id=BASEKEY\naws_secret_access_key=" SECRET "\n"
        "[profile role]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=base\n"
        "external_id=a b\nduration_seconds=900\nrole_session_name=me\nregion=eu-west-1\n"
        "[profile own]\nrole_arn=arn:aws:iam::1:role/own\nsource_profile=own\n"
        "aws_access_key_id=OWNKEY\naws_secret_access_key=" SECRET "\n"
        "[profile two]\nrole_arn=arn:aws:iam::1:role/two\nsource_profile=role\n");
    lab_setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:%u", lab->port);
    assert_outcome("role", "FROMROLE");
    g_assert_nonnull(strstr(lab->log->str, "Credential=BASEKEY/"));
    g_assert_nonnull(strstr(lab->log->str, "/eu-west-1/sts/aws4_request"));
    g_assert_nonnull(strstr(lab->log->str,
                            "&Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
                            "&RoleSessionName=me&ExternalId=a%20b&DurationSeconds=900"));
    assert_outcome("own", "FROMROLE");
    g_assert_nonnull(strstr(lab->log->str, "Credential=OWNKEY/"));
    assert_outcome("two", "FROMROLE"); /* a role by a role */
    g_assert_nonnull(strstr(lab->log->str, "Credential=FROMROLE/"));

    lab_forget(lab);
    lab_answer(lab, "/", 200,
               "<a><AccessKeyId>FROMWEB</AccessKeyId><SecretAccessKey>" SECRET
               "</SecretAccessKey><SessionToken>" TOKEN
               "</SessionToken><Expiration>%s</Expiration></a>",
               expires);
    g_autofree char *token = lab_write(lab, "web", "WEBTOKEN\n");
    lab_setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "%s", token);
    lab_setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/web");
    assert_outcome(NULL, "FROMWEB");
    g_assert_nonnull(strstr(lab->log->str, "WebIdentityToken=WEBTOKEN"));
    g_assert_null(strstr(lab->log->str, "authorization="));

    lab_forget(lab);
    lab_answer(lab, "/", 403,
               "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: x is not authorized"
               "</Message></Error></ErrorResponse>");
    assert_outcome("role", "role arn:aws:iam::1:role/r: role: ");
    assert_outcome("role", "not authorized");
    lab_forget(lab);
    lab_answer(lab, "/", 200, "<a></a>");
    assert_outcome("role", "no keys could be found");
}

static void
test_container_faults(void)
{
    static const struct {
        const char *url, *part;
    } urls[] = {
        {"http://192.0.2.1/x", "192.0.2.1 of AWS_CONTAINER_CREDENTIALS_FULL_URI is not asked"},
        {"http://169.254.169.254/x", "is not asked"},
        {"http://127.0.0.1.example.invalid/x", "is not asked"},
        {"http://user:pw@127.0.0.1/x", "is not asked"},
        {"ftp://127.0.0.1/x", "is not asked"},
        {"nonsense", "is not asked"},
    };
    g_autoptr(Lab) lab = lab_new();
    for (size_t i = 0; i < G_N_ELEMENTS(urls); i++) {
        lab_setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "%s", urls[i].url);
        assert_outcome(NULL, urls[i].part);
    }
    static const char *const good[] = {"https://keys.example.invalid/x",
                                       "http://127.9.9.9/x",
                                       "http://169.254.170.2/x",
                                       "http://169.254.170.23/x",
                                       "http://[::1]:80/x",
                                       "http://[fd00:ec2::23]/x",
                                       "http://localhost/x"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(KvgSource) source = kvg_source_container(good[i], NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_nonnull(source);
    }
    lab_setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x");
    assert_outcome(NULL, ": TCP: ");
    g_autofree char *token = lab_write(lab, "token", TOKEN "\r\n" TOKEN ": x\n");
    lab_setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s", token);
    assert_outcome(NULL, "not one line of text");
    lab_setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s/nowhere", lab->folder);
    assert_outcome(NULL, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
}

/* The answers of a service that is broken, hostile, or another one. */
static void
test_bad_answers(void)
{
    g_autoptr(Lab) lab = lab_new();
    lab_serve(lab, NULL, NULL);
    lab_setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:%u/container", lab->port);
    g_autofree char *future = lab_time(3600);
    g_autofree char *past = lab_time(-60);
    g_autofree char *huge = g_strnfill(200000, 'x');
    const struct {
        int status;
        const char *secret, *expires, *part;
    } cases[] = {
        {200, SECRET, past, "expired already"},
        {200, SECRET, "yesterday", "no keys could be found"},
        {200, "SECRET\\r\\nX-Injected: 1", future, "no keys could be found"},
        {200, "", future, "no keys could be found"},
        {200, huge, future, "larger than 65536 bytes"},
        {500, SECRET, future, "service: HTTP 500"},
        {429, SECRET, future, "service: HTTP 429"},
        {403, SECRET, future, "role: HTTP 403"},
        {302, SECRET, future, "role: HTTP 302"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        lab_forget(lab);
        lab_answer(lab, "/container", cases[i].status,
                   "{\"AccessKeyId\":\"KEY\",\"SecretAccessKey\":\"%s\",\"Token\":\"" TOKEN
                   "\",\"Expiration\":\"%s\"}",
                   cases[i].secret, cases[i].expires);
        lab->answers[0].location = cases[i].status == 302 ? "/elsewhere" : NULL;
        assert_outcome(NULL, cases[i].part);
        g_assert_cmpuint(lab->n_requests, ==, 1); /* no redirect is followed */
    }
    static const char *const garbage[] = {"", "null", "[]", "{\"AccessKeyId\":1}",
                                          "\xff\xfe<html>"};
    for (size_t i = 0; i < G_N_ELEMENTS(garbage); i++) {
        lab_forget(lab);
        lab_answer(lab, "/container", 200, "%s", garbage[i]);
        assert_outcome(NULL, "no keys could be found");
    }
    lab_forget(lab);
    lab_answer(lab, "/container", 200, "{}");
    lab->answers[0].delay_ms = 2500;
    assert_outcome(NULL, ": TCP: ");
}

static void
test_instance_faults(void)
{
    g_autoptr(Lab) lab = lab_new();
    lab_serve(lab, NULL, NULL);
    g_unsetenv("AWS_EC2_METADATA_DISABLED");
    lab_setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:%u", lab->port);
    lab_answer(lab, "/latest/api/token", 403, "x");
    assert_outcome(NULL, "instance metadata is disabled");
    lab_forget(lab);
    lab_answer(lab, "/latest/api/token", 200, "two\x01words");
    assert_outcome(NULL, "the token could not be understood");
    lab_forget(lab);
    lab_answer(lab, "/latest/api/token", 200, "IMDSTOKEN");
    assert_outcome(NULL, "the instance has no role");
    lab_answer(lab, "/latest/meta-data/iam/security-credentials/", 200, "../../etc\nsecond");
    assert_outcome(NULL, "no keys could be found"); /* asked for as one escaped name */
    g_assert_nonnull(strstr(lab->log->str, "/security-credentials/..%2F..%2Fetc "));
    lab_answer(lab, "/latest/meta-data/iam/security-credentials/", 200, "\n");
    assert_outcome(NULL, "the role's name could not be understood");
    lab_answer(lab, "/latest/meta-data/iam/security-credentials/", 503, "x");
    assert_outcome(NULL, "service: HTTP 503");
    lab_forget(lab);
    lab_answer(lab, "/latest/api/token", 200, "IMDSTOKEN");
    lab->answers[0].delay_ms = 1500;
    lab_setenv("AWS_METADATA_SERVICE_TIMEOUT", "1");
    assert_outcome(NULL, "this is no EC2 instance (Operation timed out");
    lab_setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    assert_outcome(NULL, "no AWS credentials: file: AWS_ACCESS_KEY_ID");
    assert_outcome(NULL, "this is no EC2 instance");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aws/profile/file", test_profile_file);
    g_test_add_func("/aws/chain/precedence", test_precedence);
    g_test_add_func("/aws/chain/profile-faults", test_profile_faults);
    g_test_add_func("/aws/chain/role", test_role);
    g_test_add_func("/aws/chain/container-faults", test_container_faults);
    g_test_add_func("/aws/chain/bad-answers", test_bad_answers);
    g_test_add_func("/aws/chain/instance-faults", test_instance_faults);
    return g_test_run();
}
