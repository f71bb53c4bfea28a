/* Sockets by path, however long the path of their folder is. */
#pragma once

#include <glib.h>

/* DIRECTORY/NAME.frames; a name too long for a socket is cut and told apart by its hash (g_free).
 */
char *kvg_frames_socket_path(const char *directory, const char *name);
/* A listening socket of mode 0600, in place of one that a dead process left. -1 on failure. */
int kvg_frames_listen(const char *path, GError **error);
/* Connected, not blocking. -1 on failure: KVG_ERROR_NOT_FOUND if nobody listens. */
int kvg_frames_connect(const char *path, GError **error);
