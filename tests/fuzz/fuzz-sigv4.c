/* The Authorization header. */
#include "fuzz.h"

#include "wire/sigv4.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(KvgSigv4Auth) auth = {0};
    if (kvg_sigv4_parse_authorization(text, &auth, NULL))
        g_assert(auth.access_key && auth.signature && auth.signed_headers);
    return 0;
}
