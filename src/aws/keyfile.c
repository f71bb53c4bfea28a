/* The key file of AWS's kvssink, "CREDENTIALS key [expiration] secret [token]": written by another
 * program, which replaces it when it rotates the keys. */
#include "aws/source.h"
#include "base/clock.h"
#include "os/file.h"
#include <string.h>

#define FILE_MAX (64 * 1024)

typedef struct {
    KvgSource base;
    char *path, *who;
} KeyFileSource;

static KvgRenewalStep
key_file_step(const KvgSource *source, KvgAttempt *attempt, GError **error)
{
    const KeyFileSource *file = (const KeyFileSource *)source;
    g_autoptr(GError) cause = NULL;
    size_t len = 0;
    char *text = kvg_file_read(file->path, FILE_MAX, &len, &cause);
    if (text == NULL)
        return kvg_fault(error, KVG_ERROR_AUTH, file->who, "file",
                         "check the path, and that the program that writes it has run", "%s",
                         cause->message);
    const char *words[6] = {0};
    unsigned n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, " \t\r\n", &rest); word != NULL && n < G_N_ELEMENTS(words);
         word = strtok_r(NULL, " \t\r\n", &rest))
        words[n++] = word;
    KvgRenewalStep result;
    if (n < 3 || n > 5 || strcmp(words[0], "CREDENTIALS") != 0)
        result = kvg_fault(error, KVG_ERROR_AUTH, file->who, "file", "correct it",
                           "it is not a line \"CREDENTIALS key [expiration] secret [token]\"");
    else
        result = kvg_attempt_take(attempt, file->who, words[1], words[n == 3 ? 2 : 3], words[4],
                                  n > 3 ? words[2] : NULL, error);
    explicit_bzero(text, len);
    g_free(text);
    return result;
}

static uint64_t
key_file_stamp(const KvgSource *source)
{
    return kvg_file_stamp(((const KeyFileSource *)source)->path);
}

static void
key_file_free(KvgSource *source)
{
    KeyFileSource *file = (KeyFileSource *)source;
    g_free(file->path);
    g_free(file->who);
    g_free(file);
}

KvgSource *
kvg_source_key_file(const char *path)
{
    static const KvgSourceClass class = {
        .step = key_file_step, .stamp = key_file_stamp, .free = key_file_free};
    KeyFileSource *file = g_new0(KeyFileSource, 1);
    file->base.class = &class;
    file->path = g_strdup(path);
    file->who = g_strdup_printf("credentials file %s", path);
    return &file->base;
}
