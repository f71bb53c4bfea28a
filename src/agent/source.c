#include "agent/source.h"

static const KvgSource *const sources[] = {&kvg_source_rtsp, &kvg_source_rtsps, &kvg_source_test};

const KvgSource *
kvg_source_find(const char *source)
{
    for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (g_str_has_prefix(source, sources[i]->prefix))
            return sources[i];
    }
    return NULL;
}
