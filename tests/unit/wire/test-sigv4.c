/* Signature Version 4 against computed vectors, and hostile Authorization headers. */
#include "wire/sigv4.h"

#include <kvg/error.h>
#include <string.h>

#define KEY_ID "AKIDEXAMPLE0LOCALKVS"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TOKEN "IQoJb3JpZ2luX2VjEXAMPLETOKEN//////////wEaCXVzLXdlc3QtMiJHMEUCIQ+/=="
#define DATE "20240520T123456Z"
#define AGENT "AWS-SDK-KVS/3.0.0 GCC/12.2.0 Linux/6.1.0 aarch64"
#define KVS_HOST "kinesisvideo.us-west-2.amazonaws.com"
#define DATA_HOST "s-1a2b3c4d.kinesisvideo.us-west-2.amazonaws.com"

#define PUT_MEDIA(start)                                                                           \
    {"Connection", "keep-alive"}, {"Host", DATA_HOST}, {"transfer-encoding", "chunked"},           \
        {"user-agent", AGENT}, {"X-Amz-Date", DATE},                                               \
        {"x-amzn-fragment-acknowledgment-required", "1"},                                          \
        {"x-amzn-fragment-timecode-type", "ABSOLUTE"}, {"x-amzn-producer-start-timestamp", start}, \
    {                                                                                              \
        "x-amzn-stream-name", "cam-01"                                                             \
    }

typedef struct {
    const char *name;
    const char *method, *path, *query, *body, *region, *service;
    KvgHeader headers[12];
    const char *canonical_hash; /* NULL: only the signature is known */
    const char *signature;
} Vector;

static const Vector vectors[] = {
    {"json-post",
     "POST",
     "/describeStream",
     NULL,
     "{\"StreamName\":\"cam-01\"}",
     "us-west-2",
     "kinesisvideo",
     {{"x-amz-date", DATE}, {"Host", KVS_HOST}, {"Content-Type", "  application/json "}},
     "106d0aa88a859a8af798bd1f2601bf07d2916c0a8bef254e5cc9d780ba6e26c0",
     "57fd46f9f7cb95c382d05b4cc66084730c797130ca48aae48f9d74b5e56e5b79"},
    {"json-post-user-agent",
     "POST",
     "/describeStream",
     "",
     "{\"StreamName\":\"cam-01\"}",
     "us-west-2",
     "kinesisvideo",
     {{"host", KVS_HOST}, {"User-Agent", AGENT}, {"x-amz-date", DATE}},
     "bf1a1b5b05d429e5e720d170eab5c509dfbb428fa9ba6a6a969d30e13941024c",
     "73e01b8dbd7b5ecbf831cca12a11c7817e53c4ad537406356872c3ab1d0cbd5a"},
    {"put-media",
     "POST",
     "/putMedia",
     NULL,
     "",
     "us-west-2",
     "kinesisvideo",
     {PUT_MEDIA("1716208496.5")},
     "fd9fc6f912ee1cba4fa5ad79dab29b57ac12926d85e047b23ac3ba6557bd5a3f",
     "ec3b0ddc1a5593e95f85cef59e35dd3e330baa198580b1e9def1fdf36025185b"},
    {"put-media-signed-token",
     "POST",
     "/putMedia",
     NULL,
     "",
     "us-west-2",
     "kinesisvideo",
     {PUT_MEDIA("1716208496.005"), {"x-amz-security-token", TOKEN}},
     "5007c3d72d79529158b4cf3b53f54452d6c53ca621e2cb404e82dc7c22958321",
     "a5724362547aa1e2eecd98bc8970157f16ca9cf1de5f7861c9a324941f7e8fa0"},
    {"iam-form",
     "POST",
     "",
     NULL,
     "Action=GetRole&Version=2010-05-08&RoleName=KvsCameraRole",
     "us-east-1",
     "iam",
     {{"content-type", "application/x-www-form-urlencoded;  charset=utf-8"},
      {"host", "iam.amazonaws.com"},
      {"x-amz-date", DATE}},
     "bbd06e5414a7b327457304272a1b101131f18f594b9c72e41fa8cf38ad0a716e",
     "d41e2ae3bc375f7a3120b5d0575d35d4bec0689d587282d143fe3dfb26b87cd0"},
    {"get-query",
     "GET",
     "/endpoint",
     "endpointType=iot%3aData-ATS",
     "",
     "us-west-2",
     "iot",
     {{"host", "iot.us-west-2.amazonaws.com"}, {"x-amz-date", DATE}},
     "4e21b29d55b07510b41a7f85047ff8d23046194d4bf4623f86e60152a7ce6b1b",
     "3d6541f1687a68752de00d92143bf69e2b4f04e6af2c050c80ea93130dcf7a15"},
    {"double-encoded-path",
     "POST",
     "/attached-policies/arn%3Aaws%3Aiot%3Aus-west-2%3A123456789012%3Acert%2F0123abcd",
     "recursive=false&pageSize=25",
     "",
     "us-west-2",
     "iot",
     {{"host", "iot.us-west-2.amazonaws.com"}, {"x-amz-date", DATE}},
     "9d11d8e90ed4ef52863baf4407fa17e450c7a10d4dd831e0cf2b0d4281035a00",
     "b01694785449beb723153e901cca47de663ea3482b8293e084f0ed92f2cdc5a0"},
};

