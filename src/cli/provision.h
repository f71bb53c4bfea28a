/* What kvg provision, its --rotate, and kvg destroy share: the run with its services, ledger and
 * progress, and the calls. Hides retries, throttling and the lag of the services behind themselves.
 * Steps for one camera run in several threads at once. */
#pragma once

#include "aws/client.h"
#include "base/json.h"
#include "cli/ledger.h"
#include "cli/target.h"

#define KVG_ROLE_POLICY_NAME "kvg-camera"
#define KVG_RUN_MAX_JOBS 64
#define KVG_PROOF_MS 120000 /* policies take some minutes to act everywhere, mostly seconds */

typedef struct {
    KvgTarget target;
    KvgLedger *ledger;
    char *account, *role_arn;
    bool plans;           /* look only: no call that changes anything, no file */
    bool aws_keys;        /* the service makes key pairs */
    const char *key_type; /* "ec" or "rsa" */
    int jobs;
    struct {
        GMutex lock;
        json_t *changes; /* [{"change", "kind", "name", "camera", "detail"}] */
        json_t *orphans; /* certificates of this account that may be ours; NULL: not asked yet */
        GError *error;   /* of the first camera that failed */
        unsigned n_failed;
    } shared;
    /* progress; under its own lock, for it writes to a terminal */
    struct {
        GMutex lock;
        unsigned n_done, n_all;
        bool is_bar; /* on a terminal: one line that is redrawn */
        bool is_drawn;
    } progress;
} KvgRun;

void kvg_run_init(KvgRun *run);
void kvg_run_clear(KvgRun *run);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgRun, kvg_run_clear)
/* Configuration, credentials, ledger, account. */
bool kvg_run_open(KvgRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
const char *kvg_run_region(const KvgRun *run);
/* A line for people, on stderr. */
void kvg_run_say(KvgRun *run, const char *format, ...) G_GNUC_PRINTF(2, 3);

typedef enum { KVG_CHANGE_CREATE, KVG_CHANGE_UPDATE, KVG_CHANGE_DELETE } KvgChange;
/* Notes that something is due (and says so). True: it is to be done now; false: this run only
 * plans. @camera, @detail: NULL. */
bool kvg_run_change(KvgRun *run,
                    KvgChange change,
                    const char *kind,
                    const char *name,
                    const char *camera,
                    const char *detail);

/* One camera of a crew's work. The error is told with the camera's name. */
typedef bool (*KvgCameraStep)(KvgRun *run, const char *camera, GError **error);
/* Runs @step for all @cameras, run->jobs at a time; goes on with the others if one fails. @verb:
 * "provisioned". False: one has failed; @error says which and why, and how many more. */
bool kvg_run_crew(KvgRun *run,
                  const char *const *cameras,
                  const char *verb,
                  KvgCameraStep step,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ---- calls ---- */

typedef struct {
    const char *service, *method, *path, *query, *content_type, *body, *principal;
    const char *base_url; /* NULL: the target's for the service */
    /* Parts of the type or text of an error: as good as success, or worth another try because what
     * the call names was made or taken apart a moment ago. NULL */
    const char *accepts, *waits_for[2];
} KvgCall;

/* JSON in (taken; NULL: none) and out: {} if the answer is empty, NULL on failure. *@accepted: the
 * error of `accepts` was met; may be NULL. */
json_t *kvg_call_json(KvgRun *run, KvgCall call, json_t *body, bool *accepted, GError **error);
/* IAM and STS: the text of element @element, "" if there is none (g_free). @form:
 * name, value, name, value, ... NULL after "Action". */
char *kvg_call_query(KvgRun *run,
                     const char *service,
                     const char *const *form,
                     const char *element,
                     const char *accepts,
                     bool *accepted,
                     GError **error);
/* "/things/%s" with @name escaped (g_free) */
char *kvg_call_path(const char *format, const char *name);
/* "arn:aws:iot:REGION:ACCOUNT:KIND/NAME" (g_free) */
char *kvg_run_iot_arn(const KvgRun *run, const char *kind, const char *name);
/* The endpoint of @type, "iot:CredentialProvider" (g_free) */
char *kvg_call_endpoint(KvgRun *run, const char *type, GError **error);

/* ---- steps ---- */

/* Role, policies, alias, group, endpoint. */
bool kvg_provision_shared(KvgRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool
kvg_provision_camera(KvgRun *run, const char *camera, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The new certificate beside the old one, proof, the change, the end of the old one. */
bool kvg_rotate_camera(KvgRun *run, const char *camera, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Fleet provisioning: certificates for the cameras that have none, over MQTT, with the certificate
 * and key of a claim and a template that takes ThingName. Needs no operator's credentials. */
typedef struct {
    char *certificate, *key, *template_name;
} KvgClaim;
bool kvg_claim_cameras(KvgRun *run,
                       const KvgClaim *claim,
                       const char *const *cameras,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The tags of the configuration as [{"Key", "Value"}]. */
json_t *kvg_provision_tags(const KvgRun *run);

/* ---- certificates ---- */

/* A certificate for the key at @key_path (made if absent), written to @certificate_path; its id is
 * kept in the ledger as @slot "_id". Goes on where a killed run stopped, also when the certificate
 * was made and its id got lost. */
bool kvg_certificate_make(KvgRun *run,
                          const char *camera,
                          const char *slot,
                          const char *key_path,
                          const char *certificate_path,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Policy and thing. */
bool kvg_certificate_attach(KvgRun *run, const char *camera, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* *@status: "ACTIVE" ... (g_free), NULL if the certificate is unknown to the service. */
bool kvg_certificate_status(KvgRun *run, const char *id, char **status, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* Keys from the credentials provider for this certificate: it is known, active, attached to the
 * thing, and its policy, alias and role are in force. Waits for what is new to be known. */
bool kvg_certificate_prove(KvgRun *run,
                           const char *camera,
                           const char *certificate,
                           const char *key,
                           int64_t patience_ms,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Detached from all, inactive, deleted; each as far as it is not done. */
bool kvg_certificate_delete(KvgRun *run, const char *camera, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/* All of a camera's that were replaced. */
bool kvg_certificate_delete_retired(KvgRun *run,
                                    const char *camera,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
