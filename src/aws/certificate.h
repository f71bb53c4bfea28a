/* A camera's certificate and key, judged before anything is sent: most of what makes the
 * credentials provider refuse them can be seen in the files. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* False and the link that is broken ("file", "certificate", "clock", "CA") with cause and remedy,
 * in the text of @error behind "@who: ". @ca_path may be NULL. @slack_ms: how far this machine's
 * clock may be off before a certificate counts as outside of its dates. */
bool kvg_certificate_check(const char *who,
                           const char *certificate_path,
                           const char *key_path,
                           const char *ca_path,
                           int64_t now_wall_ms,
                           int64_t slack_ms,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* When the certificate in @path ends, in ms since 1970; 0: there is none that can be read. */
int64_t kvg_certificate_end_ms(const char *path);

/* Whether others than its owner can get at @path; false if it cannot be looked at. */
bool kvg_file_is_open_to_others(const char *path);