static void
test_vector(const void *data)
{
    const Vector *v = data;
    size_t n = 0;
    while (n < G_N_ELEMENTS(v->headers) && v->headers[n].name)
        n++;
    g_autofree char *payload = kvg_sigv4_sha256_hex(v->body, strlen(v->body));
    const KvgSigv4Request request = {.method = v->method,
                                     .path = v->path,
                                     .query = v->query,
                                     .headers = v->headers,
                                     .n_headers = n,
                                     .payload_sha256 = payload,
                                     .amz_date = DATE,
                                     .region = v->region,
                                     .service = v->service};
    g_autofree char *canonical = kvg_sigv4_canonical_request(&request);
    g_autofree char *hash = kvg_sigv4_sha256_hex(canonical, strlen(canonical));
    g_test_message("%s", canonical);
    g_assert_cmpstr(hash, ==, v->canonical_hash);
    g_autofree char *signature = kvg_sigv4_signature(&request, SECRET);
    g_assert_cmpstr(signature, ==, v->signature);

    /* What we write, we read. */
    g_autoptr(GError) error = NULL;
    g_autofree char *header = kvg_sigv4_authorization(&request, KEY_ID, SECRET);
    g_auto(KvgSigv4Auth) auth = {0};
    g_assert_true(kvg_sigv4_parse_authorization(header, &auth, &error));
    g_assert_cmpstr(auth.access_key, ==, KEY_ID);
    g_assert_cmpstr(auth.date8, ==, "20240520");
    g_assert_cmpstr(auth.region, ==, v->region);
    g_assert_cmpstr(auth.service, ==, v->service);
    g_assert_cmpstr(auth.terminator, ==, "aws4_request");
    g_assert_cmpstr(auth.signature, ==, v->signature);
    g_assert_cmpuint(g_strv_length(auth.signed_headers), ==, n);
}

static void
test_keys(void)
{
    static const struct {
        const char *region, *service, *key;
    } cases[] = {
        {"us-west-2", "kinesisvideo",
         "f5d925ddcce944a9617b0da070238ee41b55ed094fc45b264a4a0a04eb7ed21c"},
        {"us-west-2", "iot", "509e6eab747430c37e6d1d6ae3ec752608286b0053f4bc1ab6b619170ce1c25d"},
        {"us-east-1", "iam", "44f1fce690d6efce6f3f2ba6ac4b5c4d459bd253d85a1dcd105fd1cb51e25748"},
        {"us-west-2", "sts", "b78a5140cf340a1e35bbe009efb558c8d21edbf4644f14e21a832bf5e7820b34"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t key[32];
        kvg_sigv4_derive_key(SECRET, "20240520", cases[i].region, cases[i].service, key);
        g_autoptr(GString) hex = g_string_new(NULL);
        for (size_t k = 0; k < sizeof key; k++)
            g_string_append_printf(hex, "%02x", key[k]);
        g_assert_cmpstr(hex->str, ==, cases[i].key);
    }
}

static void
test_presign(void)
{
    const KvgHeader host = {"host", "sts.us-west-2.amazonaws.com"};
    const KvgSigv4Request request = {.method = "GET",
                                     .path = "/",
                                     .query = "Action=GetCallerIdentity&Version=2011-06-15",
                                     .headers = &host,
                                     .n_headers = 1,
                                     .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                     .amz_date = DATE,
                                     .region = "us-west-2",
                                     .service = "sts"};
    g_autofree char *query = kvg_sigv4_presign_query(&request, KEY_ID, SECRET, TOKEN, 60);
    g_assert_true(g_str_has_suffix(
        query, "&X-Amz-SignedHeaders=host&X-Amz-Signature="
               "358976e1f1d8cb570970c3224e4d5bdee6b08d7866f3e346a7d67adef5105e8f"));
}

static void
test_repeated_headers(void)
{
    const KvgHeader headers[] = {{"B", "2"}, {"a", " x  y\tz "}, {"b", "1"}};
    const KvgSigv4Request request = {.method = "GET",
                                     .path = "/a b",
                                     .query = "b&a=2&a=1&a-b=%zz",
                                     .headers = headers,
                                     .n_headers = 3,
                                     .payload_sha256 = "p",
                                     .amz_date = DATE,
                                     .region = "r",
                                     .service = "s"};
    g_autofree char *canonical = kvg_sigv4_canonical_request(&request);
    g_assert_cmpstr(canonical, ==, "GET\n/a%20b\na=1&a=2&a-b=%25zz&b=\na:x y z\nb:2,1\n\na;b\np");
}

static void
test_hostile(void)
{
    static const char *const headers[] = {
        "",
        "Basic abc",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256X Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=/b/c/d/e, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host;;x, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0, Signature=1",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0, Other=1",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(KvgSigv4Auth) auth = {0};
        g_test_message("%s", headers[i]);
        g_assert_false(kvg_sigv4_parse_authorization(headers[i], &auth, &error));
        g_assert_error(error, KVG_ERROR, KVG_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
        g_autofree char *path = g_strconcat("/wire/sigv4/vector/", vectors[i].name, NULL);
        g_test_add_data_func(path, &vectors[i], test_vector);
    }
    g_test_add_func("/wire/sigv4/keys", test_keys);
    g_test_add_func("/wire/sigv4/presign", test_presign);
    g_test_add_func("/wire/sigv4/canonical", test_repeated_headers);
    g_test_add_func("/wire/sigv4/hostile", test_hostile);
    return g_test_run();
}
