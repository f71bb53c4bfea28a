/* What kvg explain knows: one row for each code, in two tables (explain_table.c,
 * explain_producer.c), and the search in them. Hides how a code may be written. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    KVG_EXPLAIN_ERROR,     /* KvgError: what to do */
    KVG_EXPLAIN_LINK,      /* the word after the first colon of a credentials error */
    KVG_EXPLAIN_ACK,       /* ErrorId and ErrorCode of a PutMedia acknowledgement */
    KVG_EXPLAIN_EXCEPTION, /* x-amzn-ErrorType, or Code of IAM and STS */
    KVG_EXPLAIN_HTTP,      /* status */
    KVG_EXPLAIN_PRODUCER,  /* status of AWS's producer libraries */
    KVG_EXPLAIN_N_CLASSES,
} KvgExplainClass;

typedef struct {
    KvgExplainClass class;
    uint32_t number; /* 0: it has a name only */
    const char *name;
    const char *cause, *remedy;
} KvgExplanation;

/* "ack", ... and what it is about. */
const char *kvg_explain_class_name(KvgExplainClass class);
const char *kvg_explain_class_about(KvgExplainClass class);

/* All rows, of both tables. */
size_t kvg_explain_count(void);
const KvgExplanation *kvg_explain_row(size_t index);

/* The rows @text means (g_ptr_array_unref; rows are static), none if it is unknown. @text: a number
 * (decimal or hex), a name in any case with or without "Exception" or "STATUS_", or a whole
 * message. */
GPtrArray *kvg_explain_find(const char *text);
/* At most @max names that are spelt alike, the likeliest first. */
GPtrArray *kvg_explain_nearest(const char *text, unsigned max);
/* Which of AWS's libraries a status of its producer comes from; NULL: none. */
const char *kvg_explain_family(uint32_t status);

/* The tables; use the functions above. */
extern const KvgExplanation kvg_explain_table[], kvg_explain_producer_table[];
extern const size_t kvg_explain_table_len, kvg_explain_producer_table_len;
