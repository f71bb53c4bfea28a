/* The TLS context of a server: TLS 1.2 or newer, optionally asking for a client certificate. */
#include "http/server.h"

#include <kvg/error.h>
#include <openssl/err.h>

static void
set_error(GError **error, const char *what, const char *path)
{
    char reason[256] = "unknown reason";
    const unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "%s '%s': %s", what, path, reason);
}

/* Chains are accepted here and judged by the handler (kvg_http_peer_verified). */
static int
accept_any(int is_ok, X509_STORE_CTX *context)
{
    return 1;
}

static bool
ask_for_client(SSL_CTX *context, const char *path, GError **error)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (!names || !SSL_CTX_load_verify_file(context, path)) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        set_error(error, "client CA", path);
        return false;
    }
    SSL_CTX_set_client_CA_list(context, names); /* takes names */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, accept_any);
    /* A resumed session would skip the verification that kvg_http_peer_verified() reports. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    return true;
}

SSL_CTX *
kvg_http_tls_context_new(const char *certificate_path,
                         const char *key_path,
                         const char *client_ca_path,
                         GError **error)
{
    g_autoptr(SSL_CTX) context = SSL_CTX_new(TLS_server_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)) {
        set_error(error, "TLS context for", certificate_path);
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_path) != 1) {
        set_error(error, "certificate", certificate_path);
        return NULL;
    }
    if (SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        set_error(error, "private key", key_path);
        return NULL;
    }
    if (client_ca_path && !ask_for_client(context, client_ca_path, error))
        return NULL;
    return g_steal_pointer(&context);
}
