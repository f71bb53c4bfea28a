/* The search in the tables of kvg explain. */
#include "cli/explain.h"
#include <string.h>

#define MAX_TEXT 4096
#define MAX_DISTANCE 8

static const struct {
    const char *name, *about;
} classes[KVG_EXPLAIN_N_CLASSES] = {
    [KVG_EXPLAIN_ERROR] = {"error", "kvg's own error codes: what to do about a failure"},
    [KVG_EXPLAIN_LINK] = {"link", "the link that is broken between a camera and its credentials"},
    [KVG_EXPLAIN_ACK] = {"ack", "ErrorId and ErrorCode of PutMedia's acknowledgements"},
    [KVG_EXPLAIN_EXCEPTION] = {"exception", "errors of Kinesis Video, IoT, IAM and STS"},
    [KVG_EXPLAIN_HTTP] = {"http", "HTTP statuses"},
    [KVG_EXPLAIN_PRODUCER] = {"producer", "hex statuses of AWS's producer libraries and kvssink"},
};

const char *
kvg_explain_class_name(KvgExplainClass class)
{
    return classes[class].name;
}

const char *
kvg_explain_class_about(KvgExplainClass class)
{
    return classes[class].about;
}

size_t
kvg_explain_count(void)
{
    return kvg_explain_table_len + kvg_explain_producer_table_len;
}

const KvgExplanation *
kvg_explain_row(size_t index)
{
    return index < kvg_explain_table_len
               ? &kvg_explain_table[index]
               : &kvg_explain_producer_table[index - kvg_explain_table_len];
}

/* ---- names ---- */

/* What is left of a name when spelling does not count: "STATUS_INVALID_ARG" is "invalidarg",
 * "com.amazon#AccessDeniedException:http://..." is "accessdenied". */
static char *
bare(const char *name)
{
    const char *hash = strrchr(name, '#');
    g_autofree char *low = g_ascii_strdown(hash != NULL ? hash + 1 : name, -1);
    low[strcspn(low, ":")] = '\0';
    size_t out = 0;
    for (size_t i = 0; low[i] != '\0'; i++) {
        if (strchr("_- .", low[i]) == NULL)
            low[out++] = low[i];
    }
    low[out] = '\0';
    static const char *const prefixes[] = {"status", "kvgerror"};
    const char *start = low;
    for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        const size_t len = strlen(prefixes[i]);
        if (strncmp(start, prefixes[i], len) == 0 && start[len] != '\0')
            start += len;
    }
    char *result = g_strdup(start);
    if (strlen(result) > 9 && g_str_has_suffix(result, "exception"))
        result[strlen(result) - 9] = '\0';
    return result;
}

static void
add(GPtrArray *found, const KvgExplanation *row)
{
    if (!g_ptr_array_find(found, row, NULL))
        g_ptr_array_add(found, (void *)(uintptr_t)row);
}

static void
find_name(const char *name, GPtrArray *found)
{
    g_autofree char *wanted = bare(name);
    for (size_t i = 0; wanted[0] != '\0' && i < kvg_explain_count(); i++) {
        g_autofree char *has = bare(kvg_explain_row(i)->name);
        if (strcmp(has, wanted) == 0)
            add(found, kvg_explain_row(i));
    }
}

/* ---- numbers ---- */

/* 0x5200005e, and 5200005e as it also stands in logs; else decimal. */
static bool
parse_number(const char *text, uint32_t *number, bool *is_hex)
{
    guint64 value = 0;
    const bool has_prefix = g_ascii_strncasecmp(text, "0x", 2) == 0;
    const char *digits = has_prefix ? text + 2 : text;
    *is_hex = has_prefix || (strlen(text) == 8 && strspn(text, "0123456789abcdefABCDEF") == 8);
    if (!g_ascii_string_to_unsigned(digits, *is_hex ? 16 : 10, 0, UINT32_MAX, &value, NULL))
        return false;
    *number = (uint32_t)value;
    return true;
}

