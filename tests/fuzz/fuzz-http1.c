/* Request head and chunked body, at a split taken from the first byte. */
#include "fuzz.h"

#include "wire/http1.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    g_autoptr(KvgHttp1) http = kvg_http1_new(NULL);
    const size_t step = (size_t)data[0] + 1;
    size_t at = 1;
    size_t given = 1;
    for (;;) {
        size_t used;
        size_t body_len;
        const uint8_t *body;
        const KvgHttp1Event event =
            kvg_http1_step(http, data + at, given - at, &used, &body, &body_len, NULL);
        g_assert(used <= given - at);
        at += used;
        if (event == KVG_HTTP1_FAILED || (event == KVG_HTTP1_NEED_MORE && given == size))
            return 0;
        if (event == KVG_HTTP1_END)
            kvg_http1_reset(http);
        if (event == KVG_HTTP1_NEED_MORE)
            given = MIN(size, given + step);
    }
}
