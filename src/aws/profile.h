/* Profiles: the shared credentials and config files as one table. Hides the INI dialect of AWS and
 * the rule of precedence (for one profile and key, the credentials file wins). */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct _KvgProfiles KvgProfiles;

/* A file that is not there is an empty one; one that cannot be read or is larger than 1 MiB is an
 * error. Lines that are not understood are ignored: other programs write there, too. */
KvgProfiles *
kvg_profiles_read(const char *credentials_path, const char *config_path, GError **error);
/* The same from text, which is cut up in place; @config_text may be NULL. */
KvgProfiles *kvg_profiles_parse(char *credentials_text, char *config_text);
void kvg_profiles_free(KvgProfiles *profiles);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgProfiles, kvg_profiles_free)

bool kvg_profiles_has(const KvgProfiles *profiles, const char *profile);
/* NULL when the profile or the key is not there, or empty. Valid while @profiles is. */
const char *kvg_profiles_get(const KvgProfiles *profiles, const char *profile, const char *key);
