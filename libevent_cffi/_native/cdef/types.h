/* Types that several headers share.  Widths and layouts come from the compiler ("..."). */

typedef int... evutil_socket_t;
typedef int... ev_ssize_t;
typedef int... ev_off_t;
typedef int... ev_socklen_t;
typedef int... ev_intptr_t;
typedef int... ev_uintptr_t;
typedef uint64_t ev_uint64_t;
typedef int64_t ev_int64_t;
typedef uint32_t ev_uint32_t;
typedef int32_t ev_int32_t;
typedef uint16_t ev_uint16_t;
typedef int16_t ev_int16_t;
typedef uint8_t ev_uint8_t;
typedef int8_t ev_int8_t;

/* headers.h defines these: the system's own names for them differ */
typedef int... lev_seconds_t;
typedef int... lev_microseconds_t;
typedef int... lev_family_t;

struct timeval {
    lev_seconds_t tv_sec;
    lev_microseconds_t tv_usec;
    ...;
};

struct tm {
    int tm_sec;
    int tm_min;
    int tm_hour;
    int tm_mday;
    int tm_mon;
    int tm_year;
    int tm_wday;
    int tm_yday;
    int tm_isdst;
    ...;
};

struct sockaddr {
    lev_family_t sa_family;
    ...;
};

struct in_addr {
    ...;
};

struct in6_addr {
    ...;
};

struct evutil_addrinfo {
    int ai_flags;
    int ai_family;
    int ai_socktype;
    int ai_protocol;
    ev_socklen_t ai_addrlen;
    char *ai_canonname;
    struct sockaddr *ai_addr;
    struct evutil_addrinfo *ai_next;
    ...;
};
