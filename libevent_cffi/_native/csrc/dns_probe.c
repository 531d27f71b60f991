/*
 * Whether name servers that failed are back.
 *
 * libevent asks them itself, for "google.com", but it must not: it frees name servers while such a question, or the
 * answer to it, still refers to them (evdns.c:evdns_base_clear_nameservers_and_suspend, where cancelling one has
 * waiting queries sent to others that are freed already; reply_handle of 2.2, which forgets one that goes on by
 * TCP).  So it waits an hour, its most, and we ask the same before: by a socket of our own, and when the answer
 * comes all name servers are added anew, which has libevent take them for good ones.
 *
 * Which of them failed is known by what libevent logs (csrc/log.c): one that failed elsewhere too is asked in vain.
 */

#define LEV_LIBEVENTS_PROBE "3600"      /* seconds */
#define LEV_PROBE_LOOK 600.0            /* seconds between two looks whether any has failed */
#define LEV_PROBE_PATIENCE 2400.0       /* after these, and a look, less than an hour has passed */

struct lev_probe {
    struct event answered;
    struct lev_resolver *resolver;
    evutil_socket_t fd;                 /* -1: no question is on its way */
    unsigned char question[28];
};

static const unsigned char lev_probe_question[28] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6, 'g', 'o', 'o', 'g', 'l', 'e',
    3, 'c', 'o', 'm', 0, 0, 1, 0, 1};

static void lev_probe_end(struct lev_probe *p)
{
    if (p->fd < 0)
        return;
    event_del(&p->answered);
    event_debug_unassign(&p->answered);
    evutil_closesocket(p->fd);
    p->fd = -1;
}

static void lev_resolver_end_probes(struct lev_resolver *r)
{
    int i;

    for (i = 0; i < r->probe_count; i++)
        lev_probe_end(&r->probes[i]);
    lev_free(r->probes);
    r->probes = NULL;
    r->probe_count = 0;
}

/* Nothing has failed from here on: the name servers are, or will be, new ones. */
static void lev_resolver_forgive(struct lev_resolver *r)
{
    int i;

    for (i = 0; i < LEV_DNS_PLACES; i++)
        r->failures_at[i] = LEV_RELAXED(&lev_dns_failures_at[i]);
    r->failures = LEV_RELAXED(&lev_dns_failures);
    r->is_failing = 0;
    lev_resolver_end_probes(r);
}

static int lev_resolver_has_failed(struct lev_resolver *r, struct sockaddr *address)
{
    char host[64], text[80];
    unsigned place;

    if (address->sa_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        evutil_inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        evutil_snprintf(text, sizeof(text), "%s:%d", host, (int)ntohs(in->sin_port));
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
        evutil_inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        evutil_snprintf(text, sizeof(text), "[%s]:%d", host, (int)ntohs(in6->sin6_port));
    }
    place = lev_dns_place(text);
    return r->failures_at[place] != LEV_RELAXED(&lev_dns_failures_at[place]);
}

/* Is it one that says that the name server works?  As evdns.c:reply_handle judges. */
static int lev_probe_is_good(struct lev_probe *p, const unsigned char *answer, long size)
{
    int code;

    if (size < 12 || memcmp(answer, p->question, 2) != 0 || !(answer[2] & 0x80))
        return 0;
    code = answer[3] & 15;
    return (answer[2] & 2) || (code != DNS_ERR_SERVERFAILED && code != DNS_ERR_NOTIMPL && code != DNS_ERR_REFUSED);
}

static void lev_on_probe_answer(evutil_socket_t fd, short what, void *arg)
{
    struct lev_probe *p = arg;
    struct lev_resolver *r = p->resolver;
    unsigned char answer[64];
    long size;

    (void)what;
    if (r->child.closed || r->child.base->forked)
        return;
    size = (long)recv(fd, (void *)answer, sizeof(answer), 0);
    if (lev_probe_is_good(p, answer, size))
        lev_resolver_anew(r);           /* the probe is gone */
    else if (size < 0)
        lev_probe_end(p);
}

static int lev_probe_send(struct lev_probe *p, struct sockaddr *address, ev_socklen_t length)
{
    struct lev_resolver *r = p->resolver;

    p->fd = socket(address->sa_family, SOCK_DGRAM, 0);
    if (p->fd < 0)
        return -1;
    evutil_make_socket_nonblocking(p->fd);
    evutil_make_socket_closeonexec(p->fd);
    if (r->bind_length > 0 && r->bind_to.ss_family == address->sa_family)
        (void)!bind(p->fd, (struct sockaddr *)&r->bind_to, (ev_socklen_t)r->bind_length);
    memcpy(p->question, lev_probe_question, sizeof(p->question));
    evutil_secure_rng_get_bytes(p->question, 2);
    event_assign(&p->answered, r->child.base->eb, p->fd, EV_READ | EV_PERSIST, lev_on_probe_answer, p);
    p->answered.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
    if (connect(p->fd, address, length) != 0 || send(p->fd, (const void *)p->question, sizeof(p->question), 0) < 0
        || event_add(&p->answered, NULL) != 0) {
        lev_probe_end(p);
        return -1;
    }
    return 0;
}

