/* Small text rules used in several folders: names, sizes, durations, percent-encoding. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Camera = IoT thing = KVS stream = certificate file stem: [A-Za-z0-9_-]{1,128}. */
bool kvg_name_is_camera(const char *name);
/* KVS stream name: [a-zA-Z0-9_.-]{1,256}. */
bool kvg_name_is_stream(const char *name);

/* "20GiB", "500MB", "64KiB", "1024" (bytes). KVG_ERROR_INVALID names what was read. */
bool kvg_parse_size(const char *text, uint64_t *bytes, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* "250ms", "90s", "15m", "24h", "7d"; a bare number is refused. */
bool kvg_parse_duration_ms(const char *text, int64_t *ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* "1500k", "2M", "800000" bits per second. */
bool kvg_parse_bitrate(const char *text, uint32_t *bps, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* RFC 3986: everything but A-Z a-z 0-9 - _ . ~ becomes %XX; '/' kept when @keep_slash. */
char *kvg_uri_escape(const char *text, bool keep_slash);
/* Decodes %XX (and '+' to space when @form); NULL for a bad escape or an encoded NUL. */
char *kvg_uri_unescape(const char *text, size_t len, bool form);

/* Milliseconds since 1970 as "2024-05-20T12:34:56Z", or with ".005" before the Z when @millis. */
char *kvg_format_iso8601(int64_t wall_ms, bool millis);

/* Overwrites with dots what must not be shown of a text from outside: signatures and security
 * tokens, which a service may repeat in its complaint about a request. */
void kvg_text_hide_keys(char *text);

/* What of a URL may be shown: user and password removed. */
char *kvg_uri_redact(const char *uri);
