/* Windows of time in which a camera is on: "mon-fri 08:00-18:00". Pure: the time comes in, and what
 * holds then and when it changes comes out. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define KVG_SCHEDULE_MAX_WINDOWS 32
#define KVG_SCHEDULE_MAX_ZONE 64

/* On the days of @days, from one second of the day to another, on the next day if that is not
 * later.
 */
typedef struct {
    uint8_t days; /* bit 0: Monday */
    uint32_t from_s, to_s;
} KvgWindow;

typedef struct {
    KvgWindow windows[KVG_SCHEDULE_MAX_WINDOWS];
    unsigned n_windows;
    char zone[KVG_SCHEDULE_MAX_ZONE]; /* "Europe/Berlin"; "": the machine's */
} KvgSchedule;

/* "mon-fri 08:00-18:00", "sat,sun 10:00-16:30", "* 22:00-06:00" (into the next day), "*
 * 00:00-24:00"; HH:MM or HH:MM:SS. False: KVG_ERROR_INVALID says what is wrong. */
bool kvg_window_parse(const char *text, KvgWindow *window, GError **error);
/* Whether the system knows the time zone. */
bool kvg_schedule_knows_zone(const char *name);

/* Whether a camera is on at @now_ms (since 1970); @until_ms: (out): when that changes; INT64_MAX:
 * never. Where clocks are put forward, a time that does not exist is the moment of that; where they
 * are put back, a window begins at the first and ends at the second of the two times. */
bool kvg_schedule_is_on(const KvgSchedule *schedule, int64_t now_ms, int64_t *until_ms);
/* "08:00" today, else "Mon 08:00", in the schedule's time zone (g_free). */
char *kvg_schedule_describe(const KvgSchedule *schedule, int64_t at_ms, int64_t now_ms);
