#pragma once

#include <kvg/credentials.h>
#include <kvg/error.h>
#include <kvg/frame.h>
#include <kvg/producer.h>
#include <kvg/spool.h>
