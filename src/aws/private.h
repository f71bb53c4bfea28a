/* Shared by the files of aws/. */
#pragma once

#include "aws/client.h"
#include <kvg/error.h>

/* curl_global_init, once. Thread: any. */
void kvg_aws_init(void);

/* Why a request got no answer: the broken link ("DNS", "TCP", "TLS", "CA", "endpoint", "clock",
 * "certificate", "answer") and what to do about it. Static text. */
typedef struct {
    KvgError code;
    const char *link, *remedy;
} KvgTransportFault;
/* @curl_error: curl's own words (CURLOPT_ERRORBUFFER), may be empty. */
KvgTransportFault kvg_transport_judge(CURL *easy, CURLcode result, const char *curl_error);

/* The text between <tag> and </tag>, at most @max bytes (g_free); NULL if there is none. Good
 * enough for the flat documents of the query APIs. */
char *kvg_aws_xml_text(const char *document, const char *tag, size_t max);
