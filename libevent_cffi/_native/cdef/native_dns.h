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
