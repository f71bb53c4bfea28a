/* A camera's stream as the console reads it, with the camera's own credentials: playback sessions,
 * made when they are asked for and renewed before they end, and what is known of its recordings.
 * Counted references; thread: any. */
#pragma once

#include "agent/ranges.h"
#include "config/config.h"

typedef struct _KvgViewer KvgViewer;

/* A part of the recording, by the camera's clock; both 0: live. */
typedef struct {
    int64_t from_ms, to_ms;
} KvgViewWindow;

KvgViewer *kvg_viewer_new(KvgConfig *config, const char *camera); /* keeps a reference to @config */
KvgViewer *kvg_viewer_ref(KvgViewer *viewer);
void kvg_viewer_unref(KvgViewer *viewer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgViewer, kvg_viewer_unref)

/* Whether @config reads this camera in the same way, so that its sessions may go on. */
bool kvg_viewer_suits(const KvgViewer *viewer, const KvgConfig *config);
const char *kvg_viewer_ca(const KvgViewer *viewer);
KvgRecordings *kvg_viewer_recordings(KvgViewer *viewer);
/* Calls that read the stream; valid as long as the viewer. NULL: no credentials, and why. */
KvgArchive *kvg_viewer_archive(KvgViewer *viewer, GError **error);

/* The URL of @file of the session for @window, or of its master playlist when @file is NULL
 * (g_free, secret). @low: of kvg-server's low-latency resources. KVG_ERROR_NOT_FOUND: no video. */
char *kvg_viewer_url(KvgViewer *viewer,
                     KvgViewWindow window,
                     bool low,
                     const char *file,
                     const char *query,
                     GError **error);
/* The service does not know the session any more: the next call makes another one. */
void kvg_viewer_drop(KvgViewer *viewer, KvgViewWindow window);

/* Low latency is no part of KVS. What was found out holds for a minute. */
bool kvg_viewer_offers_low(KvgViewer *viewer);
void kvg_viewer_has_no_low(KvgViewer *viewer);
