/* The head of the PutMedia call: the host that is signed is the host that is sent, and a verifier
 * that sees only the header lines comes to the same signature. */
#include "putmedia/putmedia.h"
#include "wire/sigv4.h"
#include <string.h>

static void
test_host(void)
{
    static const struct {
        const char *endpoint, *host;
    } cases[] = {
        {"https://s-1a2b3c4d.kinesisvideo.us-east-1.amazonaws.com",
         "s-1a2b3c4d.kinesisvideo.us-east-1.amazonaws.com"},
        {"https://127.0.0.1:9443", "127.0.0.1:9443"},
        {"https://example.net:443", "example.net"},
        {"http://[::1]:80", "[::1]"},
        {"http://127.0.0.1:443", "127.0.0.1:443"},
        {"https://", NULL},
        {"ftp://example.net", NULL},
        {"https://example.net/path", NULL},
        {"https://user@example.net", NULL},
        {"https://example.net\r\nX: y", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *host = kvg_putmedia_host(cases[i].endpoint, &error);
        g_assert_cmpstr(host, ==, cases[i].host);
        if (host == NULL)
            g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
}

/* The value of header @name among the lines, or NULL. */
static const char *
find(const struct curl_slist *lines, const char *name)
{
    const size_t len = strlen(name);
    for (; lines != NULL; lines = lines->next) {
        if (g_ascii_strncasecmp(lines->data, name, len) == 0 && lines->data[len] == ':')
            return lines->data[len + 1] == ' ' ? lines->data + len + 2 : "";
    }
    return NULL;
}

static void
verify(const struct curl_slist *lines)
{
    g_autoptr(GError) error = NULL;
    g_auto(KvgSigv4Auth) auth = {0};
    g_assert_true(kvg_sigv4_parse_authorization(find(lines, "authorization"), &auth, &error));
    g_assert_no_error(error);
    KvgHeader headers[16];
    size_t n = 0;
    for (; auth.signed_headers[n] != NULL; n++) {
        g_assert_cmpuint(n, <, G_N_ELEMENTS(headers));
        headers[n] = (KvgHeader){auth.signed_headers[n], find(lines, auth.signed_headers[n])};
        g_assert_nonnull(headers[n].value);
    }
    const KvgSigv4Request request = {.method = "POST",
                                     .path = "/putMedia",
                                     .headers = headers,
                                     .n_headers = n,
                                     .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                     .amz_date = find(lines, "x-amz-date"),
                                     .region = "eu-west-1",
                                     .service = "kinesisvideo"};
    g_autofree char *signature = kvg_sigv4_signature(&request, "secret");
    g_assert_cmpstr(auth.signature, ==, signature);
}

static void
test_headers(void)
{
    char access_key[] = "AKIDEXAMPLE", secret_key[] = "secret", token[] = "token/+=";
    for (int with_token = 0; with_token < 2; with_token++) {
        const KvgKeys keys = {.access_key = access_key,
                              .secret_key = secret_key,
                              .session_token = with_token ? token : NULL};
        struct curl_slist *lines = kvg_putmedia_headers("127.0.0.1:9443", "eu-west-1", "gate",
                                                        "kvg/1", &keys, INT64_C(1716208496005));
        g_assert_cmpstr(find(lines, "x-amzn-stream-name"), ==, "gate");
        g_assert_cmpstr(find(lines, "x-amzn-fragment-timecode-type"), ==, "ABSOLUTE");
        g_assert_cmpstr(find(lines, "x-amzn-fragment-acknowledgment-required"), ==, "1");
        g_assert_cmpstr(find(lines, "x-amzn-producer-start-timestamp"), ==, "1716208496.005");
        g_assert_cmpstr(find(lines, "x-amz-date"), ==, "20240520T123456Z");
        g_assert_cmpstr(find(lines, "transfer-encoding"), ==, "chunked");
        g_assert_cmpstr(find(lines, "x-amz-security-token"), ==, with_token ? token : NULL);
        g_assert_cmpstr(find(lines, "expect"), ==, ""); /* removes curl's own */
        verify(lines);
        curl_slist_free_all(lines);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/putmedia/host", test_host);
    g_test_add_func("/putmedia/headers", test_headers);
    return g_test_run();
}
