/* One worker process: started, spoken to, watched, ended. A worker that says nothing for too long
 * hangs and is killed. It dies with the supervisor, at once: the spool loses nothing by that.
 * Thread: main. */
#pragma once

#include "agent/packet.h"

typedef struct _KvgProcess KvgProcess;

typedef struct {
    void (*report)(const json_t *report, void *user_data);
    /* It is gone; @how in words ("was ended by signal 9 (Killed)"). May free it. */
    void (*ended)(const char *how, void *user_data);
    void *user_data;
} KvgProcessEvents;

/* @lock_fd: kept open by the process as long as it lives. */
KvgProcess *kvg_process_start(int lock_fd, const KvgProcessEvents *events, GError **error);
/* Kills it, if it is there still; no event comes any more. NULL is fine. */
void kvg_process_free(KvgProcess *process);
int kvg_process_pid(const KvgProcess *process);
/* @fd: -1, or a descriptor to send along (stays the caller's). False: it is lost. */
bool kvg_process_send(KvgProcess *process, const json_t *packet, int fd);
/* Asks it to end within @wait_ms; kills it some seconds later. `ended` follows. */
void kvg_process_stop(KvgProcess *process, int64_t wait_ms);
/* Kills it for @why; `ended` follows and says so. */
void kvg_process_kill(KvgProcess *process, const char *why);
/* Call once a second: notices that it hangs. */
void kvg_process_tick(KvgProcess *process);
