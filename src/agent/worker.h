/* The worker process of kvg agent. */
#pragma once

/* Runs until the supervisor at descriptor 3 says so or is gone; the exit code. */
int kvg_worker_run(void);
