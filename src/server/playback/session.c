/* A session in a fixed layout, sealed, in the alphabet of URLs, and with the trailing "~" of the
 * real service's tokens. */
#include "server/playback/session.h"

#include "base/bytes.h"
#include <string.h>

#define LAYOUT 2

static GByteArray *
write_layout(const KvgPlaybackSession *session)
{
    GByteArray *out = g_byte_array_new();
    kvg_bytes_put_u8(out, LAYOUT);
    kvg_bytes_put(out, session->id, sizeof session->id);
    kvg_bytes_put_u8(out, (uint8_t)session->protocol);
    kvg_bytes_put_u8(out, (uint8_t)session->mode);
    kvg_bytes_put_u8(out, (uint8_t)session->order);
    kvg_bytes_put_u8(out, (uint8_t)session->discontinuity);
    kvg_bytes_put_u8(out, session->is_ts);
    kvg_bytes_put_u8(out, session->shows_timestamps);
    kvg_bytes_put_u8(out, session->shows_numbers);
    kvg_bytes_put_u32(out, session->max_results);
    const int64_t times[] = {session->created_ms, session->expires_ms, session->from_ms,
                             session->to_ms, session->origin_ms};
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++)
        kvg_bytes_put_u64(out, (uint64_t)times[i]);
    kvg_bytes_put(out, session->stream_arn, strlen(session->stream_arn));
    return out;
}

static bool
read_layout(const uint8_t *data, size_t len, KvgPlaybackSession *session)
{
    memset(session, 0, sizeof *session);
    KvgReader reader = kvg_reader_init(data, len);
    const uint8_t layout = kvg_reader_u8(&reader);
    const uint8_t *id = kvg_reader_take(&reader, sizeof session->id);
    session->protocol = (KvgPlaybackProtocol)kvg_reader_u8(&reader);
    session->mode = (KvgPlaybackMode)kvg_reader_u8(&reader);
    session->order = (KvgStoreOrder)kvg_reader_u8(&reader);
    session->discontinuity = (KvgDiscontinuityMode)kvg_reader_u8(&reader);
    session->is_ts = kvg_reader_u8(&reader) != 0;
    session->shows_timestamps = kvg_reader_u8(&reader) != 0;
    session->shows_numbers = kvg_reader_u8(&reader) != 0;
    session->max_results = kvg_reader_u32(&reader);
    int64_t *const times[] = {&session->created_ms, &session->expires_ms, &session->from_ms,
                              &session->to_ms, &session->origin_ms};
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++)
        *times[i] = (int64_t)kvg_reader_u64(&reader);
    const size_t arn_len = kvg_reader_left(&reader);
    if (reader.failed || layout != LAYOUT || arn_len >= sizeof session->stream_arn)
        return false;
    memcpy(session->id, id, sizeof session->id);
    if (arn_len > 0)
        memcpy(session->stream_arn, kvg_reader_take(&reader, arn_len), arn_len);
    return true;
}

static void
swap_alphabet(char *text, const char *from, const char *to)
{
    for (; *text != '\0'; text++) {
        if (*text == from[0])
            *text = to[0];
        else if (*text == from[1])
            *text = to[1];
    }
}

char *
kvg_playback_session_seal(const KvgPlaybackSession *session, const uint8_t key[KVG_GCM_KEY_BYTES])
{
    g_autoptr(GByteArray) plain = write_layout(session);
    g_autofree char *text = kvg_seal(plain, key);
    if (text == NULL)
        return NULL;
    swap_alphabet(text, "+/", "-_");
    text[strcspn(text, "=")] = '\0';
    return g_strconcat(text, "~", NULL);
}

bool
kvg_playback_session_open(const char *token,
                          const uint8_t key[KVG_GCM_KEY_BYTES],
                          KvgPlaybackSession *session)
{
    const size_t token_len = strlen(token);
    if (token_len < 2 || token[token_len - 1] != '~')
        return false;
    g_autofree char *body = g_strndup(token, token_len - 1);
    swap_alphabet(body, "-_", "+/");
    static const char *const paddings[] = {"", "===", "==", "="};
    g_autofree char *text = g_strconcat(body, paddings[(token_len - 1) % 4], NULL);
    g_autoptr(GBytes) plain = kvg_unseal(text, key);
    if (plain == NULL)
        return false;
    gsize len;
    const uint8_t *data = g_bytes_get_data(plain, &len);
    return read_layout(data, len, session);
}
