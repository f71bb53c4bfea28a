/* What an application of the former service comes to here: cameras with their addresses, region,
 * role alias, parameters. No file is touched. */
#pragma once

#include "panorama/graph.h"

typedef struct {
    char *name;                /* camera data source = IoT thing = stream */
    char *node;                /* of the graph; NULL: only the stream list names it */
    char *url;                 /* without user and password; NULL: an error was reported */
    char *username, *password; /* NULL; secret */
    bool is_off;               /* launch onSignal */
} KvgPlanCamera;

typedef struct {
    bool is_sample;            /* does what kinesis_video_streams did */
    char *region, *role_alias; /* of the sample; NULL */
    GPtrArray *cameras;        /* KvgPlanCamera */
    json_t *parameters;        /* of an application that is not the sample: node -> value */
} KvgPlan;

/* Where addresses and passwords come from that stand in no package. */
typedef struct {
    const json_t *templates; /* camera name -> {Username, Password, StreamUrl}; NULL */
    const char *templates_file;
    /* @what: "URL", "USERNAME" or "PASSWORD" of a camera; NULL: not known (g_free). NULL: nobody to
     * ask. */
    char *(*ask)(const char *camera, const char *what, void *data);
    void *data;
} KvgPlanSecrets;

/* Only without an error in @problems is it complete. */
KvgPlan *kvg_plan_new(const KvgGraph *graph, const KvgPlanSecrets *secrets, KvgProblems *problems);
void kvg_plan_free(KvgPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgPlan, kvg_plan_free)
const KvgPlanCamera *kvg_plan_find_camera(const KvgPlan *plan, const char *name);

/* Whether @node is the code of the sample: a business logic with the string inputs kvs_stream_name,
 * iot_role_alias and kvs_region, and a media input; whatever its package is called. */
bool kvg_plan_is_sample(const KvgGraph *graph, const KvgGraphNode *node);

/* The camera of a stream_id that an application gives: a UUID appended to the name is taken off, in
 * upper case, too (g_free). */
char *kvg_plan_camera_of_stream_id(const char *stream_id);
