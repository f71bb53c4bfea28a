/* The process exits while streams are open, as programs do. OpenSSL gives its locks back in an exit
 * handler of its own, and a thread that is in the middle of TLS then would crash; so this handler,
 * which runs before that one, ends the uploaders. What was not persisted is in the spools. */
#include "putmedia/private.h"
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* living */
static GPtrArray *living;                                /* KvgUploader; NULL: never one */

static void
end_uploaders(void)
{
    pthread_mutex_lock(&lock);
    for (guint i = 0; i < living->len; i++)
        kvg_uploader_abandon(g_ptr_array_index(living, i));
    pthread_mutex_unlock(&lock);
}

void
kvg_exit_watch(KvgUploader *uploader)
{
    pthread_mutex_lock(&lock);
    if (living == NULL) {
        living = g_ptr_array_new();
        atexit(end_uploaders);
    }
    g_ptr_array_add(living, uploader);
    pthread_mutex_unlock(&lock);
}

void
kvg_exit_forget(KvgUploader *uploader)
{
    pthread_mutex_lock(&lock);
    g_ptr_array_remove_fast(living, uploader);
    pthread_mutex_unlock(&lock);
}
