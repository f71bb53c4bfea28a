/* Whether a stored fragment is media that players take, by the documented rules of track numbers
 * and codecs. */
#pragma once

#include "server/playback/call.h"

/* Answers with the service's error and returns false if the fragment cannot be played. */
bool kvg_media_check(KvgReadCall *call,
                     const KvgFragmentInfo *info,
                     bool takes_g711) G_GNUC_WARN_UNUSED_RESULT;
