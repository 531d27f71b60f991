/*
 * Resolvers.
 *
 * A query belongs to two: Python's handle, and C while libevent has it or its answer waits.  evdns calls back
 * when it likes, also inside the call that asks (evdns.c:evdns_getaddrinfo) and after a cancel; so the answer is
 * copied into the query, which goes to the list of those that finished, and an event of ours tells Python.
 *
 * A resolver is a late child: what was cancelled is told later, with the evdns_base, so that is freed when nothing
 * is active.
 */

static int lev_py_dns_finished(int64_t token, int slot);

/* -- queries --------------------------------------------------------------------------------------------- */

/* For ffi.new_allocator(), as lev_child_alloc(). */
static void *lev_query_alloc(size_t size)
{
    struct lev_query *q = lev_calloc(1, size);

    if (q != NULL)
        q->refs = 1;
    return q;
}

static void lev_query_drop(void *memory)
{
    struct lev_query *q = memory;
    int refs;

    lev_children_lock();
    refs = --q->refs;
    lev_children_unlock();
    if (refs > 0)
        return;
    lev_free(q->data);
    lev_free(q->canonical);
    lev_free(q);
}

static void lev_query_open(struct lev_resolver *r, struct lev_query *q)
{
    lev_children_lock();
    q->refs++;
    lev_children_unlock();
    q->resolver = r;
    q->before = NULL;
    q->next = r->open;
    if (q->next != NULL)
        q->next->before = q;
    r->open = q;
    r->open_count++;
    lev_resolver_watch_failures(r);
}

static void lev_query_unlink(struct lev_query *q)
{
    struct lev_resolver *r = q->resolver;

    if (q->before != NULL)
        q->before->next = q->next;
    else
        r->open = q->next;
    if (q->next != NULL)
        q->next->before = q->before;
    q->next = q->before = NULL;
    r->open_count--;
}

/* Have the name servers looked at when there is nothing to ask any more. */
static void lev_resolver_settle_soon(struct lev_resolver *r)
{
    if (r->open_count == 0 && !r->keepalive && !r->child.closed && r->failures != LEV_RELAXED(&lev_dns_failures))
        event_active(&r->settle, EV_TIMEOUT, 1);
}

/* It has its answer.  The query may be gone afterwards. */
static void lev_query_finished(struct lev_query *q)
{
    struct lev_resolver *r = q->resolver;

    q->request = NULL;
    q->is_finished = 1;
    if (r == NULL) {
        lev_query_drop(q);
        return;
    }
    lev_query_unlink(q);
    if (r->last != NULL)
        r->last->next = q;
    else
        r->finished = q;
    r->last = q;
    lev_resolver_look_at_failures(r);
    event_active(&r->told, EV_TIMEOUT, 1);
}

static void lev_query_cancel(struct lev_resolver *r, struct lev_query *q)
{
    if (q->kind == LEV_ASK_ADDRINFO)
        evdns_getaddrinfo_cancel(q->request);
    else
        evdns_cancel_request(r->dns, q->request);
}

/* Nobody waits for it any more; libevent may, and calls back then. */
static void lev_query_abandon(struct lev_query *q)
{
    struct lev_resolver *r = q->resolver;

    lev_query_unlink(q);
    q->resolver = NULL;
    if (q->request != NULL)             /* NULL inside of the call that asks, which looks afterwards */
        lev_query_cancel(r, q);
}

static void lev_query_copy(struct lev_query *q, const void *data, size_t size)
{
    if (size == 0)
        return;
    q->data = lev_malloc(size);
    if (q->data == NULL) {
        q->error = q->kind == LEV_ASK_ADDRINFO ? EVUTIL_EAI_MEMORY : DNS_ERR_UNKNOWN;
        q->count = 0;
        return;
    }
    memcpy(q->data, data, size);
    q->size = (int)size;
}

