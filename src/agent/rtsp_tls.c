#include "agent/rtsp_tls.h"
#include <kvg/error.h>
#include <string.h>

#define SHA256 "sha256:"

/* ---- a database that trusts nobody ---- */

G_DECLARE_FINAL_TYPE(KvgNobody, kvg_nobody, KVG, NOBODY, GTlsDatabase)
struct _KvgNobody {
    GTlsDatabase parent;
};
G_DEFINE_TYPE(KvgNobody, kvg_nobody, G_TYPE_TLS_DATABASE)

static GTlsCertificateFlags
verify_nobody(GTlsDatabase *self,
              GTlsCertificate *chain,
              const gchar *purpose,
              GSocketConnectable *identity,
              GTlsInteraction *interaction,
              GTlsDatabaseVerifyFlags flags,
              GCancellable *cancellable,
              GError **error)
{
    return G_TLS_CERTIFICATE_UNKNOWN_CA;
}

static void
kvg_nobody_class_init(KvgNobodyClass *klass)
{
    G_TLS_DATABASE_CLASS(klass)->verify_chain = verify_nobody;
}

static void
kvg_nobody_init(KvgNobody *self)
{
}

static GTlsDatabase *
system_store(void)
{
    static gsize once;
    static GTlsDatabase *store;
    if (g_once_init_enter(&once)) {
        GTlsBackend *backend = g_tls_backend_get_default();
        g_autoptr(GTlsDatabase) nobody = g_object_new(kvg_nobody_get_type(), NULL);
        store = g_tls_backend_get_default_database(backend);
        g_tls_backend_set_default_database(backend, nobody);
        g_once_init_leave(&once, 1);
    }
    return store;
}

/* ---- whom to trust ---- */

bool
kvg_rtsp_tls_trust(const KvgConfigRtsp *rtsp, GTlsDatabase **trusted, GError **error)
{
    GTlsDatabase *store = system_store();
    *trusted = NULL;
    if (rtsp->certificate != NULL)
        return true;
    if (rtsp->ca_bundle == NULL) {
        *trusted = store != NULL ? g_object_ref(store) : NULL;
        return true;
    }
    g_autoptr(GError) problem = NULL;
    *trusted = g_tls_file_database_new(rtsp->ca_bundle, &problem);
    if (*trusted == NULL)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "rtsp.ca_bundle: %s", problem->message);
    return *trusted != NULL;
}

bool
kvg_rtsp_tls_is_pinned(const KvgConfigRtsp *rtsp, GTlsCertificate *certificate, char **seen)
{
    g_autoptr(GByteArray) der = NULL;
    g_object_get(certificate, "certificate", &der, NULL);
    *seen = der != NULL ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, der->data, der->len)
                        : g_strdup("unknown");
    return rtsp->certificate != NULL && g_str_has_prefix(rtsp->certificate, SHA256) &&
           g_ascii_strcasecmp(*seen, rtsp->certificate + strlen(SHA256)) == 0;
}
