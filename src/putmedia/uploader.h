/* The uploader: one thread and one curl_multi for all streams. Each stream owns at most two
 * PutMedia transfers, fed from its spool, and one control-plane call at a time. Hides: curl,
 * threads, signing. What to do when is decided in session.c. */
#pragma once

#include "putmedia/session.h"
#include "spool/spool.h"
#include <kvg/credentials.h>

typedef struct _KvgUploader KvgUploader;
typedef struct _KvgUpload KvgUpload;

/* All strings are copied. */
typedef struct {
    const char *region;     /* required */
    const char *base_url;   /* required: control plane, no trailing slash */
    const char *ca_path;    /* NULL: the system's store */
    const char *user_agent; /* required */
    uint64_t backlog_bps;   /* for the backlog of all streams; 0: no limit */
} KvgUploaderOptions;

/* Starts the thread. */
KvgUploader *kvg_uploader_start(const KvgUploaderOptions *options, GError **error);
/* Joins the thread; every upload must have been removed. NULL is fine. */
void kvg_uploader_stop(KvgUploader *uploader);

typedef struct {
    const char *name;            /* required: stream name */
    KvgCredentials *credentials; /* required; a reference is kept */
    KvgSpool *spool;             /* required; outlives the upload, which is its only reader */
    bool create;
    uint32_t retention_hours;
    const char *media_type; /* required when @create */
    uint32_t gather_us;
    bool live_first;
    bool holds;
    uint64_t backlog_bps;       /* 0: no limit */
    int64_t stale_us, pause_us; /* 0: as session.h says */
    /* On the uploader thread at each change of state or reason; NULL for none. */
    void (*on_state)(KvgSessionState state, const char *reason, void *user_data);
    /* On the uploader thread when the cursor moved over @fragment; NULL for none. */
    void (*on_persisted)(uint64_t fragment, void *user_data);
    /* On the uploader thread for each acknowledgement as it came; NULL for none. */
    void (*on_ack)(const KvgAck *ack, void *user_data);
    void *user_data;
} KvgUploadOptions;

/* Begins to upload what is in the spool. */
KvgUpload *kvg_uploader_add(KvgUploader *uploader, const KvgUploadOptions *options);
/* The spool has something new. Cheap; takes a lock only if the uploader is not awake yet.
 * Thread: any. */
void kvg_upload_wake(KvgUpload *upload);
/* The camera has delivered @bytes more: the limit of the backlog does not count them. Thread: any.
 */
void kvg_upload_note_put(KvgUpload *upload, size_t bytes);
/* Sends what there is and waits at most @timeout_ms until all of it is persisted: true. */
bool kvg_upload_flush(KvgUpload *upload, int64_t timeout_ms);
/* Stops and frees; does not wait for the network. No callback comes after it returns. NULL is fine.
 */
void kvg_upload_remove(KvgUpload *upload);

typedef struct {
    KvgSessionState state;
    char reason[512];
    KvgSessionCounts counts;
    uint64_t bytes_sent;
    int64_t credentials_expire_wall_ms;
    int64_t clock_offset_ms;
    int64_t first_persisted_mono_us, last_persisted_mono_us;
} KvgUploadStats;
/* Thread: any. */
void kvg_upload_get_stats(KvgUpload *upload, KvgUploadStats *stats);