static void lev_query_name(struct lev_query *q, const char *name)
{
    if (q->canonical != NULL || name == NULL)
        return;
    q->canonical = lev_malloc(strlen(name) + 1);
    if (q->canonical != NULL)
        strcpy(q->canonical, name);
}

static void lev_on_answer(int result, char type, int count, int ttl, void *addresses, void *arg)
{
    struct lev_query *q = arg;

    q->error = result;
    q->type = type;
    q->ttl = ttl < 0 ? 0 : ttl;         /* RFC 2181, 8 */
    if (result == DNS_ERR_NONE && q->resolver != NULL) {
        q->count = count;
        if (type == DNS_PTR)
            lev_query_copy(q, *(char **)addresses, strlen(*(char **)addresses));
        else
            lev_query_copy(q, addresses, (size_t)count * (type == DNS_IPv6_AAAA ? 16 : 4));
        if (q->size == 0 && q->error == DNS_ERR_NONE)
            q->error = DNS_ERR_NODATA;  /* records without data, which libevent takes (evdns.c:reply_parse) */
    }
    lev_query_finished(q);
}

static void lev_on_addrinfo(int result, struct evutil_addrinfo *found, void *arg)
{
    struct lev_query *q = arg;
    struct evutil_addrinfo *each;
    char *data;

    q->error = result;
    for (each = found; result == 0 && each != NULL; each = each->ai_next)
        if ((size_t)each->ai_addrlen <= LEV_ADDRESS_STRIDE)
            q->count++;
    data = q->count > 0 && q->resolver != NULL ? lev_calloc((size_t)q->count, LEV_ADDRESS_STRIDE) : NULL;
    if (data != NULL) {
        q->data = data;
        q->size = q->count * LEV_ADDRESS_STRIDE;
        for (each = found; each != NULL; each = each->ai_next) {
            lev_query_name(q, each->ai_canonname);
            if ((size_t)each->ai_addrlen > LEV_ADDRESS_STRIDE)
                continue;
            memcpy(data, each->ai_addr, (size_t)each->ai_addrlen);
            data += LEV_ADDRESS_STRIDE;
        }
    } else if (q->count > 0) {
        q->error = EVUTIL_EAI_MEMORY;
        q->count = 0;
    } else if (result == 0)
        q->error = EVUTIL_EAI_NODATA;
    if (found != NULL)
        evutil_freeaddrinfo(found);
    lev_query_finished(q);
}

/* -- telling Python -------------------------------------------------------------------------------------- */

static int lev_call_dns_finished(struct lev_child *c, void *arg)
{
    (void)arg;
    return lev_py_dns_finished(c->token, c->base->slot);
}

static void lev_resolver_tell(struct lev_resolver *r)
{
    struct lev_child *c = &r->child;
    int answer = LEV_UNDELIVERED;

    if (!lev_child_has_to_wait(c))
        answer = lev_child_call(c, lev_call_dns_finished, NULL);
    if (c->base->forked)
        return;
    if (answer == LEV_UNDELIVERED && lev_child_remember(c) != 0)
        event_active(&r->told, EV_TIMEOUT, 1);
    lev_resolver_settle_soon(r);
    lev_child_after_callback(c);
}

static void lev_on_told(evutil_socket_t fd, short what, void *arg)
{
    struct lev_resolver *r = arg;

    (void)fd;
    (void)what;
    if (r->finished != NULL && lev_child_may_call(&r->child))
        lev_resolver_tell(r);
}

static void lev_resolver_deliver_again(struct lev_child *c)
{
    struct lev_resolver *r = (struct lev_resolver *)c;

    if (r->finished != NULL)
        lev_resolver_tell(r);
}

/* -- name servers ---------------------------------------------------------------------------------------- */

/*
 * libevent takes answers from any port of a name server's host (evdns.c:nameserver_read), where they have to come
 * from the one that was asked (RFC 2181, 4.2).  Where it tells its sockets the kernel drops the others.
 */
