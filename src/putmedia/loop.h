/* curl's transfers of a process in one epoll: a turn costs what has happened in it, however many
 * connections are quiet. Hides: curl_multi, epoll, the eventfd that wakes it. */
#pragma once

#include <curl/curl.h>
#include <glib.h>
#include <stdint.h>

typedef struct _KvgLoop KvgLoop;

KvgLoop *kvg_loop_new(GError **error);
/* All transfers must have been removed. NULL is fine. */
void kvg_loop_free(KvgLoop *loop);
void kvg_loop_add(KvgLoop *loop, CURL *easy);
void kvg_loop_remove(KvgLoop *loop, CURL *easy);
/* Lets @easy resume TLS sessions of others. Not for those with a client certificate. */
void kvg_loop_share(KvgLoop *loop, CURL *easy);
/* Ends the wait of the present or the next turn. Thread: any. */
void kvg_loop_wake(KvgLoop *loop);
/* Waits until something happens, at most until @until_us, and lets curl work. @on_done is called
 * for each transfer that has ended, and removes it. */
void kvg_loop_turn(KvgLoop *loop,
                   int64_t until_us,
                   void (*on_done)(CURL *easy, CURLcode result, void *user_data),
                   void *user_data);
