/* The process that runs cameras. */
#pragma once

/* The descriptors that a worker is born with. */
#define KVG_WORKER_FD 3      /* packets from and to the supervisor */
#define KVG_WORKER_LOCK_FD 4 /* see lock.h; only kept open */

/* It ends with this because pipelines hang, to be started anew at once; its spool is safe. */
#define KVG_WORKER_EXIT_STUCK 75

/* Runs until the supervisor says so or is gone; the exit code. */
int kvg_worker_run(void);
