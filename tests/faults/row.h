/* One row of the fault suite: a camera, what happens to its network, and what must come of it. */
#pragma once

#include "camera.h"
#include "proxy.h"

typedef enum {
    ROW_SET,        /* the faults, until the next step */
    ROW_CUT,        /* and RST to all connections */
    ROW_EXPIRE_KEY, /* the access key in use has expired */
    ROW_DELETE,     /* DeleteStream */
    ROW_RESTART,    /* libkvg is closed at once and opened again */
} RowAct;

typedef struct {
    int64_t at_ms; /* since the first frame */
    KvgFaults faults;
    RowAct act;
    bool on_credentials; /* of the credentials endpoint, not of the service */
} RowStep;

typedef enum {
    ROW_KEYS_ADMIN,
    ROW_KEYS_WRONG_SECRET,
    ROW_KEYS_UNKNOWN,
    ROW_KEYS_IOT,     /* by the camera's certificate */
    ROW_KEYS_NO_FILE, /* IoT: the certificate's file is not there */
    ROW_KEYS_FOREIGN, /* IoT: a certificate nobody registered */
    ROW_KEYS_WRONG_ALIAS,
    ROW_KEYS_WRONG_THING,
} RowKeys;

typedef struct {
    const char *name;
    bool is_tcp;      /* opaque; otherwise TLS ends at the proxy */
    unsigned seconds; /* real time in which frames are put; 0: 8 */
    unsigned speed;   /* seconds of media in a second; 0: 1 */
    RowStep steps[5]; /* after the first, at_ms 0 ends them */
    RowKeys keys;
    uint64_t spool_bytes;
    bool stays;             /* the last step's faults are still there when all has to arrive */
    bool no_create;         /* libkvg may not create the stream */
    const char *endpoint;   /* instead of the proxy */
    const char *ca_path;    /* instead of the server's CA */
    const char *reason;     /* is in the stream's reason within 5 s of the first step */
    unsigned lost_at_most;  /* frames that may be counted as dropped */
    unsigned puts_at_most;  /* PutMedia calls; 0: 12 */
    unsigned lost_at_start; /* frames that were deleted with their stream */
    bool never_works; /* closing says that all is still in the spool; then with all well it arrives
                       */
    const char *todo; /* why this row cannot pass yet */
} Row;

typedef struct {
    const Row *row;
    KvgSite *site;
    GThread *thread;
    char *stream, *spool_path;
    KvgProxy *proxy, *credentials_proxy;
    KvgCamera camera;
    int64_t begin_us, lag_us; /* lag: how late the machine let us run */
    unsigned refused;         /* frames kvg_stream_put_frame() did not take */
    int64_t slowest_put_us;
    int64_t close_us; /* how long closing took */
    bool has_failed;
    bool has_worked; /* although the row says that it never can */
    bool is_drained;
    char *close_error;
    KvgProxyCounts counts;
} RowRun;

extern const Row rows[];
extern const size_t n_rows;

/* Starts the row in a thread of its own. */
RowRun *row_start(const Row *row, KvgSite *site);
/* Waits for its end and judges it; fails the test. */
void row_finish(RowRun *run);
void row_free(RowRun *run);
