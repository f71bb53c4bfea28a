/* AWS's shared files: the input up to the first NUL is the credentials file, the rest the config file. */
#include "fuzz.h"

#include "aws/profile.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"aws_access_key_id", "role_arn", "source_profile"};
    g_autofree char *text = g_malloc0(size + 2);
    memcpy(text, data, size);
    g_autoptr(KvgProfiles) profiles = kvg_profiles_parse(text, text + strlen(text) + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *value = kvg_profiles_get(profiles, "default", keys[i]);
        g_assert(value == NULL || (value[0] != '\0' && strpbrk(value, "\r\n") == NULL));
        g_assert(value == NULL || kvg_profiles_has(profiles, "default"));
    }
    return 0;
}
