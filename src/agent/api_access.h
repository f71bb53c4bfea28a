/* Who may ask the agent's API, and from where: the token and the console's session cookie, pages of
 * other sites, names that were pointed at this machine. Each refusal is an answer with its reason.
 * Thread: any. */
#pragma once

#include "config/config.h"
#include "http/server.h"

typedef struct _KvgAccess KvgAccess;

KvgAccess *kvg_access_new(const KvgConfig *config); /* keeps no reference */
void kvg_access_free(KvgAccess *access);            /* NULL is fine */
/* Another token: sessions of the old one end. */
void kvg_access_reload(KvgAccess *access, const KvgConfig *config);

/* False: @x has been answered. Of a server on loopback only: the Host header must name it. */
bool kvg_access_check_host(const KvgAccess *access, KvgHttpExchange *x);
/* False: @x has been answered. Refuses what a page of another site sends, changes that are not
 * JSON, and, unless @is_public, who has neither token nor session. */
bool kvg_access_check(KvgAccess *access, KvgHttpExchange *x, bool is_public);
/* Whether @x would be let in with its token or session; wrong tokens are not counted. */
bool kvg_access_is_known(KvgAccess *access, KvgHttpExchange *x);

typedef enum {
    KVG_ACCESS_YES,
    KVG_ACCESS_WRONG,
    KVG_ACCESS_TOO_OFTEN, /* not looked at: too many wrong ones from this address */
    KVG_ACCESS_MISSING,
    KVG_ACCESS_NOT_NEEDED,
} KvgAccessVerdict;
/* Judges a token that @address sent. */
KvgAccessVerdict kvg_access_try(KvgAccess *access, const char *address, const char *token);
/* Answers 401 or 429. */
void kvg_access_refuse(KvgHttpExchange *x, KvgAccessVerdict verdict);
/* For Set-Cookie (g_free): a session until @expires_ms; NULL @expires_ms: the end of one. */
char *kvg_access_cookie(KvgAccess *access, KvgHttpExchange *x, const int64_t *expires_ms);
#define KVG_ACCESS_SESSION_MS (30 * 24 * 3600 * 1000ll)

/* Whether a request with this Host header may be answered by a server on loopback: a page of
 * another site whose name was pointed at this machine must not read the cameras. */
bool kvg_access_is_local_host(const char *host);

/* What a browser says of where a request comes from; NULL: it does not say. */
typedef struct {
    const char *method, *host, *origin;
    const char *fetch_site, *fetch_mode, *fetch_dest;
    bool is_tls;
} KvgAccessOrigin;
bool kvg_access_is_own_page(const KvgAccessOrigin *origin);
