/* One camera's chain from its files to its video, link by link, with the camera's own certificate:
 * what works, what is the first that does not, and what to do. */
#pragma once

#include "base/json.h"
#include "cli/target.h"

typedef struct {
    const KvgTarget *target; /* its configuration is read; its credentials are not used */
    const KvgConfigCamera *camera;
    char *endpoint, *mqtt_endpoint; /* as the agent finds them; NULL */
    KvgCredentials *credentials;    /* of the camera; NULL before its files are judged */
    json_t *links;                  /* [{"link", "state", "evidence", "remedy"}] in order */
} KvgPatient;

void kvg_patient_clear(KvgPatient *patient);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgPatient, kvg_patient_clear)

/* Walks the chain to its end or its first broken link; true: nothing is broken. */
bool kvg_patient_examine(KvgPatient *patient);

/* ---- for the parts of the walk ---- */

/* Like the agent's: of the configuration (or an option), never of an operator's environment. */
const char *kvg_patient_ca(const KvgPatient *patient);

/* Each returns whether the link is good. */
bool kvg_patient_good(KvgPatient *patient, const char *link, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
bool kvg_patient_broken(KvgPatient *patient,
                        const char *link,
                        const char *remedy,
                        const char *format,
                        ...) G_GNUC_PRINTF(4, 5);
/* Not to be told, and no fault: "no video yet". True. */
bool kvg_patient_open(KvgPatient *patient, const char *link, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* The connection of the agent's control. */
bool kvg_patient_mqtt(KvgPatient *patient);
