/* ListFragments: pages of a range, in the order of fragment numbers. A page's token holds the
 * range and where the page ended. */
#include "server/playback/call.h"

#include "base/bytes.h"
#include "server/playback/fields.h"
#include <kvg/error.h>
#include <string.h>

#define PAGE 1000
#define TOKEN_KIND 0x4c /* what this kind of token begins with */

typedef struct {
    KvgFragmentSelector selector;
    char after[64];
} Page;

/* Bound to the stream: a token of another one is refused. */
static char *
seal_page(const KvgReadCall *call, const Page *page)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    kvg_bytes_put_u8(out, TOKEN_KIND);
    kvg_bytes_put_u8(out, (uint8_t)page->selector.order);
    kvg_bytes_put_u64(out, (uint64_t)page->selector.from_ms);
    kvg_bytes_put_u64(out, (uint64_t)page->selector.to_ms);
    kvg_bytes_put(out, page->after, sizeof page->after);
    kvg_bytes_put(out, call->stream.arn, strlen(call->stream.arn));
    return kvg_seal(out, call->playback->key);
}

static bool
open_page(const KvgReadCall *call, const char *token, Page *page, GError **error)
{
    g_autoptr(GBytes) plain = kvg_unseal(token, call->playback->key);
    gsize len = 0;
    const void *data = plain != NULL ? g_bytes_get_data(plain, &len) : NULL;
    KvgReader reader = kvg_reader_init(data, len);
    const uint8_t kind = kvg_reader_u8(&reader);
    page->selector.order = (KvgStoreOrder)kvg_reader_u8(&reader);
    page->selector.from_ms = (int64_t)kvg_reader_u64(&reader);
    page->selector.to_ms = (int64_t)kvg_reader_u64(&reader);
    const uint8_t *after = kvg_reader_take(&reader, sizeof page->after);
    const size_t arn_len = kvg_reader_left(&reader);
    if (!reader.failed && kind == TOKEN_KIND && arn_len == strlen(call->stream.arn) &&
        memcmp(reader.at, call->stream.arn, arn_len) == 0) {
        memcpy(page->after, after, sizeof page->after);
        return true;
    }
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "NextToken is not one that this stream's ListFragments answered.");
    return false;
}

static bool
parse(const KvgReadCall *call, Page *page, int64_t *max, GError **error)
{
    const char *token = NULL;
    const json_t *selector = NULL;
    memset(page, 0, sizeof *page);
    if (!kvg_field_integer(call->input, "MaxResults", 1, 1000, PAGE, max, error) ||
        !kvg_field_text(call->input, "NextToken", 1, 4096, &token, error) ||
        !kvg_field_object(call->input, "FragmentSelector", &selector, error))
        return false;
    if (token != NULL)
        return open_page(call, token, page, error);
    if (!kvg_field_selector(selector, true, &page->selector, error))
        return false;
    if (page->selector.to_ms >= page->selector.from_ms)
        return true;
    g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "EndTimestamp must not be before StartTimestamp.");
    return false;
}

static json_t *
describe(const KvgFragmentInfo *info)
{
    return json_pack("{s:s,s:I,s:o,s:o,s:I}", "FragmentNumber", info->number, "FragmentSizeInBytes",
                     (json_int_t)info->size_bytes, "ProducerTimestamp",
                     kvg_time_to_json(info->producer_ms), "ServerTimestamp",
                     kvg_time_to_json(info->server_ms), "FragmentLengthInMilliseconds",
                     (json_int_t)info->length_ms);
}

void
kvg_read_list_fragments(KvgReadCall *call)
{
    g_autoptr(GError) error = NULL;
    Page page;
    int64_t max = 0;
    if (!parse(call, &page, &max, &error)) {
        kvg_read_refuse(call, error);
        return;
    }
    /* One more than asked for tells whether there is a next page. */
    g_autoptr(GArray) infos = kvg_store_list_after(
        call->server->store, call->stream.arn, page.selector.order, page.selector.from_ms,
        page.selector.to_ms, page.after, (size_t)max + 1, &error);
    if (infos == NULL) {
        kvg_read_fail(call, error);
        return;
    }
    g_autoptr(json_t) fragments = json_array();
    const int64_t oldest_ms = kvg_read_oldest_ms(call);
    for (guint i = 0; i < MIN(infos->len, (guint)max); i++) {
        const KvgFragmentInfo *info = &g_array_index(infos, KvgFragmentInfo, i);
        g_strlcpy(page.after, info->number, sizeof page.after);
        if (info->server_ms >= oldest_ms)
            json_array_append_new(fragments, describe(info));
    }
    g_autofree char *token = infos->len > (guint)max ? seal_page(call, &page) : NULL;
    g_autoptr(json_t) reply = json_pack("{s:O,s:s?}", "Fragments", fragments, "NextToken", token);
    g_autofree char *text = kvg_json_to_text(reply);
    kvg_http_respond_json(call->x, 200, text);
}