static void lev_resolver_hear_ports(struct lev_resolver *r)
{
#if defined(LEV_HAVE_evdns_base_get_nameserver_fd) && defined(SO_ATTACH_FILTER)
    int i, count = evdns_base_count_nameservers(r->dns);

    for (i = 0; i < count; i++) {
        struct sockaddr_storage address;
        int fd = evdns_base_get_nameserver_fd(r->dns, i);
        /* The port stands at the same place in a sockaddr_in6, and first in what a filter of UDP sees. */
        struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
            BPF_STMT(BPF_RET | BPF_K, 0)};
        struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
        if (fd < 0 || evdns_base_get_nameserver_addr(r->dns, i, (struct sockaddr *)&address, sizeof(address)) <= 0)
            continue;
        code[1].k = ntohs(((struct sockaddr_in *)&address)->sin_port);
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
    }
#else
    (void)r;
#endif
}

/*
 * Forget them and add them anew: with sockets of their own in a child, without the timers of those that failed,
 * which would keep the loop from ending, and as ones that answer.
 */
static void lev_resolver_anew(struct lev_resolver *r)
{
    int i, count = evdns_base_count_nameservers(r->dns);
    struct sockaddr_storage *addresses;

    addresses = lev_calloc((size_t)(count > 0 ? count : 1), sizeof(*addresses));
    if (addresses == NULL)
        return;
    for (i = 0; i < count; i++)
        evdns_base_get_nameserver_addr(r->dns, i, (struct sockaddr *)&addresses[i], sizeof(*addresses));
    lev_resolver_forgive(r);
    evdns_base_clear_nameservers_and_suspend(r->dns);
    for (i = 0; i < count; i++) {
        struct sockaddr *address = (struct sockaddr *)&addresses[i];
        ev_socklen_t length = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
            evdns_base_nameserver_sockaddr_add(r->dns, address, length, 0);
    }
    lev_resolver_hear_ports(r);
    if (!r->suspended)
        evdns_base_resume(r->dns);
    lev_free(addresses);
}

static void lev_on_settle(evutil_socket_t fd, short what, void *arg)
{
    struct lev_resolver *r = arg;

    (void)fd;
    (void)what;
    if (r->open_count == 0 && !r->child.closed && r->failures != LEV_RELAXED(&lev_dns_failures))
        lev_resolver_anew(r);
}

/* -- as a child ------------------------------------------------------------------------------------------ */

static void lev_resolver_forget_finished(struct lev_resolver *r)
{
    struct lev_query *q;

    while ((q = r->finished) != NULL) {
        r->finished = q->next;
        q->next = NULL;
        q->resolver = NULL;
        lev_query_drop(q);
    }
    r->last = NULL;
}

static void lev_resolver_stop(struct lev_child *c)
{
    struct lev_resolver *r = (struct lev_resolver *)c;

    while (r->open != NULL)
        lev_query_abandon(r->open);
    lev_resolver_forget_finished(r);
    event_del(&r->told);
    event_del(&r->settle);
    event_del(&r->probe);
    lev_resolver_end_probes(r);
}

static void lev_resolver_end(struct lev_child *c)
{
    struct lev_resolver *r = (struct lev_resolver *)c;

    lev_resolver_stop(c);
    /*
     * What was cancelled is told later, with the evdns_base (evdns.c:evdns_getaddrinfo_gotresolve).  Nothing is
     * active but when the base ends, with no loop going on.
     */
    lev_drain(c->base);
    event_debug_unassign(&r->told);
    event_debug_unassign(&r->settle);
    event_debug_unassign(&r->probe);
    evdns_base_clear_nameservers_and_suspend(r->dns);
    evdns_base_free(r->dns, 1);         /* with 0 it would never call back, and lose what it has */
    r->dns = NULL;
}

static int lev_resolver_is_armed(struct lev_child *c)
{
    struct lev_resolver *r = (struct lev_resolver *)c;

    return r->open_count > 0 || r->finished != NULL || r->keepalive;
}

