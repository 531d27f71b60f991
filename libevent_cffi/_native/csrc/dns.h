/*
 * Resolvers: what csrc/dns.c and csrc/dns_probe.c share.
 */

#define LEV_ADDRESS_STRIDE 32   /* room for a sockaddr_in6 */
#define LEV_NO_NAMESERVER (-100)

enum { LEV_ASK_IPV4, LEV_ASK_IPV6, LEV_ASK_REVERSE_IPV4, LEV_ASK_REVERSE_IPV6, LEV_ASK_ADDRINFO };

struct lev_resolver;

struct lev_query {
    struct lev_query *next, *before;    /* of its resolver: open, or finished */
    struct lev_resolver *resolver;      /* NULL: nobody waits for it */
    int refs;                           /* under lev_children_mutex */
    int kind;
    int is_finished;
    int64_t number;                     /* its name in Python's table */
    void *request;                      /* libevent's, until it has called back */
    int error;                          /* DNS_ERR_, or of addrinfo EAI_ */
    int type, count, ttl;
    int size;                           /* of the data */
    char *data;
    char *canonical;
};

struct lev_resolver {
    struct lev_child child;
    struct evdns_base *dns;
    struct event told;                  /* active while finished ones wait for Python */
    struct event settle;
    struct event probe;                 /* csrc/dns_probe.c */
    int is_probe_pending;
    struct lev_probe *probes;           /* questions whether a name server is back, of the last round */
    int probe_count;
    double first_probe, most_probe;     /* seconds that a name server is left alone, at first and at most */
    double probe_factor;                /* by which that grows */
    int is_failing;                     /* since when, the seconds until the next round, and when that is */
    double failing_since, probe_wait, probe_due;
    struct sockaddr_storage bind_to;
    int bind_length;                    /* 0: not to any */
    struct lev_query *open, *finished, *last;
    int open_count;
    int keepalive, suspended;
    long failures;                      /* lev_dns_failures when the name servers were added */
    long failures_at[LEV_DNS_PLACES];
};

static void lev_resolver_anew(struct lev_resolver *r);
static void lev_resolver_look_at_failures(struct lev_resolver *r);
static void lev_resolver_watch_failures(struct lev_resolver *r);
static void lev_resolver_forgive(struct lev_resolver *r);
static void lev_resolver_end_probes(struct lev_resolver *r);
static int lev_resolver_take_option(struct lev_resolver *r, const char *name, const char *value);
static void lev_on_probe(evutil_socket_t fd, short what, void *arg);
