/* When a camera uploads: the keys mode, schedule, timezone, event and keep. */
#pragma once

#include "config/schedule.h"

/* In the order of the words of the key. */
typedef enum {
    KVG_MODE_ALWAYS,
    KVG_MODE_SCHEDULE,  /* on in windows of time */
    KVG_MODE_ON_DEMAND, /* recorded here; a range of time goes up when it is asked for */
    KVG_MODE_EVENT,     /* recorded here; what is around an event goes up */
} KvgMode;

typedef struct {
    KvgMode kind;
    KvgSchedule schedule;
    int64_t pre_roll_ms, post_roll_ms; /* default 10s, 30s */
    int64_t keep_ms;                   /* default: of events pre_roll and 30 s more, else 24h */
} KvgConfigMode;

/* "always", "schedule", "on-demand", "event"; static. */
const char *kvg_mode_to_string(KvgMode mode);
/* Frames wait until they are asked for. */
bool kvg_mode_holds(KvgMode mode);
