#include "agent/source.h"
#include <string.h>

static const KvgSource *const sources[] = {&kvg_source_rtsp, &kvg_source_rtsps, &kvg_source_test,
                                           &kvg_source_file, &kvg_source_v4l2,  &kvg_source_shm};

const KvgSource *
kvg_source_find(const char *source)
{
    for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (g_str_has_prefix(source, sources[i]->prefix))
            return sources[i];
    }
    return NULL;
}

const char *
kvg_source_rest(const char *source)
{
    const char *colon = strchr(source, ':');
    return colon != NULL ? colon + 1 : "";
}
