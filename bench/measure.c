#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

double
kvg_measure_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

double
kvg_measure_thread_cpu_s(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

int64_t
kvg_measure_status(const char *name)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL))
        return -1;
    g_autofree char *label = g_strdup_printf("\n%s:", name);
    const char *at = strstr(text, label);
    return at != NULL ? g_ascii_strtoll(at + strlen(label), NULL, 10) : -1;
}

int64_t
kvg_measure_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void
kvg_measure_sleep_until(int64_t mono_us)
{
    const struct timespec until = {.tv_sec = mono_us / G_USEC_PER_SEC,
                                   .tv_nsec = mono_us % G_USEC_PER_SEC * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        continue;
}

void
kvg_latencies_init(KvgLatencies *latencies)
{
    latencies->values = g_array_new(FALSE, FALSE, sizeof(uint64_t));
}

void
kvg_latencies_add(KvgLatencies *latencies, int64_t ns)
{
    const uint64_t value = (uint64_t)ns;
    g_array_append_val(latencies->values, value);
}

static int
compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double
quantile_us(const GArray *values, double part)
{
    if (values->len == 0)
        return 0;
    const guint at = (guint)(part * (values->len - 1) + 0.5);
    return (double)g_array_index(values, uint64_t, at) / 1000;
}

char *
kvg_latencies_to_json(KvgLatencies *latencies)
{
    g_array_sort(latencies->values, compare);
    return g_strdup_printf(
        "{\"n\":%u,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", latencies->values->len,
        quantile_us(latencies->values, 0.5), quantile_us(latencies->values, 0.99),
        quantile_us(latencies->values, 0.999), quantile_us(latencies->values, 1));
}
