/* What kvg-server does instead of serving: check, repair, compact, back up. */
#pragma once

#include "server/options.h"

bool kvg_server_maintains(const KvgServerArguments *arguments);
/* The exit status: 0; 1 for damage or a failure. Says what it does on standard output. */
int kvg_server_maintain(const KvgServerArguments *arguments);
