/* Threads of the library within a program of others. */
#pragma once

#include <pthread.h>

/* pthread_create() of a thread that no signal of the program is delivered to. Those that a thread
 * causes itself (SIGSEGV and the like) are not blocked: a handler, or a sanitizer's, must see them.
 * The result is pthread_create()'s. */
int kvg_thread_create(pthread_t *thread, const char *name, void *(*run)(void *), void *data);
