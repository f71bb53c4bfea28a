/* What a process can say of itself, and latencies. */
#pragma once

#include <glib.h>
#include <stdint.h>

/* User and system time of this process so far. */
double kvg_measure_cpu_s(void);
/* Of the calling thread. */
double kvg_measure_thread_cpu_s(void);
/* A number of /proc/self/status, e.g. "VmRSS" (KiB) or "Threads". */
int64_t kvg_measure_status(const char *name);
/* Sleeps until @mono_us. */
void kvg_measure_sleep_until(int64_t mono_us);

/* Nanoseconds, every one of them kept. */
typedef struct {
    GArray *values; /* uint64_t */
} KvgLatencies;
void kvg_latencies_init(KvgLatencies *latencies);
void kvg_latencies_add(KvgLatencies *latencies, int64_t ns);
/* "{"n":..,"p50":..,"p99":..,"p999":..,"max":..}" in microseconds (g_free). */
char *kvg_latencies_to_json(KvgLatencies *latencies);
int64_t kvg_measure_now_ns(void);
