/* Elements of fixed widths, and a walk over the elements of a header. */
#include "server/playback/document.h"

#include "base/bytes.h"
#include "media/ebml.h"
#include <string.h>

#define SIZE_BYTES 4u
#define MAX_SIZE ((1u << 28) - 2)

static guint
begin_element(GByteArray *out, uint32_t id)
{
    const unsigned id_bytes = id > 0xffffff ? 4 : id > 0xffff ? 3 : id > 0xff ? 2 : 1;
    for (unsigned i = id_bytes; i-- > 0;)
        kvg_bytes_put_u8(out, (uint8_t)(id >> 8 * i));
    kvg_bytes_put_u32(out, 0);
    return out->len;
}

static void
end_element(GByteArray *out, guint start)
{
    kvg_bytes_set_u32(out, start - SIZE_BYTES, 0x10000000u | (out->len - start));
}

static void
put_text(GByteArray *out, uint32_t id, const char *text)
{
    const guint start = begin_element(out, id);
    kvg_bytes_put(out, text, MIN(strlen(text), MAX_SIZE));
    end_element(out, start);
}

void
kvg_document_put_tags(GByteArray *out, const KvgDocumentTag *tags, size_t n)
{
    const guint all = begin_element(out, MKV_TAGS);
    const guint tag = begin_element(out, MKV_TAG);
    for (size_t i = 0; i < n; i++) {
        const guint simple = begin_element(out, MKV_SIMPLE_TAG);
        put_text(out, MKV_TAG_NAME, tags[i].name);
        put_text(out, MKV_TAG_STRING, tags[i].value);
        end_element(out, simple);
    }
    end_element(out, tag);
    end_element(out, all);
}

void
kvg_document_put_empty(GByteArray *out)
{
    const guint header = begin_element(out, EBML_HEADER);
    put_text(out, EBML_DOC_TYPE, "matroska");
    end_element(out, header);
    kvg_bytes_put_u32(out, MKV_SEGMENT);
    kvg_bytes_put_u64(out, G_GUINT64_CONSTANT(0x01ffffffffffffff));
}

/* A number of EBML's variable width; @keep_marker: as element ids are written. */
static uint64_t
take_number(KvgReader *reader, bool keep_marker)
{
    const uint8_t first = kvg_reader_u8(reader);
    unsigned width = 1;
    while (width < 8 && !(first & 0x80u >> (width - 1)))
        width++;
    uint64_t value = keep_marker ? first : first & (0x7fu >> (width - 1));
    for (unsigned i = 1; i < width; i++)
        value = value << 8 | kvg_reader_u8(reader);
    return value;
}

void
kvg_document_put_header(GByteArray *out, GBytes *header, bool with_tags)
{
    gsize len;
    const uint8_t *data = g_bytes_get_data(header, &len);
    KvgReader reader = kvg_reader_init(data, len);
    while (!with_tags && !reader.failed && kvg_reader_left(&reader) > 0) {
        const uint8_t *start = reader.at;
        const uint64_t id = take_number(&reader, true);
        const uint64_t size = take_number(&reader, false);
        if (id != MKV_SEGMENT && size <= kvg_reader_left(&reader))
            kvg_reader_take(&reader, (size_t)size);
        else if (id != MKV_SEGMENT)
            break; /* not ours to judge: all of it goes out */
        if (id != MKV_TAGS)
            kvg_bytes_put(out, start, (size_t)(reader.at - start));
        data = reader.at;
    }
    kvg_bytes_put(out, data,
                  len - (size_t)(data - (const uint8_t *)g_bytes_get_data(header, NULL)));
}