/* Ask those that failed, unless there is no other: libevent asks the only one whatever it thinks of it. */
static void lev_resolver_probe(struct lev_resolver *r)
{
    int i, count = evdns_base_count_nameservers(r->dns);

    lev_resolver_end_probes(r);
    if (count < 2)
        return;
    r->probes = lev_calloc((size_t)count, sizeof(*r->probes));
    for (i = 0; r->probes != NULL && i < count; i++) {
        struct sockaddr_storage address;
        int length = evdns_base_get_nameserver_addr(r->dns, i, (struct sockaddr *)&address, sizeof(address));
        r->probes[i].resolver = r;
        r->probes[i].fd = -1;
        r->probe_count++;
        if (length > 0 && lev_resolver_has_failed(r, (struct sockaddr *)&address))
            lev_probe_send(&r->probes[i], (struct sockaddr *)&address, (ev_socklen_t)length);
    }
}

static void lev_resolver_probe_after(struct lev_resolver *r, double seconds)
{
    struct timeval tv;

    lev_to_timeval(seconds < LEV_PROBE_LOOK ? seconds : LEV_PROBE_LOOK, &tv);
    r->is_probe_pending = event_add(&r->probe, &tv) == 0;
}

static void lev_resolver_look_at_failures(struct lev_resolver *r)
{
    if (r->is_failing || r->failures == LEV_RELAXED(&lev_dns_failures) || r->child.closed)
        return;
    r->is_failing = 1;
    r->failing_since = lev_clock();
    r->probe_wait = r->first_probe;
    r->probe_due = r->failing_since + r->probe_wait;
    lev_resolver_probe_after(r, r->probe_wait);
}

/* Have it be looked whether any has failed, while something is asked. */
static void lev_resolver_watch_failures(struct lev_resolver *r)
{
    lev_resolver_look_at_failures(r);
    if (!r->is_probe_pending)
        lev_resolver_probe_after(r, LEV_PROBE_LOOK);
}

static void lev_on_probe(evutil_socket_t fd, short what, void *arg)
{
    struct lev_resolver *r = arg;
    double now = lev_clock(), wait = LEV_PROBE_LOOK;

    (void)fd;
    (void)what;
    r->is_probe_pending = 0;
    if (r->child.closed || r->child.base->forked || (r->open_count == 0 && !r->keepalive))
        return;
    lev_resolver_look_at_failures(r);
    if (r->is_failing && now - r->failing_since > LEV_PROBE_PATIENCE)
        lev_resolver_anew(r);           /* before libevent asks */
    if (r->is_failing && now >= r->probe_due) {
        lev_resolver_probe(r);
        r->probe_wait *= r->probe_factor;
        if (r->probe_wait > r->most_probe)
            r->probe_wait = r->most_probe;
        r->probe_due = now + r->probe_wait;
    }
    if (r->is_failing)
        wait = r->probe_due > now ? r->probe_due - now : 0;
    lev_resolver_probe_after(r, wait);
}

static void lev_resolver_take_bind_to(struct lev_resolver *r, const char *value)
{
    int length = sizeof(r->bind_to);

    r->bind_length = evutil_parse_sockaddr_port(value, (struct sockaddr *)&r->bind_to, &length) == 0 ? length : 0;
}

/*
 * Is it ours alone?  With no name: begin with libevent's values, and keep it from asking by itself, and by TCP
 * (dns/streams.py), which 2.2 does when an answer was cut off.
 */
static int lev_resolver_take_option(struct lev_resolver *r, const char *name, const char *value)
{
    if (name == NULL) {
        r->first_probe = 10;
        r->most_probe = 3600;
        r->probe_factor = 3;
        evdns_base_set_option(r->dns, "initial-probe-timeout:", LEV_LIBEVENTS_PROBE);
        evdns_base_set_option(r->dns, "ignore-tc:", "");
    } else if (strcmp(name, "bind-to:") == 0) {
        lev_resolver_take_bind_to(r, value);
        return 0;
    } else if (strcmp(name, "initial-probe-timeout:") == 0) {
        r->first_probe = strtod(value, NULL);
    } else if (strcmp(name, "max-probe-timeout:") == 0) {
        r->most_probe = strtod(value, NULL);
    } else if (strcmp(name, "probe-backoff-factor:") == 0) {
        r->probe_factor = strtod(value, NULL);
    } else
        return 0;
    if (r->first_probe > r->most_probe)
        r->first_probe = r->most_probe;
    return 1;
}
