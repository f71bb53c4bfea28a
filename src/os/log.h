/* Structured logging of the programs: g_log_structured with stable fields (CAMERA, STREAM, FRAGMENT,
 * REQUEST_ID); journald receives them as fields, a terminal gets one line. Libraries log through
 * these macros too and never print. */
#pragma once

#include <glib.h>

/* KVG_LOG_MESSAGE("agent", "CAMERA", name, "camera %s is live", name): one field beside the text.
 * Levels: debug for developers, info for verbose runs, message for state changes an operator wants,
 * warning for what went wrong and was handled. */
#define KVG_LOG(level, domain, field, value, ...)                                                  \
    g_log_structured(domain, level, "CODE_FILE", __FILE__, field, value, "MESSAGE", __VA_ARGS__)
#define KVG_LOG_DEBUG(domain, field, value, ...)                                                   \
    KVG_LOG(G_LOG_LEVEL_DEBUG, domain, field, value, __VA_ARGS__)
#define KVG_LOG_INFO(domain, field, value, ...)                                                    \
    KVG_LOG(G_LOG_LEVEL_INFO, domain, field, value, __VA_ARGS__)
#define KVG_LOG_MESSAGE(domain, field, value, ...)                                                 \
    KVG_LOG(G_LOG_LEVEL_MESSAGE, domain, field, value, __VA_ARGS__)
#define KVG_LOG_WARNING(domain, field, value, ...)                                                 \
    KVG_LOG(G_LOG_LEVEL_WARNING, domain, field, value, __VA_ARGS__)

/* Installs the writer of a program: time, level, domain and text on stderr, or journald when stderr
 * is its stream. KVG_LOG_LEVEL=debug|info|message|warning chooses the least level (message),
 * KVG_LOG_FORMAT=json one JSON object per line with all fields. Call once, first in main(). */
void kvg_log_init(void);
