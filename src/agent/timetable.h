/* Whether a camera with a schedule is on, looked up when that may have changed. The time comes in.
 */
#pragma once

#include "config/mode.h"

/* Zero: not looked up yet. */
typedef struct {
    int64_t looked_ms, until_ms; /* since 1970 */
    bool is_on;
} KvgTimetable;

bool kvg_timetable_is_on(KvgTimetable *timetable, const KvgSchedule *schedule, int64_t now_ms);
/* Why it is off, or on: "outside its schedule until Mon 08:00" (g_free). */
char *kvg_timetable_reason(const KvgTimetable *timetable, const KvgSchedule *schedule);
