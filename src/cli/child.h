/* A program that kvg starts, waits for, and ends: its first line of output is a JSON object that
 * says it is ready; its messages go to a log file. It dies with us. */
#pragma once

#include "base/json.h"
#include <glib.h>
#include <stdbool.h>

typedef struct _KvgChild KvgChild;

/* Starts @argv (argv[0]: path) with @environ_ in a process group of its own, so that Ctrl-C in a
 * terminal reaches only us. */
KvgChild *kvg_child_start(const char *name,
                          const char *const *argv,
                          char **environ_,
                          const char *log_path,
                          GError **error);
/* Waits for the first line. Runs the default main context; gives up when *@stop is set, the child
 * ends, or after @timeout_s. NULL and an error with the end of its log. */
json_t *kvg_child_wait_ready(KvgChild *child, unsigned timeout_s, const bool *stop, GError **error);
/* Waits for the end; true if it exited with 0. */
bool
kvg_child_wait_exit(KvgChild *child, const bool *stop, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether it ended without being asked; @error says how, with the end of its log. */
bool kvg_child_has_died(KvgChild *child, GError **error);
/* SIGTERM, then SIGKILL after @grace_s; waits. */
void kvg_child_stop(KvgChild *child, unsigned grace_s);
void kvg_child_free(KvgChild *child);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgChild, kvg_child_free)
