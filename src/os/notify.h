/* Tells systemd how a service is (sd_notify); without systemd nothing happens. */
#pragma once

#include <stdint.h>

/* "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..."; lines may be joined by '\n'.
 * Never waits. */
void kvg_notify(const char *state);
/* So often the service manager wants to hear WATCHDOG=1, or the service is killed; 0: never. */
int64_t kvg_notify_watchdog_us(void);
