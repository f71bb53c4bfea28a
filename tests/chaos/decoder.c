/* Preloaded into the agent by the chaos suite: stands before libjpeg's jpeg_read_header(), so that
 * decoding a picture crashes, or never returns, while a file says so. KVG_CHAOS names the folder;
 * the files are "crash" and "hang". */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int ReadHeader(void *decompress, int require_image);
int jpeg_read_header(void *decompress, int require_image);

static bool
is_wanted(const char *what)
{
    const char *folder = getenv("KVG_CHAOS");
    char path[512];
    return folder != NULL &&
           snprintf(path, sizeof path, "%s/%s", folder, what) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

int
jpeg_read_header(void *decompress, int require_image)
{
    static ReadHeader *next;
    if (next == NULL) /* loaded by a plugin, for itself only: RTLD_NEXT does not see it */
        *(void **)&next = dlsym(dlopen("libjpeg.so.62", RTLD_NOW), "jpeg_read_header");
    if (is_wanted("crash"))
        __builtin_trap();
    while (is_wanted("hang")) {
        /* Not even when the file is gone: that decoder is lost. */
        while (true)
            pause();
    }
    return next(decompress, require_image);
}
