#include <kvg/error.h>

G_DEFINE_QUARK(kvg-error-quark, kvg_error)

bool
kvg_error_is_retryable(const GError *error)
{
    return g_error_matches(error, KVG_ERROR, KVG_ERROR_RETRY) ||
           g_error_matches(error, KVG_ERROR, KVG_ERROR_THROTTLED);
}
