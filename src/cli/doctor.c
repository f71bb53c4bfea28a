/* kvg doctor: walks each camera's chain, several cameras at a time, and prints what was found. */
#include "cli/doctor.h"
#include "cli/command.h"
#include <mosquitto.h>
#include <stdio.h>
#include <string.h>

#define MAX_AT_ONCE 8

typedef struct {
    KvgPatient patient;
    bool is_healthy;
} Visit;

static void
examine(void *data, void *user_data)
{
    Visit *visit = data;
    visit->is_healthy = kvg_patient_examine(&visit->patient);
}

static void
print_visit(const Visit *visit)
{
    printf("%s: %s\n", visit->patient.camera->name, visit->is_healthy ? "healthy" : "broken");
    size_t i;
    json_t *link;
    json_array_foreach(visit->patient.links, i, link)
    {
        const char *remedy = kvg_json_get_string(link, "remedy");
        printf("  %-8s %-13s %s\n", kvg_json_get_string(link, "state"),
               kvg_json_get_string(link, "link"), kvg_json_get_string(link, "evidence"));
        if (remedy != NULL)
            printf("  %-8s %-13s %s\n", "", "", remedy);
    }
}

/* The first broken link of a visit; NULL. */
static const json_t *
broken_link(const Visit *visit)
{
    size_t i;
    json_t *link;
    json_array_foreach(visit->patient.links, i, link)
    {
        if (g_strcmp0(kvg_json_get_string(link, "state"), "broken") == 0)
            return link;
    }
    return NULL;
}

static void
print_json(const Visit *visits, size_t n)
{
    g_autoptr(json_t) cameras = json_array();
    for (size_t i = 0; i < n; i++) {
        const json_t *broken = broken_link(&visits[i]);
        json_array_append_new(
            cameras, json_pack("{s:s, s:b, s:s?, s:O}", "name", visits[i].patient.camera->name,
                               "healthy", visits[i].is_healthy, "broken",
                               broken != NULL ? kvg_json_get_string(broken, "link") : NULL, "links",
                               visits[i].patient.links));
    }
    g_autoptr(json_t) all = json_pack("{s:O}", "cameras", cameras);
    g_autofree char *text = kvg_json_to_text(all);
    printf("%s\n", text);
}

/* The cameras of @names, or all; NULL and a message. */
static GPtrArray *
choose(const KvgConfig *config, int n, char **names)
{
    if (n == 0)
        return g_ptr_array_ref(config->cameras);
    g_autoptr(GPtrArray) chosen = g_ptr_array_new();
    for (int i = 0; i < n; i++) {
        KvgConfigCamera *camera = kvg_config_find_camera(config, names[i]);
        if (camera == NULL) {
            fprintf(stderr, "kvg doctor: there is no camera '%s' in %s\n", names[i], config->path);
            return NULL;
        }
        g_ptr_array_add(chosen, camera);
    }
    return g_steal_pointer(&chosen);
}

static int
run(const KvgTarget *target, const GPtrArray *cameras, bool is_json)
{
    g_autofree Visit *visits = g_new0(Visit, MAX(cameras->len, 1));
    GThreadPool *pool = g_thread_pool_new(examine, NULL, MAX_AT_ONCE, FALSE, NULL);
    for (guint i = 0; i < cameras->len; i++) {
        visits[i].patient = (KvgPatient){.target = target, .camera = g_ptr_array_index(cameras, i)};
        g_thread_pool_push(pool, &visits[i], NULL);
    }
    g_thread_pool_free(pool, FALSE, TRUE);
    guint n_broken = 0;
    for (guint i = 0; i < cameras->len; i++) {
        n_broken += !visits[i].is_healthy;
        if (!is_json)
            print_visit(&visits[i]);
    }
    if (is_json)
        print_json(visits, cameras->len);
    else
        printf("%u of %u cameras broken\n", n_broken, cameras->len);
    for (guint i = 0; i < cameras->len; i++)
        kvg_patient_clear(&visits[i].patient);
    return n_broken > 0 ? 1 : 0;
}

int
kvg_cmd_doctor(int argc, char **argv)
{
    g_auto(KvgTarget) target = {0};
    g_autofree char *output = NULL;
    const GOptionEntry entries[] = {
        KVG_TARGET_OPTIONS(target),
        {"output", 0, 0, G_OPTION_ARG_STRING, &output, "'json': all links as one object", "FORMAT"},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "[NAME...] - find the first broken link between cameras and their video");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) ||
        (output != NULL && strcmp(output, "json") != 0)) {
        fprintf(stderr, "kvg doctor: %s\n", error != NULL ? error->message : "--output takes json");
        return 2;
    }
    if (!kvg_target_open_config(&target, &error)) {
        fprintf(stderr, "kvg doctor: %s\n", error->message);
        return 1;
    }
    g_autoptr(GPtrArray) cameras = choose(target.config, argc - 1, argv + 1);
    if (cameras == NULL)
        return 2;
    mosquitto_lib_init();
    const int status = run(&target, cameras, output != NULL);
    mosquitto_lib_cleanup();
    return status;
}
