/* Text of a DASH manifest, entry by entry. No I/O. Source: ISO/IEC 23009-1. */
#pragma once

#include "server/playback/fragment.h"
#include "server/playback/session.h"
#include "server/playback/timeline.h"

typedef struct _KvgDash KvgDash;

/* @session and @token are borrowed and must outlive the manifest. @head_ms: kvg_timeline_head_ms().
 */
KvgDash *
kvg_dash_new(const KvgPlaybackSession *session, const char *token, int64_t head_ms, int64_t now_ms);
void kvg_dash_free(KvgDash *dash);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgDash, kvg_dash_free)
/* Whether @entry begins a period, so that kvg_dash_add() wants to see the fragment. */
bool kvg_dash_needs_tracks(const KvgDash *dash, const KvgTimelineEntry *entry);
/* @reader: the fragment with its samples if it begins a period, else NULL. */
void kvg_dash_add(KvgDash *dash, const KvgTimelineEntry *entry, const KvgFragmentReader *reader);
char *kvg_dash_finish(KvgDash *dash);
