/*
 * Every header of libevent, in an order that works, and what differs between its versions.
 *
 * Python.h must come before: it sets _GNU_SOURCE, and without that glibc hides EAI_NODATA and EAI_ADDRFAMILY,
 * for which util.h then invents numbers that the library does not return.
 *
 * build_ffi.py preprocesses this file to learn which names exist: a name defined here counts as libevent's.
 */
#ifndef LEV_HEADERS_H
#define LEV_HEADERS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#else
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#if __has_include(<sys/queue.h>)
#include <sys/queue.h>          /* rpc_struct.h of 2.1.8 uses it without including it */
#endif
#endif

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <event2/thread.h>
#include <event2/listener.h>
#include <event2/keyvalq_struct.h>
#include <event2/dns.h>
#include <event2/dns_struct.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#if __has_include(<event2/ws.h>)
#include <event2/ws.h>
#endif
#if __has_include(<event2/watch.h>)
#include <event2/watch.h>
#endif
#include <event2/tag.h>
#include <event2/rpc.h>         /* after the others: it defines the macros INPUT and OUTPUT */
#include <event2/rpc_struct.h>

/* Beside what the loaded library says of itself. */
#define LEV_BUILT_VERSION LIBEVENT_VERSION
#define LEV_BUILT_VERSION_NUMBER LIBEVENT_VERSION_NUMBER

/* -- one name for what systems call differently -------------------------------------------------------- */

#ifdef _WIN32
typedef long lev_seconds_t;
typedef long lev_microseconds_t;
typedef unsigned short lev_family_t;
#else
typedef time_t lev_seconds_t;
typedef suseconds_t lev_microseconds_t;
typedef sa_family_t lev_family_t;
#endif

/* -- one form for what libevent's versions declare differently ----------------------------------------- */

#if LIBEVENT_VERSION_NUMBER >= 0x02020000
typedef ev_uint32_t lev_methods_t;
#else
typedef ev_uint16_t lev_methods_t;
#endif

/*
 * 2.1.10 to 2.1.12 leave this function out where libc has arc4random() and seeds it itself; Debian's build
 * and 2.2 keep it and do nothing.
 */
#if LIBEVENT_VERSION_NUMBER < 0x02020000 && defined(EVENT__HAVE_ARC4RANDOM) \
    && !defined(EVENT__HAVE_ARC4RANDOM_ADDRANDOM)
static inline void lev_secure_rng_add_bytes(const char *data, size_t size)
{
    (void)data;
    (void)size;
}
#define evutil_secure_rng_add_bytes lev_secure_rng_add_bytes
#endif

/* 2.1 takes a "char **": void * turns into both. */
static inline void lev_connection_get_peer(
    struct evhttp_connection *connection, const char **address, ev_uint16_t *port)
{
    evhttp_connection_get_peer(connection, (void *)address, port);
}
#define evhttp_connection_get_peer lev_connection_get_peer

/*
 * 2.1 tells nothing, 2.2 tells of failure; snapshots of 2.2 with the same number do either, so the compiler
 * is asked for the type.
 */
static inline int lev_hook_add_meta_silent(void *context, const char *key, const void *data, size_t size)
{
    evrpc_hook_add_meta(context, key, data, size);
    return 0;
}

static inline int lev_hook_add_meta(void *context, const char *key, const void *data, size_t size)
{
    return _Generic(&evrpc_hook_add_meta,
        int (*)(void *, const char *, const void *, size_t): evrpc_hook_add_meta,
        default: lev_hook_add_meta_silent)(context, key, data, size);
}
#define evrpc_hook_add_meta lev_hook_add_meta

#endif
