#include "panorama/status.h"
#include <string.h>

const char *
kvg_panorama_node_status(const json_t *report)
{
    static const struct {
        const char *state, *status;
    } words[] = {{"live", "RUNNING"},     {"off", "PAUSED"},    {"waiting", "PAUSED"},
                 {"stalled", "ERROR"},    {"backoff", "ERROR"}, {"failed", "ERROR"},
                 {"quarantined", "ERROR"}};
    const char *state = kvg_json_get_string(report, "state");
    for (size_t i = 0; state != NULL && i < G_N_ELEMENTS(words); i++) {
        if (strcmp(words[i].state, state) == 0)
            return words[i].status;
    }
    return "NOT_AVAILABLE";
}

const char *
kvg_panorama_health(const char *const *statuses, size_t n)
{
    const char *health = "RUNNING";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(statuses[i], "ERROR") == 0)
            return "ERROR";
        if (strcmp(statuses[i], "NOT_AVAILABLE") == 0)
            health = "NOT_AVAILABLE";
    }
    return n > 0 ? health : "NOT_AVAILABLE";
}

bool
kvg_panorama_signal_parse(const char *word, bool *streaming)
{
    *streaming = strcmp(word, "RESUME") == 0;
    return *streaming || strcmp(word, "PAUSE") == 0;
}
