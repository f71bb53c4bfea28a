#include "config/mode_keys.h"

#include <string.h>

#define KEEP_MARGIN_MS 30000 /* a fragment may last 20 s, and an event comes a little late */
#define KEEP_ON_DEMAND_MS (INT64_C(24) * 3600 * 1000)

static const char *const words[] = {"always", "schedule", "on-demand", "event"};

const char *
kvg_mode_to_string(KvgMode mode)
{
    return (size_t)mode < G_N_ELEMENTS(words) ? words[mode] : "unknown";
}

bool
kvg_mode_holds(KvgMode mode)
{
    return mode == KVG_MODE_ON_DEMAND || mode == KVG_MODE_EVENT;
}

const KvgConfigKey kvg_config_event_keys[] = {
    {"pre_roll", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfigMode, pre_roll_ms), .most = 3600000,
     .remedy = "write a duration up to 1h", .standard = "10s",
     .about = "What was recorded before an event and goes up with it"},
    {"post_roll", KVG_CONFIG_DURATION, KVG_CONFIG_AT(KvgConfigMode, post_roll_ms), .least = 1000,
     .most = 3600000, .remedy = "write a duration from 1s to 1h", .standard = "30s",
     .about = "How long recording goes up after an event"},
    {.name = NULL}};

static void
read_window(KvgConfigLoader *loader,
            const char *key,
            const yaml_node_t *node,
            KvgSchedule *schedule)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    g_autoptr(GError) error = NULL;
    if (text == NULL)
        return;
    if (schedule->n_windows == KVG_SCHEDULE_MAX_WINDOWS)
        kvg_config_problem(loader, &node->start_mark, key, "more than %d windows",
                           KVG_SCHEDULE_MAX_WINDOWS);
    else if (!kvg_window_parse(text, &schedule->windows[schedule->n_windows], &error))
        kvg_config_problem(loader, &node->start_mark, key, "%s", error->message);
    else
        schedule->n_windows++;
}

void
kvg_config_read_schedule(KvgConfigLoader *loader,
                         const char *key,
                         yaml_node_t *node,
                         KvgSchedule *schedule)
{
    schedule->n_windows = 0;
    if (node->type != YAML_SEQUENCE_NODE) {
        kvg_config_problem(loader, &node->start_mark, key,
                           "write a list, like [\"mon-fri 08:00-18:00\"]");
        return;
    }
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        g_autofree char *path =
            g_strdup_printf("%s[%d]", key, (int)(item - node->data.sequence.items.start));
        read_window(loader, path, yaml_document_get_node(&loader->document, *item), schedule);
    }
}

void
kvg_config_read_zone(KvgConfigLoader *loader,
                     const char *key,
                     yaml_node_t *node,
                     KvgSchedule *schedule)
{
    g_autofree char *text = kvg_config_read_text(loader, key, node);
    if (text == NULL)
        return;
    if (strlen(text) >= sizeof schedule->zone || !kvg_schedule_knows_zone(text))
        kvg_config_problem(loader, &node->start_mark, key,
                           "this machine knows no such time zone; write one like Europe/Berlin or "
                           "UTC ('timedatectl list-timezones' shows them)");
    else
        g_strlcpy(schedule->zone, text, sizeof schedule->zone);
}

/* A key of the camera itself that means nothing in its mode. */
static void
check_useless(KvgConfigLoader *loader,
              const char *prefix,
              const yaml_node_t *node,
              const char *name,
              const char *modes,
              bool is_useful)
{
    const yaml_node_t *found = is_useful ? NULL : kvg_config_find(loader, node, name);
    if (found == NULL)
        return;
    g_autofree char *key = g_strconcat(prefix, ".", name, NULL);
    kvg_config_problem(loader, &found->start_mark, key,
                       "means nothing without %s; add that or remove this", modes);
}

void
kvg_config_settle_mode(KvgConfigLoader *loader,
                       const char *key,
                       const yaml_mark_t *mark,
                       const yaml_node_t *node,
                       KvgConfigMode *mode)
{
    const bool is_schedule = mode->kind == KVG_MODE_SCHEDULE;
    const bool is_event = mode->kind == KVG_MODE_EVENT;
    check_useless(loader, key, node, "schedule", "mode: schedule", is_schedule);
    check_useless(loader, key, node, "timezone", "mode: schedule", is_schedule);
    check_useless(loader, key, node, "event", "mode: event", is_event);
    check_useless(loader, key, node, "keep", "mode: event or mode: on-demand",
                  kvg_mode_holds(mode->kind));
    if (is_schedule && mode->schedule.n_windows == 0)
        kvg_config_problem(
            loader, mark, key,
            "mode: schedule without windows; add schedule: [\"mon-fri 08:00-18:00\"]");
    if (is_event && mode->keep_ms != 0 && mode->keep_ms < mode->pre_roll_ms)
        kvg_config_problem(loader, mark, key,
                           "pre_roll is longer than keep: what is before an event would be gone; "
                           "make keep longer");
    if (mode->keep_ms == 0)
        mode->keep_ms = is_event ? mode->pre_roll_ms + KEEP_MARGIN_MS : KEEP_ON_DEMAND_MS;
}
