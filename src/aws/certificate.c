#include "aws/certificate.h"
#include "aws/source.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)

bool
kvg_file_is_open_to_others(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
}

static BIO *
open_file(const char *who, const char *what, const char *path, GError **error)
{
    g_autoptr(BIO) file = NULL;
    if (g_file_test(path, G_FILE_TEST_IS_DIR))
        errno = EISDIR;
    else
        file = BIO_new_file(path, "r");
    if (file == NULL)
        kvg_fault(error, KVG_ERROR_AUTH, who, "file",
                  errno == EACCES ? "give this user the right to read it"
                                  : "check the path, or run kvg provision",
                  "%s %s: %s", what, path, g_strerror(errno));
    ERR_clear_error();
    return g_steal_pointer(&file);
}

/* OpenSSL would ask for the passphrase on the terminal. */
static int
no_passphrase(char *buffer, int size, int writing, void *user_data)
{
    *(bool *)user_data = true;
    return -1;
}

static X509 *
read_certificate(const char *who, const char *what, const char *path, GError **error)
{
    g_autoptr(BIO) file = open_file(who, what, path, error);
    if (file == NULL)
        return NULL;
    X509 *certificate = PEM_read_bio_X509(file, NULL, NULL, NULL);
    ERR_clear_error();
    if (certificate == NULL)
        kvg_fault(error, KVG_ERROR_AUTH, who, strcmp(what, "CA file") == 0 ? "CA" : "certificate",
                  "it must begin with -----BEGIN CERTIFICATE-----",
                  "%s %s holds no certificate in PEM", what, path);
    return certificate;
}

static EVP_PKEY *
read_key(const char *who, const char *path, GError **error)
{
    g_autoptr(BIO) file = open_file(who, "private key", path, error);
    if (file == NULL)
        return NULL;
    bool is_encrypted = false;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, no_passphrase, &is_encrypted);
    ERR_clear_error();
    if (key == NULL && is_encrypted)
        kvg_fault(error, KVG_ERROR_UNSUPPORTED, who, "file",
                  "store it without (openssl pkey -in OLD -out NEW) with mode 0600",
                  "private key %s has a passphrase", path);
    else if (key == NULL)
        kvg_fault(error, KVG_ERROR_AUTH, who, "file",
                  "it must begin with -----BEGIN PRIVATE KEY----- or the like",
                  "%s holds no private key in PEM", path);
    return key;
}

static char *
time_text(const ASN1_TIME *time)
{
    struct tm tm = {0};
    char text[32] = "?";
    if (ASN1_TIME_to_tm(time, &tm) == 1)
        strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &tm);
    return g_strdup(text);
}

int64_t
kvg_certificate_end_ms(const char *path)
{
    g_autoptr(X509) certificate = read_certificate("", "certificate", path, NULL);
    struct tm tm = {0};
    if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

static bool
check_dates(const char *who,
            const X509 *certificate,
            const char *path,
            int64_t now_wall_ms,
            int64_t slack_ms,
            GError **error)
{
    const time_t now = (time_t)(now_wall_ms / 1000);
    time_t earliest = now - (time_t)(slack_ms / 1000), latest = now + (time_t)(slack_ms / 1000);
    g_autoptr(GDateTime) here = g_date_time_new_from_unix_utc(now);
    g_autofree char *today = g_date_time_format(here, "%Y-%m-%d %H:%M UTC");
    if (X509_cmp_time(X509_get0_notBefore(certificate), &latest) > 0) {
        g_autofree char *from = time_text(X509_get0_notBefore(certificate));
        kvg_fault(error, KVG_ERROR_AUTH, who, "clock", "set this machine's clock (NTP)",
                  "certificate %s is valid from %s on, and this machine's clock says %s", path,
                  from, today);
        return false;
    }
    if (X509_cmp_time(X509_get0_notAfter(certificate), &earliest) < 0) {
        g_autofree char *until = time_text(X509_get0_notAfter(certificate));
        kvg_fault(
            error, KVG_ERROR_AUTH, who, "certificate",
            "issue a new one with kvg provision, or set this machine's clock if that is wrong",
            "%s has expired on %s; this machine's clock says %s", path, until, today);
        return false;
    }
    return true;
}

bool
kvg_certificate_check(const char *who,
                      const char *certificate_path,
                      const char *key_path,
                      const char *ca_path,
                      int64_t now_wall_ms,
                      int64_t slack_ms,
                      GError **error)
{
    g_autoptr(X509) certificate = read_certificate(who, "certificate", certificate_path, error);
    if (certificate == NULL ||
        !check_dates(who, certificate, certificate_path, now_wall_ms, slack_ms, error))
        return false;
    g_autoptr(EVP_PKEY) key = read_key(who, key_path, error);
    if (key == NULL)
        return false;
    const bool fits = X509_check_private_key(certificate, key) == 1;
    ERR_clear_error();
    if (!fits) {
        kvg_fault(error, KVG_ERROR_AUTH, who, "certificate",
                  "put the files of one identity together, or run kvg provision",
                  "private key %s does not belong to certificate %s", key_path, certificate_path);
        return false;
    }
    if (ca_path == NULL)
        return true;
    g_autoptr(X509) ca = read_certificate(who, "CA file", ca_path, error);
    return ca != NULL;
}
