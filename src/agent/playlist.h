/* HLS playlists of a session as the browser gets them: one folder, no token. No I/O. */
#pragma once

/* @playlist with every URI reduced to its file name, @prefix before it, and without SessionToken
 * (g_free). */
char *kvg_playlist_rewrite(const char *playlist, const char *prefix);
