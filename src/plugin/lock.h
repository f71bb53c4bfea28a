/* Locks of the plugin. Plain pthread ones: the thread sanitizer does not see those of GLib. */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Holds a mutex to the end of a scope. */
typedef struct {
    pthread_mutex_t *mutex;
} KvgLocker;

static inline KvgLocker
kvg_locker_lock(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return (KvgLocker){mutex};
}

static inline void
kvg_locker_clear(KvgLocker *locker)
{
    pthread_mutex_unlock(locker->mutex);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KvgLocker, kvg_locker_clear)

/* For waits with an end on the monotonic clock. */
static inline void
kvg_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static inline void
kvg_cond_wait_us(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t wait_us)
{
    const int64_t until_us = g_get_monotonic_time() + wait_us;
    const struct timespec until = {until_us / G_USEC_PER_SEC, until_us % G_USEC_PER_SEC * 1000};
    pthread_cond_timedwait(cond, mutex, &until);
}
