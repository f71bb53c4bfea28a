/* Runs every file of a folder through the target, then 500 seeded mutations of each,
 * the same ones every time. */
#include "fuzz.h"

#define ROUNDS 500
#define MAX_BYTES 65536

static void
mutate(GRand *random, const char *seed, gsize len)
{
    g_autofree uint8_t *copy = g_malloc(len + 1);
    memcpy(copy, seed, len);
    const gint32 changes = g_rand_int_range(random, 1, 6);
    for (gint32 i = 0; i < changes && len > 0; i++)
        copy[g_rand_int_range(random, 0, (gint32)len)] = (uint8_t)g_rand_int_range(random, 0, 256);
    const gsize cut = (gsize)g_rand_int_range(random, 0, (gint32)len + 1);
    LLVMFuzzerTestOneInput(copy, g_rand_boolean(random) ? len : cut);
}

int
main(int argc, char **argv)
{
    g_autoptr(GDir) folder = argc == 2 ? g_dir_open(argv[1], 0, NULL) : NULL;
    if (!folder)
        return 2;
    GRand *random = g_rand_new_with_seed(1);
    unsigned n = 0;
    for (const char *name = g_dir_read_name(folder); name; name = g_dir_read_name(folder)) {
        g_autofree char *path = g_build_filename(argv[1], name, NULL);
        g_autofree char *seed = NULL;
        gsize len;
        if (!g_file_get_contents(path, &seed, &len, NULL) || len > MAX_BYTES)
            continue;
        LLVMFuzzerTestOneInput((const uint8_t *)seed, len);
        for (unsigned i = 0; i < ROUNDS; i++)
            mutate(random, seed, len);
        n++;
    }
    g_rand_free(random);
    return n > 0 ? 0 : 2;
}
