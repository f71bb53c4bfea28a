/* The stream table. All functions but the first run with state.db locked. */
#pragma once

#include "server/server.h"
#include "server/state/sql.h"

#define KVG_MAX_RETENTION_HOURS 87600
#define KVG_MAX_TAGS 50

/* 20 characters, new at every change (g_free). */
char *kvg_stream_new_version(void);
/* A change that would last longer than this is over: the clock has gone back since it began. */
#define KVG_STREAM_CHANGE_MAX_MS (3600 * INT64_C(1000))

/* Of a statement "SELECT " KVG_STREAM_COLUMNS " FROM stream". @now_ms decides what a change that
 * was begun has come to. */
#define KVG_STREAM_COLUMNS                                                                         \
    "name, arn, version, media_type, device_name, kms_key_id, created_ms, retention_hours,"        \
    " storage_tier, change, change_ends_ms"
void kvg_stream_from_row(KvgStatement row, int64_t now_ms, KvgStreamInfo *info);
/* By name, ARN or both, in whatever status; false if there is none. */
bool kvg_stream_find(
    sqlite3 *db, const char *name, const char *arn, int64_t now_ms, KvgStreamInfo *info);
/* The status @change ("UPDATING") until @ends_ms, and a new version. */
bool kvg_stream_begin_change(sqlite3 *db, const char *arn, const char *change, int64_t ends_ms);
/* Streams whose deletion is over: forgets them, but for the ARN, until their fragments are gone. */
void kvg_stream_finish_deletions(sqlite3 *db, int64_t now_ms);
