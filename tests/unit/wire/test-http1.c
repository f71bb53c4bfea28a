/* The request parser: whole, byte by byte, at random splits, and what it must refuse. */
#include "wire/http1.h"

#include <kvg/error.h>
#include <string.h>

static const char two_requests[] =
    "POST /p?q=1 HTTP/1.1\r\nHost: x\r\nEmpty:\r\nExpect: 100-continue\r\n"
    "Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n3\r\nabc\r\n0\r\nTrailer: t\r\n\r\n"
    "GET / HTTP/1.0\r\n\r\n";

/* Everything that came out, as one text. */
static char *
parse(const char *text, size_t len, GRand *random, size_t longest)
{
    g_autoptr(KvgHttp1) http = kvg_http1_new(NULL);
    GString *out = g_string_new(NULL);
    size_t at = 0;
    size_t given = 0;
    for (;;) {
        size_t used;
        size_t body_len;
        const uint8_t *body;
        g_autoptr(GError) error = NULL;
        const KvgHttp1Event event =
            kvg_http1_step(http, text + at, given - at, &used, &body, &body_len, &error);
        at += used;
        if (event == KVG_HTTP1_FAILED) {
            g_assert_nonnull(error);
            g_string_append(out, "FAILED");
            break;
        }
        if (event == KVG_HTTP1_HEAD) {
            const KvgHttp1Head *head = kvg_http1_head(http);
            g_string_append_printf(out, "%s %s %s %zu %d%d%d:", head->method, head->path,
                                   head->query ? head->query : "-", head->n_headers,
                                   head->keep_alive, head->expects_continue, head->has_body);
        } else if (event == KVG_HTTP1_BODY) {
            g_string_append_len(out, (const char *)body, (gssize)body_len);
        } else if (event == KVG_HTTP1_END) {
            g_string_append(out, ";");
            kvg_http1_reset(http);
        } else {
            g_assert_cmpuint(at, ==, given);
            if (given == len)
                break;
            given += random ? (size_t)g_rand_int_range(random, 1, (gint32)longest + 1) : longest;
            given = MIN(given, len);
        }
    }
    return g_string_free(out, FALSE);
}

static void
test_splits(void)
{
    static const char expected[] = "POST /p q=1 4 111:helloabc;GET / - 0 000:;";
    const size_t len = sizeof two_requests - 1;
    GRand *random = g_rand_new_with_seed(1);
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *out = parse(two_requests, len, i < 2 ? NULL : random,
                                     i == 0   ? len
                                     : i == 1 ? 1
                                              : 30);
        g_assert_cmpstr(out, ==, expected);
    }
    g_rand_free(random);
    for (size_t cut = 0; cut < len; cut++) {
        g_autofree char *out = parse(two_requests, cut, NULL, len);
        g_assert_null(strstr(out, "FAILED"));
    }
}

static void
test_hostile(void)
{
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        for (size_t step = 1; step < 1000; step += 998) {
            g_autofree char *out = parse(texts[i], strlen(texts[i]), NULL, step);
            g_test_message("%s -> %s", texts[i], out);
            g_assert_true(g_str_has_suffix(out, "FAILED"));
        }
    }
}

static void
test_bounds(void)
{
    g_autoptr(GString) many = g_string_new("GET / HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 0; i < 101; i++)
        g_string_append(many, "A: b\r\n");
    g_string_append(many, "\r\n");
    g_autofree char *out = parse(many->str, many->len, NULL, many->len);
    g_assert_cmpstr(out, ==, "FAILED");
    g_autofree char *large = g_strnfill(40000, '/');
    memcpy(large, "GET ", 4);
    g_autofree char *large_out = parse(large, 40000, NULL, 40000);
    g_assert_cmpstr(large_out, ==, "FAILED");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/http1/splits", test_splits);
    g_test_add_func("/wire/http1/hostile", test_hostile);
    g_test_add_func("/wire/http1/bounds", test_bounds);
    return g_test_run();
}
