/* Acknowledgements: written, split anywhere, damaged. */
#include "wire/ack.h"

#include <kvg/error.h>
#include <string.h>

#define NUMBER "91343852333181447247962534042408424052728840414"
static const char stream[] =
    "{\"EventType\":\"BUFFERING\",\"FragmentTimecode\":1597730826769,\"FragmentNumber\":\"" NUMBER
    "\"}\n{\"EventType\":\"PERSISTED\",\"FragmentTimecode\":\"7\",\"FragmentNumber\":\"1\","
    "\"Extra\":{\"a\":\"}{\\\"\"}}\r\n"
    "{\"EventType\":\"ERROR\",\"FragmentTimecode\":5,\"ErrorCode\":\"KMS_KEY_ACCESS_DENIED\","
    "\"ErrorId\":4500}{\"EventType\":\"IDLE\"}\n{\"EventType\":\"SOMETHING\"}\n";

static void
check_stream(KvgAckParser *parser, unsigned *n)
{
    KvgAck ack;
    while (kvg_ack_parser_step(parser, &ack, NULL) == KVG_ACK_STEP_ACK) {
        static const KvgAckType types[] = {KVG_ACK_BUFFERING, KVG_ACK_PERSISTED, KVG_ACK_ERROR,
                                           KVG_ACK_IDLE, KVG_ACK_UNKNOWN};
        static const int64_t timecodes[] = {1597730826769, 7, 5, 0, 0};
        g_assert_cmpuint(*n, <, G_N_ELEMENTS(types));
        g_assert_cmpint(ack.type, ==, types[*n]);
        g_assert_cmpint(ack.timecode_ms, ==, timecodes[*n]);
        if (*n == 0)
            g_assert_cmpstr(ack.fragment_number, ==, NUMBER);
        if (*n == 2) {
            g_assert_cmpint(ack.error_id, ==, 4500);
            g_assert_cmpstr(ack.error_code, ==, "KMS_KEY_ACCESS_DENIED");
        }
        (*n)++;
    }
}

static void
feed(GRand *random, size_t longest)
{
    g_autoptr(KvgAckParser) parser = kvg_ack_parser_new();
    unsigned n = 0;
    for (size_t at = 0; at < sizeof stream - 1;) {
        size_t len = random ? (size_t)g_rand_int_range(random, 1, (gint32)longest + 1) : longest;
        len = MIN(len, sizeof stream - 1 - at);
        g_assert_true(kvg_ack_parser_put(parser, stream + at, len, NULL));
        check_stream(parser, &n);
        at += len;
    }
    g_assert_cmpuint(n, ==, 5);
}

static void
test_splits(void)
{
    GRand *random = g_rand_new_with_seed(1);
    feed(NULL, sizeof stream);
    feed(NULL, 1);
    for (unsigned i = 0; i < 200; i++)
        feed(random, 40);
    g_rand_free(random);
}

static void
test_hostile(void)
{
    static const char *const texts[] = {
        "x",
        "[]",
        "{}",
        "{\"EventType\":1}",
        "{\"EventType\":\"RECEIVED\"}",
        "{\"EventType\":\"RECEIVED\",\"FragmentTimecode\":-1}",
        "{\"EventType\":\"RECEIVED\",\"FragmentTimecode\":1,\"FragmentNumber\":\"12x\"}",
        "{\"EventType\":\"RECEIVED\",\"FragmentTimecode\":1,\"FragmentTimecode\":2}",
        "{\"EventType\":\"RECEIVED\",\"FragmentTimecode\":99999999999999999999}",
        "{\"EventType\":\"ERROR\",\"FragmentTimecode\":1}",
        "{\"EventType\":}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(KvgAckParser) parser = kvg_ack_parser_new();
        g_autoptr(GError) error = NULL;
        KvgAck ack;
        g_test_message("%s", texts[i]);
        const bool is_put = kvg_ack_parser_put(parser, texts[i], strlen(texts[i]), NULL);
        g_assert_cmpint(is_put, ==, i >= 2);
        g_assert_cmpint(kvg_ack_parser_step(parser, &ack, &error), ==, KVG_ACK_STEP_FAILED);
        g_assert_error(error, KVG_ERROR, KVG_ERROR_CORRUPT);
        g_assert_cmpint(kvg_ack_parser_step(parser, &ack, NULL), ==, KVG_ACK_STEP_FAILED);
    }
    g_autoptr(KvgAckParser) parser = kvg_ack_parser_new();
    g_autofree char *large = g_strnfill(5000, '{');
    g_autoptr(GError) error = NULL;
    g_assert_false(kvg_ack_parser_put(parser, large, 5000, &error));
    g_assert_error(error, KVG_ERROR, KVG_ERROR_CORRUPT);
}

static void
test_write(void)
{
    const KvgAck error = {KVG_ACK_ERROR, 1623316156380, "42", 4002, ""};
    g_autofree char *text = kvg_ack_to_text(&error);
    g_assert_cmpstr(text, ==,
                    "{\"EventType\":\"ERROR\",\"FragmentTimecode\":1623316156380,"
                    "\"FragmentNumber\":\"42\",\"ErrorCode\":\"MAX_FRAGMENT_DURATION_REACHED\","
                    "\"ErrorId\":4002}\n");
    const KvgAck idle = {.type = KVG_ACK_IDLE};
    g_autofree char *idle_text = kvg_ack_to_text(&idle);
    g_assert_cmpstr(idle_text, ==, "{\"EventType\":\"IDLE\"}\n");
    g_assert_cmpstr(kvg_ack_error_code(1), ==, "UNKNOWN_ERROR");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/ack/splits", test_splits);
    g_test_add_func("/wire/ack/hostile", test_hostile);
    g_test_add_func("/wire/ack/write", test_write);
    return g_test_run();
}