static int lev_resolver_is_ready(struct lev_child *c)
{
    lev_resolver_stop(c);               /* one that was dropped has not been stopped */
    return lev_is_quiet(c->base);
}

static void lev_resolver_renew(struct lev_child *c)
{
    lev_resolver_anew((struct lev_resolver *)c);
}

static const struct lev_kind lev_resolver_kind = {lev_resolver_end, lev_resolver_is_armed,
    lev_resolver_deliver_again, 1, lev_resolver_stop, lev_resolver_renew, lev_resolver_is_ready};

/* -- Python's calls -------------------------------------------------------------------------------------- */

static int lev_resolver_open(struct lev_resolver *r, struct lev_base *l, int flags, int keepalive)
{
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    if (!keepalive)
        flags |= EVDNS_BASE_DISABLE_WHEN_INACTIVE;
    r->dns = evdns_base_new(l->eb, flags);
    if (r->dns != NULL) {
        r->keepalive = keepalive;
        lev_resolver_take_option(r, NULL, NULL);
        lev_resolver_forgive(r);
        event_assign(&r->told, l->eb, -1, 0, lev_on_told, r);
        event_assign(&r->settle, l->eb, -1, 0, lev_on_settle, r);
        event_assign(&r->probe, l->eb, -1, 0, lev_on_probe, r);
        r->probe.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
        event_priority_set(&r->settle, l->priorities - 1);
        r->settle.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
        lev_child_begin(&r->child, l, &lev_resolver_kind);
        if (keepalive)
            lev_resolver_watch_failures(r);
        result = 0;
    }
    lev_leave(l, entered);
    return result;
}

/* What is asked for: a name, or the bytes of an address. */
static void *lev_resolver_start(struct lev_resolver *r, struct lev_query *q, const char *what, int flags,
    const struct evutil_addrinfo *hints)
{
    switch (q->kind) {
    case LEV_ASK_IPV4:
        return evdns_base_resolve_ipv4(r->dns, what, flags, lev_on_answer, q);
    case LEV_ASK_IPV6:
        return evdns_base_resolve_ipv6(r->dns, what, flags, lev_on_answer, q);
    case LEV_ASK_REVERSE_IPV4:
        return evdns_base_resolve_reverse(r->dns, (const void *)what, flags, lev_on_answer, q);
    case LEV_ASK_REVERSE_IPV6:
        return evdns_base_resolve_reverse_ipv6(r->dns, (const void *)what, flags, lev_on_answer, q);
    default:
        return evdns_getaddrinfo(r->dns, what, NULL, hints, lev_on_addrinfo, q);
    }
}

/* LEV_NO_NAMESERVER: there is no name server to ask.  LEV_ERRNO: libevent took the question for impossible. */
static int lev_resolver_ask(struct lev_resolver *r, struct lev_query *q, int64_t number, int kind, const char *what,
    int flags, const struct evutil_addrinfo *hints)
{
    int result = 0, entered = lev_child_enter(&r->child);
    void *request;

    if (entered < 0)
        return entered;
    if (!r->suspended && evdns_base_count_nameservers(r->dns) == 0 && kind != LEV_ASK_ADDRINFO)
        result = LEV_NO_NAMESERVER;          /* libevent would keep it for ever, and never call back */
    else {
        q->number = number;
        q->kind = kind;
        lev_query_open(r, q);
        request = lev_resolver_start(r, q, what, flags, hints);
        if (!q->is_finished)
            q->request = request;
        if (request == NULL && !q->is_finished) {
            lev_query_unlink(q);
            q->resolver = NULL;
            lev_query_drop(q);
            result = LEV_ERRNO;
        } else if (request != NULL && !r->suspended && evdns_base_count_nameservers(r->dns) == 0) {
            lev_query_abandon(q);
            result = LEV_NO_NAMESERVER;
        }
    }
    lev_leave(r->child.base, entered);
    return result;
}

