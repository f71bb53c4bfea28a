/* Which camera runs in which worker process. Restarts those that end, sets cameras apart that take
 * others down with them, quarantines one that keeps ending its own process, and takes a new
 * configuration while the cameras run. Thread: main. */
#pragma once

#include "agent/board.h"
#include "agent/control.h"
#include "agent/errand.h"
#include "config/diff.h"

typedef struct _KvgFleet KvgFleet;

typedef struct {
    KvgConfig *config; /* a reference is kept */
    /* All must outlive the fleet. */
    KvgBoard *board;
    KvgControl *control;
    KvgErrands *errands;
    int snapshot_fd; /* of the configuration, see snapshot.h; taken */
    int lock_fd;     /* see lock.h; taken */
    /* After kvg_fleet_stop(): the last process is gone. */
    void (*stopped)(void *user_data);
    void *user_data;
} KvgFleetOptions;

/* Starts the processes. */
KvgFleet *kvg_fleet_start(const KvgFleetOptions *options);
void kvg_fleet_free(KvgFleet *fleet); /* kills what still runs; NULL is fine */
/* The settings of @camera have changed. */
void kvg_fleet_set(KvgFleet *fleet, const char *camera);
/* A packet to the process of @camera; false: there is none now. */
bool kvg_fleet_send(KvgFleet *fleet, const char *camera, const json_t *packet);
/* Takes a new configuration; only cameras that @diff names start again, or all, if it names keys of
 * the site. @snapshot_fd: of it, taken. @lock_fd: of a new spool (taken), or -1: as before. */
void kvg_fleet_apply(
    KvgFleet *fleet, KvgConfig *config, const KvgConfigDiff *diff, int snapshot_fd, int lock_fd);
/* Ends all cameras; `stopped` follows. */
void kvg_fleet_stop(KvgFleet *fleet);
