/* Low-latency HLS of a live session, under /ll/v1/: parts of the fragment that is still arriving,
 * blocking reload, preload hints. Not something the service has; for our own console. Source: RFC
 * 8216bis. */
#pragma once

#include "server/playback/resource.h"

void kvg_low_latency_send_playlist(KvgResourceCall *call);
void kvg_low_latency_send_part(KvgResourceCall *call);
