/* One call of the control plane: what an operation is, and what it works on. The dispatcher
 * (control.c) authenticates, validates, finds the stream and answers; an operation only fills in
 * its output or fails, with state.db locked and in a transaction that a failure undoes. */
#pragma once

#include "server/control/model.h"
#include "server/control/streams.h"

typedef struct {
    KvgServer *server;
    KvgHttpExchange *x;
    sqlite3 *db;
    int64_t now_ms;
    const json_t *input;
    KvgStreamInfo stream; /* of operations on a stream: it exists */
    json_t *output;       /* NULL: {} */
    int status;           /* of the error */
    const char *type;     /* of the error; NULL: none */
    char *message;
} KvgControlCall;

typedef enum {
    KVG_TARGET_NONE,
    KVG_TARGET_NEW,      /* StreamName of a stream to be */
    KVG_TARGET_STREAM,   /* StreamName or StreamARN */
    KVG_TARGET_RESOURCE, /* ResourceARN */
    KVG_TARGET_CHANNEL,  /* ChannelName or ChannelARN: there is none here */
} KvgControlTarget;

typedef struct {
    const char *name; /* "CreateStream" */
    const char *path;
    const KvgShape *input;
    void (*run)(KvgControlCall *call);
    KvgControlTarget target;
    bool is_change;                   /* only of a stream that is ACTIVE */
    bool checks_arn_form;             /* InvalidResourceFormatException for a malformed StreamARN */
    unsigned per_account, per_stream; /* calls a second */
} KvgControlOperation;

/* Each ends with a row without a name. */
extern const KvgControlOperation kvg_control_streams[], kvg_control_tags[],
    kvg_control_configurations[], kvg_control_edge[];

void kvg_control_fail(KvgControlCall *call, int status, const char *type, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void kvg_control_fail_argument(KvgControlCall *call, const char *format, ...) G_GNUC_PRINTF(2, 3);
void kvg_control_fail_database(KvgControlCall *call);

/* CurrentVersion, where the caller gave one, is that of the stream. */
bool kvg_control_check_version(KvgControlCall *call);
/* The stream is UPDATING (or @change) for a while and has a new version. */
void kvg_control_begin_change(KvgControlCall *call, const char *change);
/* Adds a map of tags to @arn. */
bool kvg_control_set_tags(KvgControlCall *call, const char *arn, const json_t *tags);

/* A page of a listing ordered by name: NextToken is the last name, in base64. False: not a token of
 * ours. */
bool kvg_control_read_token(KvgControlCall *call, char **after);
json_t *kvg_control_write_token(const char *last); /* NULL: JSON null */