/* Also when it has finished already, or the resolver is gone. */
static int lev_resolver_cancel(struct lev_resolver *r, struct lev_query *q)
{
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    if (q->resolver == r && !q->is_finished) {
        lev_query_abandon(q);
        lev_resolver_settle_soon(r);
    }
    lev_leave(r->child.base, entered);
    return 0;
}

/* The number of the oldest one that has finished; 0: none. */
static int64_t lev_resolver_finished(struct lev_resolver *r)
{
    int64_t number = 0;
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return 0;
    if (r->finished != NULL)
        number = r->finished->number;
    lev_leave(r->child.base, entered);
    return number;
}

/* What it finished with; numbers get the error, the type, the count, the ttl, and the size of the data. */
static const char *lev_query_data(struct lev_query *q, int numbers[5])
{
    numbers[0] = q->error;
    numbers[1] = q->type;
    numbers[2] = q->count;
    numbers[3] = q->ttl;
    numbers[4] = q->size;
    return q->data;
}

static const char *lev_query_canonical(struct lev_query *q)
{
    return q->canonical;
}

/* Python has been told of it. */
static void lev_resolver_forget(struct lev_resolver *r, int64_t number)
{
    struct lev_query *q;
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return;
    q = r->finished;
    if (q != NULL && q->number == number) {
        r->finished = q->next;
        if (r->finished == NULL)
            r->last = NULL;
        q->next = NULL;
        q->resolver = NULL;
        lev_query_drop(q);
    }
    lev_leave(r->child.base, entered);
}

static int lev_resolver_set_option(struct lev_resolver *r, const char *name, const char *value)
{
    int result = 0, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    if (!lev_resolver_take_option(r, name, value))
        result = evdns_base_set_option(r->dns, name, value) == 0 ? 0 : LEV_ERRNO;
    lev_leave(r->child.base, entered);
    return result;
}

/* 0 or a positive code of evdns_base_resolv_conf_parse(). */
static int lev_resolver_load(struct lev_resolver *r, int flags, const char *path)
{
    int result, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
#ifdef _WIN32
    result = path != NULL ? evdns_base_resolv_conf_parse(r->dns, flags, path)
                          : evdns_base_config_windows_nameservers(r->dns);
#else
    result = evdns_base_resolv_conf_parse(r->dns, flags, path);
#endif
    lev_resolver_hear_ports(r);
    lev_leave(r->child.base, entered);
    return result < 0 ? -result : result;
}

static int lev_resolver_load_hosts(struct lev_resolver *r, const char *path)
{
    int result, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    result = evdns_base_load_hosts(r->dns, path) == 0 ? 0 : 1;
    lev_leave(r->child.base, entered);
    return result;
}

static int lev_resolver_clear_hosts(struct lev_resolver *r)
{
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    evdns_base_clear_host_addresses(r->dns);
    lev_leave(r->child.base, entered);
    return 0;
}

/* A positive answer is libevent's refusal. */
static int lev_resolver_add_nameserver(struct lev_resolver *r, const struct sockaddr *address, int length)
{
    int result, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    result = evdns_base_nameserver_sockaddr_add(r->dns, address, (ev_socklen_t)length, 0);
    lev_resolver_hear_ports(r);
    lev_leave(r->child.base, entered);
    return result < 0 ? LEV_ERRNO : result;
}

static int lev_resolver_count_nameservers(struct lev_resolver *r)
{
    int result, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    result = evdns_base_count_nameservers(r->dns);
    lev_leave(r->child.base, entered);
    return result;
}

/* The length of its address; 0: there is none with this index. */
static int lev_resolver_nameserver(struct lev_resolver *r, int i, struct sockaddr *address, int size)
{
    int result, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    result = evdns_base_get_nameserver_addr(r->dns, i, address, (ev_socklen_t)size);
    lev_leave(r->child.base, entered);
    return result > 0 ? result : 0;
}

