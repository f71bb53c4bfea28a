/* Which link of the network is broken, out of what curl and OpenSSL say. */
#include "aws/private.h"
#include <openssl/x509_vfy.h>
#include <string.h>

static const KvgTransportFault answer_fault = {
    KVG_ERROR_RETRY, "answer",
    "something else than the service seems to listen there; check the endpoint"};

/* curl knows that the server's certificate was not accepted; OpenSSL knows why. */
static KvgTransportFault
judge_trust(CURL *easy, const char *text)
{
    long verified = X509_V_OK;
    curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verified);
    if (strstr(text, "subject name") != NULL || strstr(text, "does not match") != NULL)
        return (KvgTransportFault){KVG_ERROR_RETRY, "endpoint",
                                   "the server there has another name; check the endpoint"};
    if (verified == X509_V_ERR_CERT_NOT_YET_VALID)
        return (KvgTransportFault){KVG_ERROR_RETRY, "clock",
                                   "the server's certificate is not valid yet: set this machine's "
                                   "clock (NTP)"};
    if (verified == X509_V_ERR_CERT_HAS_EXPIRED)
        return (KvgTransportFault){KVG_ERROR_RETRY, "clock",
                                   "the server's certificate has expired: check this machine's "
                                   "clock, then the server"};
    return (KvgTransportFault){KVG_ERROR_RETRY, "CA",
                               "the CA file (ca_bundle) is not the one that signed the server's "
                               "certificate, or a proxy sits in between"};
}

/* An alert of the server's says something about the client's certificate; it may come with the
 * handshake or, in TLS 1.3, with the first read. */
static KvgTransportFault
judge_tls(const char *text)
{
    static const char *const alerts[] = {"certificate required",   "unknown ca",
                                         "bad certificate",        "certificate expired",
                                         "certificate revoked",    "certificate unknown",
                                         "unsupported certificate"};
    for (size_t i = 0; i < G_N_ELEMENTS(alerts); i++) {
        if (strstr(text, alerts[i]) != NULL)
            return (KvgTransportFault){KVG_ERROR_AUTH, "certificate",
                                       "the server refused this client's certificate; run kvg "
                                       "provision"};
    }
    return (KvgTransportFault){KVG_ERROR_RETRY, "TLS",
                               "a firewall or proxy that breaks TLS, or a port that does not speak "
                               "it; check the endpoint"};
}

KvgTransportFault
kvg_transport_judge(CURL *easy, CURLcode result, const char *curl_error)
{
    switch ((int)result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return (KvgTransportFault){KVG_ERROR_RETRY, "DNS",
                                   "check the endpoint's name, the resolver and the network"};
    case CURLE_COULDNT_RESOLVE_PROXY:
        return (KvgTransportFault){KVG_ERROR_RETRY, "DNS", "check https_proxy"};
    case CURLE_COULDNT_CONNECT:
        return (KvgTransportFault){KVG_ERROR_RETRY, "TCP",
                                   "check the network, the firewall and the endpoint's port"};
    case CURLE_OPERATION_TIMEDOUT:
        return (KvgTransportFault){KVG_ERROR_RETRY, "TCP",
                                   "no answer in time; check the network and the firewall"};
    case CURLE_PEER_FAILED_VERIFICATION:
        return judge_trust(easy, curl_error);
    case CURLE_SSL_CACERT_BADFILE:
        return (KvgTransportFault){
            KVG_ERROR_RETRY, "CA",
            "the CA file (ca_bundle) must exist and hold certificates in PEM"};
    case CURLE_SSL_CERTPROBLEM:
        return (KvgTransportFault){KVG_ERROR_AUTH, "certificate",
                                   "the certificate and its private key must be PEM files that "
                                   "belong together"};
    case CURLE_SSL_CONNECT_ERROR:
        return judge_tls(curl_error);
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
        if (strstr(curl_error, "alert") != NULL)
            return judge_tls(curl_error);
        return (KvgTransportFault){KVG_ERROR_RETRY, "TCP",
                                   "the connection was lost; check the network"};
    case CURLE_UNSUPPORTED_PROTOCOL:
        if (strstr(curl_error, "HTTP/0.9") != NULL) /* what came is no HTTP */
            return answer_fault;
        G_GNUC_FALLTHROUGH;
    case CURLE_URL_MALFORMAT:
        return (KvgTransportFault){KVG_ERROR_INVALID, "endpoint", "it is not a URL kvg can use"};
    default:
        return answer_fault;
    }
}

char *
kvg_aws_transport_text(CURL *easy, CURLcode result, const char *curl_error)
{
    const KvgTransportFault fault = kvg_transport_judge(easy, result, curl_error);
    return g_strdup_printf("%s: %s; %s", fault.link,
                           curl_error[0] != '\0' ? curl_error : curl_easy_strerror(result),
                           fault.remedy);
}
