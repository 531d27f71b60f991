/* resolvers: csrc/dns.c */

#define LEV_ADDRESS_STRIDE ...
#define LEV_NO_NAMESERVER ...
#define LEV_ASK_IPV4 ...
#define LEV_ASK_IPV6 ...
#define LEV_ASK_REVERSE_IPV4 ...
#define LEV_ASK_REVERSE_IPV6 ...
#define LEV_ASK_ADDRINFO ...

struct lev_resolver { ...; };

struct lev_query { ...; };

void *lev_query_alloc(size_t size);
void lev_query_drop(void *memory);
int lev_resolver_open(struct lev_resolver *r, struct lev_base *l, int flags, int keepalive);
int lev_resolver_ask(struct lev_resolver *r, struct lev_query *q, int64_t number, int kind, const char *what,
    int flags, const struct evutil_addrinfo *hints);
int lev_resolver_cancel(struct lev_resolver *r, struct lev_query *q);
const char *lev_query_data(struct lev_query *q, int numbers[5]);
const char *lev_query_canonical(struct lev_query *q);
int64_t lev_resolver_finished(struct lev_resolver *r);
void lev_resolver_forget(struct lev_resolver *r, int64_t number);
int lev_resolver_set_option(struct lev_resolver *r, const char *name, const char *value);
int lev_resolver_load(struct lev_resolver *r, int flags, const char *path);
int lev_resolver_load_hosts(struct lev_resolver *r, const char *path);
int lev_resolver_clear_hosts(struct lev_resolver *r);
int lev_resolver_add_nameserver(struct lev_resolver *r, const struct sockaddr *address, int length);
int lev_resolver_count_nameservers(struct lev_resolver *r);
int lev_resolver_nameserver(struct lev_resolver *r, int i, struct sockaddr *address, int size);
int lev_resolver_nameserver_fd(struct lev_resolver *r, int i);
int lev_resolver_suspend(struct lev_resolver *r);
int lev_resolver_resume(struct lev_resolver *r);
int lev_resolver_add_search(struct lev_resolver *r, const char *domain);
extern "Python" int lev_py_dns_finished(int64_t token, int slot);

/* if LEV_HAVE_evdns_cache_write */
int lev_resolver_cache_add(struct lev_resolver *r, char *name, const char *addresses, int count, int ttl);
int lev_resolver_cache_lookup(struct lev_resolver *r, const char *name, int family, int port, char *addresses,
    int room);
/* end */

/* servers: csrc/dns_server.c */

#define LEV_NO_FILTER ...
#define LEV_DNS_ANSWERED ...

struct lev_dns_server { ...; };
struct lev_dns_request { ...; };

int lev_drop_short_datagrams(evutil_socket_t fd);
int lev_dns_server_open(struct lev_dns_server *s, struct lev_base *l, int fd, int tcp_fd, int most_clients,
    int idle_timeout);
int lev_dns_server_fd(struct lev_dns_server *s);
int lev_dns_request_open(struct lev_dns_request *r, struct lev_dns_server *s, int numbers[4],
    struct sockaddr *peer, int size);
int lev_dns_request_question(struct lev_dns_request *r, int i, char *name, int size, int *type, int *dns_class);
int lev_dns_request_add(struct lev_dns_request *r, int section, const char *name, int type, int dns_class, int ttl,
    int size, int is_name, const char *data);
int lev_dns_request_set_flags(struct lev_dns_request *r, int flags);
int lev_dns_request_finish(struct lev_dns_request *r, int code);
int lev_dns_request_is_answered(struct lev_dns_request *r);
extern "Python" int lev_py_dns_request(int64_t token, int slot);
