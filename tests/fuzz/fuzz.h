/* One target per program; driven by libFuzzer, or by replay.c as an ordinary test. */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
