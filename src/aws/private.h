/* Shared by the files of aws/. */
#pragma once

#include "aws/client.h"

/* curl_global_init, once. Thread: any. */
void kvg_aws_init(void);
