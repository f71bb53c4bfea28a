/* The stream table. All functions but the first run with state.db locked. */
#pragma once

#include "server/server.h"
#include "server/state/sql.h"

#define KVG_MAX_RETENTION_HOURS 87600
#define KVG_MAX_TAGS 50

#define KVG_STREAM_COLUMNS                                                                         \
    "name, arn, version, media_type, device_name, kms_key_id, created_ms, retention_hours"

/* 20 characters, new at every change (g_free). */
char *kvg_stream_new_version(void);
/* A row of KVG_STREAM_COLUMNS. */
void kvg_stream_from_row(KvgStatement row, KvgStreamInfo *info);
bool kvg_stream_find(sqlite3 *db, const char *name, const char *arn, KvgStreamInfo *info);
/* Forgets the stream and remembers its ARN until its fragments are gone. */
bool kvg_stream_delete(sqlite3 *db, const char *arn);
