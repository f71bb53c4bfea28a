#include "agent/timetable.h"

/* The clock may be set, and the time zone of the machine changed. */
#define LOOK_AGAIN_MS 30000

bool
kvg_timetable_is_on(KvgTimetable *timetable, const KvgSchedule *schedule, int64_t now_ms)
{
    const bool is_known = timetable->looked_ms != 0 && now_ms >= timetable->looked_ms &&
                          now_ms < timetable->looked_ms + LOOK_AGAIN_MS &&
                          now_ms < timetable->until_ms;
    if (!is_known) {
        timetable->looked_ms = now_ms;
        timetable->is_on = kvg_schedule_is_on(schedule, now_ms, &timetable->until_ms);
    }
    return timetable->is_on;
}

char *
kvg_timetable_reason(const KvgTimetable *timetable, const KvgSchedule *schedule)
{
    const char *where = timetable->is_on ? "in its schedule" : "outside its schedule";
    if (timetable->until_ms == INT64_MAX)
        return g_strdup(where);
    g_autofree char *until =
        kvg_schedule_describe(schedule, timetable->until_ms, timetable->looked_ms);
    return g_strdup_printf("%s until %s", where, until);
}