static int lev_resolver_nameserver_fd(struct lev_resolver *r, int i)
{
    int result = LEV_NO_NAMESERVER, entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    (void)i;
#ifdef LEV_HAVE_evdns_base_get_nameserver_fd
    result = evdns_base_get_nameserver_fd(r->dns, i);
    if (result < 0)
        result = LEV_NO_NAMESERVER;
#endif
    lev_leave(r->child.base, entered);
    return result;
}

static int lev_resolver_suspend(struct lev_resolver *r)
{
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    lev_resolver_forgive(r);
    evdns_base_clear_nameservers_and_suspend(r->dns);
    r->suspended = 1;
    lev_leave(r->child.base, entered);
    return 0;
}

static int lev_resolver_resume(struct lev_resolver *r)
{
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    r->suspended = 0;
    evdns_base_resume(r->dns);
    lev_leave(r->child.base, entered);
    return 0;
}

static int lev_resolver_add_search(struct lev_resolver *r, const char *domain)
{
    int entered = lev_child_enter(&r->child);

    if (entered < 0)
        return entered;
    if (domain != NULL)
        evdns_base_search_add(r->dns, domain);
    else
        evdns_base_search_clear(r->dns);
    lev_leave(r->child.base, entered);
    return 0;
}

/* -- the cache of 2.2 ------------------------------------------------------------------------------------ */

#ifdef LEV_HAVE_evdns_cache_write

/* What evutil_dup_addrinfo_() copies: it reads the address where libevent's own stand, behind the rest. */
#define LEV_FREED_BY_LIBEVENT ((int)0x80000000)  /* else by the system's freeaddrinfo() (evutil.c:evutil_freeaddrinfo) */

struct lev_addrinfo {
    struct evutil_addrinfo info;
    char address[LEV_ADDRESS_STRIDE];
};

/* Keep count addresses of a name, LEV_ADDRESS_STRIDE bytes each. */
static int lev_resolver_cache_add(struct lev_resolver *r, char *name, const char *addresses, int count, int ttl)
{
    int i, result = LEV_ERRNO, entered = lev_child_enter(&r->child);
    struct lev_addrinfo *chain;

    if (entered < 0)
        return entered;
    chain = lev_calloc((size_t)count + 1, sizeof(*chain));
    for (i = 0; chain != NULL && i < count; i++) {
        struct sockaddr *address = (struct sockaddr *)chain[i].address;
        memcpy(address, addresses + i * LEV_ADDRESS_STRIDE, LEV_ADDRESS_STRIDE);
        chain[i].info.ai_flags = LEV_FREED_BY_LIBEVENT;
        chain[i].info.ai_addr = address;
        chain[i].info.ai_family = address->sa_family;
        chain[i].info.ai_addrlen =
            address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        chain[i].info.ai_next = i + 1 < count ? &chain[i + 1].info : NULL;
    }
    if (chain != NULL) {
        evdns_cache_write(r->dns, name, count > 0 ? &chain[0].info : NULL, ttl);
        result = 0;
    }
    lev_free(chain);
    lev_leave(r->child.base, entered);
    return result;
}

/* How many addresses of a name are kept, as many of them as there is room for; 0: none. */
static int lev_resolver_cache_lookup(struct lev_resolver *r, const char *name, int family, int port, char *addresses,
    int room)
{
    int count = 0, entered = lev_child_enter(&r->child);
    struct evutil_addrinfo hints, *found = NULL, *each;

    if (entered < 0)
        return entered;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_protocol = IPPROTO_TCP;
    if (evdns_cache_lookup(r->dns, name, &hints, (ev_uint16_t)port, &found) == 0)
        for (each = found; each != NULL; each = each->ai_next) {
            if (count < room && (size_t)each->ai_addrlen <= LEV_ADDRESS_STRIDE)
                memcpy(addresses + count * LEV_ADDRESS_STRIDE, each->ai_addr, (size_t)each->ai_addrlen);
            count++;
        }
    if (found != NULL)
        evutil_freeaddrinfo(found);
    lev_leave(r->child.base, entered);
    return count;
}

#endif
