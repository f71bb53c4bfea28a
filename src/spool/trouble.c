/* What went wrong with a place, in words, counted, and said once until it changes. */
#include "os/log.h"
#include "spool/private.h"
#include <errno.h>
#include <kvg/error.h>
#include <string.h>

#define SILENT_US (10 * G_USEC_PER_SEC)

static const char *const place_names[KVG_SPOOL_N_PLACES] = {
    [KVG_SPOOL_IN_MEMORY] = "memory", [KVG_SPOOL_ON_DISK] = "disk"};

const char *
kvg_spool_tier_to_string(KvgSpoolTier tier)
{
    switch (tier) {
    case KVG_SPOOL_TIER_AUTO:
        return "auto";
    case KVG_SPOOL_TIER_DISK:
        return "disk";
    case KVG_SPOOL_TIER_MEMORY:
        return "memory";
    }
    return "unknown";
}

bool
kvg_spool_tier_from_string(const char *text, KvgSpoolTier *tier)
{
    for (KvgSpoolTier t = KVG_SPOOL_TIER_AUTO; t <= KVG_SPOOL_TIER_MEMORY; t++) {
        if (strcmp(text, kvg_spool_tier_to_string(t)) == 0) {
            *tier = t;
            return true;
        }
    }
    return false;
}

const char *
kvg_spool_trouble_to_string(KvgSpoolTrouble trouble)
{
    static const char *const names[KVG_SPOOL_N_TROUBLES] = {
        [KVG_SPOOL_FINE] = "fine",
        [KVG_SPOOL_FULL] = "full",
        [KVG_SPOOL_READ_ONLY] = "read-only",
        [KVG_SPOOL_VANISHED] = "folder vanished",
        [KVG_SPOOL_WRITE_FAILED] = "write failed",
        [KVG_SPOOL_SYNC_FAILED] = "sync failed",
    };
    return trouble < KVG_SPOOL_N_TROUBLES ? names[trouble] : "unknown";
}

const char *
kvg_spool_describe_trouble(const KvgSpoolStats *stats)
{
    static const char *const texts[KVG_SPOOL_N_PLACES][KVG_SPOOL_N_TROUBLES] = {
        {NULL, "memory: full", "memory: read-only", "memory: folder vanished",
         "memory: write failed", "memory: sync failed"},
        {NULL, "disk: full", "disk: read-only", "disk: folder vanished", "disk: write failed",
         "disk: sync failed"},
    };
    for (KvgSpoolPlace place = KVG_SPOOL_N_PLACES; place > 0; place--) {
        const char *text = texts[place - 1][stats->trouble[place - 1]];
        if (text != NULL)
            return text;
    }
    return NULL;
}

bool
kvg_spool_fail(GError **error, int code, const char *path, const char *what)
{
    const bool is_full = kvg_spool_judge(code) == KVG_SPOOL_FULL;
    g_set_error(error, KVG_ERROR, is_full ? KVG_ERROR_NO_SPACE : KVG_ERROR_FAILED,
                "cannot %s %s: %s", what, path, g_strerror(code));
    return false;
}

KvgSpoolTrouble
kvg_spool_judge(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* a limit on the size of files, set for the process */
        return KVG_SPOOL_FULL;
    case EROFS:
    case EACCES:
    case EPERM:
        return KVG_SPOOL_READ_ONLY;
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
        return KVG_SPOOL_VANISHED;
    default:
        return KVG_SPOOL_WRITE_FAILED;
    }
}

void
kvg_spool_note_trouble(KvgSpool *spool, KvgSpoolPlace place, KvgSpoolTrouble trouble, int code)
{
    pthread_mutex_lock(&spool->lock);
    const bool is_new = spool->shared.trouble[place] != trouble;
    spool->shared.trouble[place] = trouble;
    spool->shared.failures[trouble]++;
    pthread_mutex_unlock(&spool->lock);
    if (is_new)
        KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name, "spool %s: %s: %s (%s)", spool->name,
                        place_names[place], kvg_spool_trouble_to_string(trouble), g_strerror(code));
}

void
kvg_spool_clear_trouble(KvgSpool *spool, KvgSpoolPlace place, bool is_sync)
{
    pthread_mutex_lock(&spool->lock);
    const KvgSpoolTrouble before = spool->shared.trouble[place];
    const bool is_over = before != KVG_SPOOL_FINE && (is_sync || before != KVG_SPOOL_SYNC_FAILED);
    if (is_over)
        spool->shared.trouble[place] = KVG_SPOOL_FINE;
    pthread_mutex_unlock(&spool->lock);
    if (is_over)
        KVG_LOG_MESSAGE(KVG_SPOOL_LOG, "SPOOL", spool->name, "spool %s: %s works again, was: %s",
                        spool->name, place_names[place], kvg_spool_trouble_to_string(before));
}

/* A full spool evicts all the time: one line now and then, with how many. */
void
kvg_spool_say_evicted(KvgSpool *spool, uint64_t n, const char *why)
{
    if (n == 0)
        return;
    const int64_t now_us = spool->system->mono_us();
    pthread_mutex_lock(&spool->lock);
    spool->shared.evicted_unsaid += n;
    const uint64_t unsaid = spool->shared.evicted_unsaid;
    const bool is_silent = now_us < spool->shared.silent_until_us;
    if (!is_silent) {
        spool->shared.evicted_unsaid = 0;
        spool->shared.silent_until_us = now_us + SILENT_US;
    }
    pthread_mutex_unlock(&spool->lock);
    if (!is_silent)
        KVG_LOG_WARNING(KVG_SPOOL_LOG, "SPOOL", spool->name,
                        "spool %s: the oldest %" G_GUINT64_FORMAT " fragments are lost: %s",
                        spool->name, unsaid, why);
}
