#include <kvg/error.h>

/* Without the cache of G_DEFINE_QUARK, which is a data race between threads. */
GQuark
kvg_error_quark(void)
{
    return g_quark_from_static_string("kvg-error-quark");
}

bool
kvg_error_is_retryable(const GError *error)
{
    return g_error_matches(error, KVG_ERROR, KVG_ERROR_RETRY) ||
           g_error_matches(error, KVG_ERROR, KVG_ERROR_THROTTLED);
}
