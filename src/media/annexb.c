#include "media/annexb.h"

#include "base/bytes.h"

/* Offset of the next 00 00 01 at or after @from; @len if there is none. */
static size_t
find_start_code(const uint8_t *data, size_t len, size_t from)
{
    size_t i = from;
    while (i + 3 <= len) {
        if (data[i + 2] > 1)
            i += 3;
        else if (data[i] == 0 && data[i + 1] == 0 && data[i + 2] == 1)
            return i;
        else
            i++;
    }
    return len;
}

bool
kvg_annexb_next(const uint8_t *data, size_t len, size_t *at, const uint8_t **nal, size_t *nal_len)
{
    while (*at < len) {
        const size_t code = find_start_code(data, len, *at);
        if (code == len)
            break;
        const size_t start = code + 3;
        const size_t next = find_start_code(data, len, start);
        *at = next;
        /* Trailing zeros belong to the next start code or are trailing_zero_8bits. */
        size_t end = next;
        while (end > start && data[end - 1] == 0)
            end--;
        if (end == start)
            continue;
        *nal = data + start;
        *nal_len = end - start;
        return true;
    }
    *at = len;
    return false;
}

GBytes *
kvg_annexb_to_lengths(const uint8_t *data, size_t len)
{
    if (find_start_code(data, len, 0) == len)
        return NULL;
    GByteArray *out = g_byte_array_sized_new((guint)MIN(len + 64, G_MAXUINT));
    size_t at = 0;
    const uint8_t *nal;
    size_t nal_len;
    while (kvg_annexb_next(data, len, &at, &nal, &nal_len)) {
        kvg_bytes_put_u32(out, (uint32_t)nal_len);
        kvg_bytes_put(out, nal, nal_len);
    }
    return g_byte_array_free_to_bytes(out);
}

bool
kvg_lengths_next(const uint8_t *data,
                 size_t len,
                 unsigned length_size,
                 size_t *at,
                 const uint8_t **nal,
                 size_t *nal_len)
{
    g_return_val_if_fail(length_size >= 1 && length_size <= 4, false);

    while (*at <= len && len - *at >= length_size) {
        size_t size = 0;
        for (unsigned i = 0; i < length_size; i++)
            size = size << 8 | data[(*at)++];
        if (size > len - *at)
            return false;
        *nal = data + *at;
        *nal_len = size;
        *at += size;
        if (size > 0)
            return true;
    }
    return false;
}

GBytes *
kvg_lengths_widen(const uint8_t *data, size_t len, unsigned length_size)
{
    g_autoptr(GByteArray) out = g_byte_array_sized_new((guint)MIN(len + 64, G_MAXUINT));
    size_t at = 0;
    const uint8_t *nal;
    size_t nal_len;
    while (kvg_lengths_next(data, len, length_size, &at, &nal, &nal_len)) {
        kvg_bytes_put_u32(out, (uint32_t)nal_len);
        kvg_bytes_put(out, nal, nal_len);
    }
    if (at != len || out->len == 0)
        return NULL;
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}
