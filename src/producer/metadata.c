#include "producer/metadata.h"

#include <kvg/error.h>
#include <string.h>

static void
remove_tag(KvgMetadata *metadata, unsigned i)
{
    g_free(metadata->tags[i].name);
    g_free(metadata->tags[i].value);
    metadata->n_tags--;
    memmove(&metadata->tags[i], &metadata->tags[i + 1],
            (metadata->n_tags - i) * sizeof metadata->tags[0]);
}

void
kvg_metadata_clear(KvgMetadata *metadata)
{
    while (metadata->n_tags > 0)
        remove_tag(metadata, metadata->n_tags - 1);
    metadata->n_open = 0;
}

static bool
is_reserved(const char *name)
{
    static const char *const allowed[] = {
        "AWS_KINESISVIDEO_IMAGE_GENERATION",
        "AWS_KINESISVIDEO_IMAGE_PREFIX",
        "AWS_KINESISVIDEO_NOTIFICATION",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(allowed); i++) {
        if (strcmp(name, allowed[i]) == 0)
            return false;
    }
    return g_ascii_strncasecmp(name, "AWS", 3) == 0;
}

bool
kvg_metadata_check(const char *name, const char *value, GError **error)
{
    const size_t name_len = strlen(name), value_len = strlen(value);
    if (name_len == 0 || name_len > KVG_METADATA_NAME_BYTES ||
        !g_utf8_validate(name, (gssize)name_len, NULL))
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "metadata name of %zu bytes; 1 to %d bytes of UTF-8 are possible", name_len,
                    KVG_METADATA_NAME_BYTES);
    else if (value_len > KVG_METADATA_VALUE_BYTES ||
             !g_utf8_validate(value, (gssize)value_len, NULL))
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "metadata '%s': value of %zu bytes; at most %d bytes of UTF-8 are possible",
                    name, value_len, KVG_METADATA_VALUE_BYTES);
    else if (is_reserved(name))
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "metadata '%s': names that start with AWS are the service's own", name);
    else
        return true;
    return false;
}

bool
kvg_metadata_keep(
    KvgMetadata *metadata, const char *name, const char *value, bool persistent, GError **error)
{
    for (unsigned i = 0; i < metadata->n_tags; i++) {
        if (strcmp(metadata->tags[i].name, name) == 0) {
            remove_tag(metadata, i);
            break;
        }
    }
    if (persistent && *value == '\0')
        return true;
    if (metadata->n_tags == KVG_METADATA_MAX) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "metadata '%s': a fragment takes %d names",
                    name, KVG_METADATA_MAX);
        return false;
    }
    metadata->tags[metadata->n_tags++] = (KvgMetadataTag){
        .name = g_strdup(name), .value = g_strdup(value), .persistent = persistent};
    return true;
}

void
kvg_metadata_begun(KvgMetadata *metadata)
{
    metadata->n_open = metadata->n_tags;
    for (unsigned i = metadata->n_tags; i-- > 0;) {
        if (!metadata->tags[i].persistent)
            remove_tag(metadata, i);
    }
}