static void
find_number(uint32_t number, bool is_hex, GPtrArray *found)
{
    for (size_t i = 0; i < kvg_explain_count(); i++) {
        const KvgExplanation *row = kvg_explain_row(i);
        const bool is_status = row->class == KVG_EXPLAIN_PRODUCER;
        /* A small decimal number is an HTTP status or an ErrorId; a large one a status of the
         * producer's, as the signal stream-error passes it. */
        if (row->number == number && number != 0 && is_status == (is_hex || number > UINT16_MAX))
            add(found, row);
    }
}

/* ---- messages ---- */

static bool
is_word(char c)
{
    return g_ascii_isalnum(c) || c == '_';
}

/* A name that says by itself what it is: of two words at least, or with a class. */
static bool
is_telling(const char *word)
{
    return strchr(word, '_') != NULL || g_str_has_suffix(word, "Exception") ||
           g_ascii_strncasecmp(word, "0x", 2) == 0;
}

static void
find_word(const char *word, const char *before, const char *after, GPtrArray *found)
{
    uint32_t number = 0;
    bool is_hex = false;
    if (parse_number(word, &number, &is_hex)) {
        if (is_hex || g_ascii_strcasecmp(before, "HTTP") == 0 ||
            g_ascii_strcasecmp(before, "ErrorId") == 0 || g_ascii_strcasecmp(before, "error") == 0)
            find_number(number, is_hex, found);
        return;
    }
    if (is_telling(word)) {
        find_name(word, found);
        return;
    }
    for (size_t i = 0; after[0] == ':' && i < kvg_explain_table_len; i++) {
        const KvgExplanation *row = &kvg_explain_table[i];
        if (row->class == KVG_EXPLAIN_LINK && strcmp(row->name, word) == 0)
            add(found, row);
    }
}

/* Every code in a line of a log. */
static void
find_in_message(const char *text, GPtrArray *found)
{
    g_autofree char *before = g_strdup("");
    for (const char *at = text; *at != '\0';) {
        if (!is_word(*at)) {
            at++;
            continue;
        }
        const char *end = at;
        while (is_word(*end))
            end++;
        g_autofree char *word = g_strndup(at, (gsize)(end - at));
        find_word(word, before, end, found);
        g_free(before);
        before = g_steal_pointer(&word);
        at = end;
    }
}

GPtrArray *
kvg_explain_find(const char *text)
{
    GPtrArray *found = g_ptr_array_new();
    g_autofree char *code = g_strstrip(g_strndup(text, MAX_TEXT));
    uint32_t number = 0;
    bool is_hex = false;
    if (parse_number(code, &number, &is_hex))
        find_number(number, is_hex, found);
    else
        find_name(code, found);
    if (found->len == 0)
        find_in_message(code, found);
    return found;
}

/* ---- what was meant ---- */

/* Edits that turn @a into @b, MAX_DISTANCE at most. */
static unsigned
distance(const char *a, const char *b)
{
    const size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > 64 || b_len > 64)
        return MAX_DISTANCE;
    unsigned row[65];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            const unsigned above = row[j];
            row[j] = MIN(MIN(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return MIN(row[b_len], MAX_DISTANCE);
}

/* Smaller is likelier: a name that holds the text, one that needs few edits, one the text holds. */
static unsigned
unlikeness(const char *wanted, const KvgExplanation *row)
{
    g_autofree char *has = bare(row->name);
    if (strlen(wanted) >= 4 && strstr(has, wanted) != NULL)
        return 0;
    const unsigned edits = distance(wanted, has);
    if (edits <= strlen(wanted) / 3)
        return edits;
    return strlen(has) >= 5 && strstr(wanted, has) != NULL ? MAX_DISTANCE - 1 : MAX_DISTANCE;
}

GPtrArray *
kvg_explain_nearest(const char *text, unsigned max)
{
    GPtrArray *nearest = g_ptr_array_new();
    g_autofree char *code = g_strndup(text, MAX_TEXT);
    g_autofree char *wanted = bare(g_strstrip(code));
    for (unsigned level = 0; level < MAX_DISTANCE && wanted[0] != '\0'; level++) {
        for (size_t i = 0; i < kvg_explain_count() && nearest->len < max; i++) {
            if (unlikeness(wanted, kvg_explain_row(i)) == level)
                add(nearest, kvg_explain_row(i));
        }
    }
    return nearest;
}
