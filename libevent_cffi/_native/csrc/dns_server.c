/*
 * DNS servers.
 *
 * What comes is kept in the server's list until Python takes it up as a child of its own, which holds libevent's
 * request until that has been answered or dropped, once.
 *
 * libevent reads a server's socket until it is empty (evdns.c:server_port_read), which in a flood is never.  When
 * that has gone on for LEV_LONGEST_READ, the kernel is told to take no more for this socket, what it has is kept in
 * the list, and the loop looks at everything else before they are handled and the socket hears again.
 *
 * A reply that cannot be sent, such as one to port 0, is queued and sent again when the socket is writable; a port
 * that is closed meanwhile would be freed by the function that goes on to use it
 * (evdns.c:server_port_ready_callback).  So a server is not ended before such replies are gone.
 */

#define LEV_NO_FILTER (-101)
#define LEV_DNS_ANSWERED (-102)
#define LEV_SHORTEST_DATAGRAM 20        /* its head of 8 bytes, and the 12 of a question's head */
#define LEV_LONGEST_READ 0.05            /* seconds */
#define LEV_MOST_INCOMING 1024  /* that wait for Python; what comes more is dropped, and asked again */

struct lev_incoming {
    struct lev_incoming *next;
    struct evdns_server_request *request;
    int is_tcp;
};

struct lev_dns_server {
    struct lev_child child;
    struct evdns_server_port *port, *tcp_port;
    struct evconnlistener *listener;    /* belongs to the tcp_port */
    struct event flushed;               /* pending: a reply waits in libevent */
    struct event rested;                /* active or pending: handlers were called since everything was looked at */
    double since;                       /* the time of the first of them; 0: there was none */
    int deaf;                           /* the kernel takes nothing more; 2: the others are having their turn */
    struct lev_incoming *first, *last;
    struct lev_dns_request *requests;
    int incoming_count;
    int undelivered;                    /* Python has taken one up that it may not be done with */
    evutil_socket_t fd;
};

struct lev_dns_request {
    struct lev_child child;
    struct lev_dns_server *server;      /* NULL: it has been answered, dropped, or closed with the server */
    struct lev_dns_request *next, *before;
    struct evdns_server_request *request;
    int is_tcp;
};

static int lev_py_dns_request(int64_t token, int slot);

/* -- incoming -------------------------------------------------------------------------------------------- */

static struct lev_incoming *lev_incoming_pop(struct lev_dns_server *s)
{
    struct lev_incoming *i = s->first;

    if (i != NULL) {
        s->first = i->next;
        if (s->first == NULL)
            s->last = NULL;
        s->incoming_count--;
    }
    return i;
}

static int lev_call_dns_request(struct lev_child *c, void *arg)
{
    (void)arg;
    return lev_py_dns_request(c->token, c->base->slot);
}

/* In a child that a handler forked libevent's loop would go on and take the parent's datagrams. */
static void lev_dns_server_leave_to_parent(struct lev_dns_server *s)
{
#ifndef _WIN32
    int empty = socket(AF_INET, SOCK_DGRAM, 0);

    if (empty >= 0)
        evutil_make_socket_nonblocking(empty);
    dup2(empty >= 0 ? empty : s->child.base->wake_pair[0], s->fd);
    if (empty >= 0)
        close(empty);
#endif
}

#ifdef SO_ATTACH_FILTER
/* The length is that of the UDP packet, with its head of 8 bytes. */
static int lev_drop_shorter(evutil_socket_t fd, unsigned length)
{
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, length, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}
#endif

static void lev_dns_server_hear(struct lev_dns_server *s, int hears)
{
    s->deaf = !hears;
#ifdef SO_ATTACH_FILTER
    lev_drop_shorter(s->fd, hears ? LEV_SHORTEST_DATAGRAM : 0xffffffff);
#endif
}

/* A handler is to be called: see whether it is the others' turn afterwards. */
static void lev_dns_server_look_at_time(struct lev_dns_server *s)
{
    double now = lev_clock();

    if (s->since == 0) {
        s->since = now;
        event_active(&s->rested, EV_TIMEOUT, 1);
    } else if (!s->deaf && now - s->since > LEV_LONGEST_READ)
        lev_dns_server_hear(s, 0);
}

static void lev_dns_server_tell(struct lev_dns_server *s, int all)
{
    struct lev_child *c = &s->child;

    while ((all || !s->deaf) && (s->first != NULL || s->undelivered) && !c->closed && !c->base->closed
        && !lev_child_has_to_wait(c)) {
        int answer;
        lev_dns_server_look_at_time(s);
        answer = lev_child_call(c, lev_call_dns_request, NULL);
        if (c->base->forked) {
            lev_dns_server_leave_to_parent(s);
            return;
        }
        lev_child_after_callback(c);
        /* One whose handler raised is looked at again: a signal handler may strike where Python answers it. */
        s->undelivered = answer == LEV_UNDELIVERED || answer == LEV_RAISED;
        if (s->undelivered)
            break;
        if (answer == LEV_STALE) {
            struct lev_incoming *i = lev_incoming_pop(s);
            if (i != NULL) {
                evdns_server_request_drop(i->request);
                lev_free(i);
            }
        }
    }
    if ((s->first != NULL || s->undelivered) && !s->deaf && !c->closed && !c->base->closed)
        lev_child_remember(c);
}

/* libevent has come back from reading; when it was deaf by then, a second time in the next pass. */
static void lev_on_rested(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval soon = {0, 0};
    struct lev_dns_server *s = arg;

    (void)fd;
    (void)what;
    s->since = 0;
    if (!s->deaf || s->child.base->forked)
        return;
    if (s->deaf++ == 1)
        event_add(&s->rested, &soon);
    else {
        lev_dns_server_hear(s, 1);
        lev_dns_server_tell(s, 0);
    }
}

static void lev_dns_server_incoming(struct lev_dns_server *s, struct evdns_server_request *request, int is_tcp)
{
    struct lev_incoming *i = NULL;

    if (lev_child_may_call(&s->child) && s->incoming_count < LEV_MOST_INCOMING
        && !(is_tcp && lev_child_has_to_wait(&s->child)))       /* its client may go meanwhile */
        i = lev_calloc(1, sizeof(*i));
    if (i == NULL) {
        if (!s->child.base->forked)
            evdns_server_request_drop(request);
        return;
    }
    i->request = request;
    i->is_tcp = is_tcp;
    if (s->last != NULL)
        s->last->next = i;
    else
        s->first = i;
    s->last = i;
    s->incoming_count++;
    lev_dns_server_tell(s, is_tcp);
}

static void lev_on_dns_request(struct evdns_server_request *request, void *arg)
{
    lev_dns_server_incoming(arg, request, 0);
}

#ifdef LEV_HAVE_evdns_add_server_port_with_listener
static void lev_on_dns_tcp_request(struct evdns_server_request *request, void *arg)
{
    lev_dns_server_incoming(arg, request, 1);
}
#endif

/* -- requests -------------------------------------------------------------------------------------------- */

static void lev_on_flushed(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static struct evdns_server_request *lev_dns_request_detach(struct lev_dns_request *r)
{
    struct evdns_server_request *request = r->request;

    if (r->server == NULL)
        return NULL;
    if (r->before != NULL)
        r->before->next = r->next;
    else
        r->server->requests = r->next;
    if (r->next != NULL)
        r->next->before = r->before;
    r->next = r->before = NULL;
    r->request = NULL;
    r->server = NULL;
    return request;
}

static void lev_dns_request_end(struct lev_child *c)
{
    struct evdns_server_request *request = lev_dns_request_detach((struct lev_dns_request *)c);

    if (request != NULL)
        evdns_server_request_drop(request);
}

static int lev_dns_request_is_armed(struct lev_child *c)
{
    (void)c;
    return 0;
}

static void lev_dns_request_deliver_again(struct lev_child *c)
{
    (void)c;
}

static const struct lev_kind lev_dns_request_kind = {
    lev_dns_request_end, lev_dns_request_is_armed, lev_dns_request_deliver_again, 0, NULL, NULL, NULL};

/*
 * Take the oldest one that came, unless r has one; 0: there is none.  numbers get its flags, how many questions
 * it has, the length of the address of who asks, or 0 where that is unknown, and whether it came by TCP.
 */
static int lev_dns_request_open(struct lev_dns_request *r, struct lev_dns_server *s, int numbers[4],
    struct sockaddr *peer, int size)
{
    struct lev_incoming *i;
    int is_open = 0, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    if (r->server == NULL && (i = lev_incoming_pop(s)) != NULL) {
        r->request = i->request;
        r->is_tcp = i->is_tcp;
        r->server = s;
        r->next = s->requests;
        if (r->next != NULL)
            r->next->before = r;
        s->requests = r;
        lev_free(i);
        lev_child_begin(&r->child, s->child.base, &lev_dns_request_kind);
    }
    if (r->server != NULL) {
        numbers[0] = r->request->flags;
        numbers[1] = r->request->nquestions;
        numbers[2] = evdns_server_request_get_requesting_addr(r->request, peer, size);
        numbers[3] = r->is_tcp;
        is_open = 1;
    }
    lev_leave(s->child.base, entered);
    return is_open;
}

/* As lev_child_enter(), for one that has not been answered. */
static int lev_dns_request_enter(struct lev_dns_request *r)
{
    int entered = lev_child_enter(&r->child);

    if (entered >= 0 && r->request == NULL) {
        lev_leave(r->child.base, entered);
        return LEV_DNS_ANSWERED;
    }
    return entered;
}

/* Copy question i; 1 when there is one. */
static int lev_dns_request_question(struct lev_dns_request *r, int i, char *name, int size, int *type, int *class)
{
    int result = 0, entered = lev_dns_request_enter(r);

    if (entered < 0)
        return entered;
    if (i < r->request->nquestions) {
        struct evdns_server_question *q = r->request->questions[i];
        strncpy(name, q->name, (size_t)size - 1);
        name[size - 1] = 0;
        *type = q->type;
        *class = q->dns_question_class;
        result = 1;
    }
    lev_leave(r->child.base, entered);
    return result;
}

static int lev_dns_request_add(struct lev_dns_request *r, int section, const char *name, int type, int class, int ttl,
    int size, int is_name, const char *data)
{
    int result, entered = lev_dns_request_enter(r);

    if (entered < 0)
        return entered;
    if (size == 0 && !is_name)
        data = NULL;    /* no bytes would be "no memory" (evdns.c:evdns_server_request_add_reply) */
    result = evdns_server_request_add_reply(r->request, section, name, type, class, ttl, size, is_name, data);
    lev_leave(r->child.base, entered);
    return result < 0 ? LEV_ERRNO : 0;
}

static int lev_dns_request_set_flags(struct lev_dns_request *r, int flags)
{
    int entered = lev_dns_request_enter(r);

    if (entered < 0)
        return entered;
    evdns_server_request_set_flags(r->request, flags);
    lev_leave(r->child.base, entered);
    return 0;
}

/* Answer it, or with a negative code drop it. */
static int lev_dns_request_finish(struct lev_dns_request *r, int code)
{
    int result = 0, entered = lev_dns_request_enter(r);
    struct lev_dns_server *s = r->server;
    struct evdns_server_request *request;

    if (entered < 0)
        return entered;
    request = lev_dns_request_detach(r);
    if (code >= 0)
        result = evdns_server_request_respond(request, code);
    if (code < 0 || result < 0)
        evdns_server_request_drop(request);     /* the socket's buffer is full: it will be asked again */
    if (result > 0)
        event_add(&s->flushed, NULL);
    lev_leave(r->child.base, entered);
    return 0;
}

static int lev_dns_request_is_answered(struct lev_dns_request *r)
{
    return r->request == NULL;
}

/* -- as a child ------------------------------------------------------------------------------------------ */

static void lev_dns_server_stop(struct lev_child *c)
{
    struct lev_dns_server *s = (struct lev_dns_server *)c;
    struct lev_incoming *i;

    event_del(&s->rested);
    while (s->requests != NULL)
        evdns_server_request_drop(lev_dns_request_detach(s->requests));
    while ((i = lev_incoming_pop(s)) != NULL) {
        evdns_server_request_drop(i->request);
        lev_free(i);
    }
}

static int lev_dns_server_is_ready(struct lev_child *c)
{
    struct lev_dns_server *s = (struct lev_dns_server *)c;

    return lev_is_quiet(c->base) && !event_pending(&s->flushed, EV_WRITE, NULL);
}

static void lev_dns_server_end(struct lev_child *c)
{
    struct lev_dns_server *s = (struct lev_dns_server *)c;
    int passes;

    lev_dns_server_stop(c);
    /* Only when the base ends, with no loop going on: else it would not be called before. */
    for (passes = 0; passes < 100 && !lev_dns_server_is_ready(c); passes++)
        event_base_loop(c->base->eb, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    event_del(&s->flushed);
    event_debug_unassign(&s->flushed);
    event_debug_unassign(&s->rested);
    if (s->deaf)
        lev_dns_server_hear(s, 1);      /* others may have this socket too */
    if (s->tcp_port != NULL)
        evdns_close_server_port(s->tcp_port);
    evdns_close_server_port(s->port);
}

static int lev_dns_server_is_armed(struct lev_child *c)
{
    (void)c;
    return 1;
}

static void lev_dns_server_deliver_again(struct lev_child *c)
{
    struct lev_dns_server *s = (struct lev_dns_server *)c;

    if (!s->deaf)
        s->since = 0;   /* a loop has ended meanwhile: that was no flood */
    lev_dns_server_tell(s, 0);
}

static const struct lev_kind lev_dns_server_kind = {lev_dns_server_end, lev_dns_server_is_armed,
    lev_dns_server_deliver_again, 1, lev_dns_server_stop, NULL, lev_dns_server_is_ready};

/* -- Python's calls -------------------------------------------------------------------------------------- */

/*
 * Up to 2.1.12 a datagram that is too short for a head ends the process (evdns.c:request_parse): have the kernel
 * drop those, and what is there already.  0; LEV_ERRNO; or LEV_NO_FILTER, where the system cannot.
 */
static int lev_drop_short_datagrams(evutil_socket_t fd)
{
#ifdef SO_ATTACH_FILTER
    char byte;
    int passes;

    if (lev_drop_shorter(fd, LEV_SHORTEST_DATAGRAM) != 0)
        return LEV_ERRNO;
    for (passes = 0; passes < 100000 && recv(fd, &byte, 1, MSG_DONTWAIT) >= 0; passes++)
        ;
    return 0;
#else
    (void)fd;
    return LEV_NO_FILTER;
#endif
}

/* Take over a UDP socket and, unless it is -1, a listening one, neither of which blocks. */
static int lev_dns_server_open(struct lev_dns_server *s, struct lev_base *l, int fd, int tcp_fd, int most_clients,
    int idle_timeout)
{
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    (void)most_clients;
    (void)idle_timeout;
    s->fd = fd;
    if (lev_fd_is_too_large(l, fd) || (tcp_fd >= 0 && lev_fd_is_too_large(l, tcp_fd)))
        result = LEV_FD_TOO_LARGE;
    else
        s->port = evdns_add_server_port_with_base(l->eb, fd, 0, lev_on_dns_request, s);
#ifdef LEV_HAVE_evdns_add_server_port_with_listener
    if (s->port != NULL && tcp_fd >= 0) {
        s->listener = evconnlistener_new(
            l->eb, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, tcp_fd);
        if (s->listener != NULL)
            s->tcp_port = evdns_add_server_port_with_listener(l->eb, s->listener, 0, lev_on_dns_tcp_request, s);
        if (s->tcp_port != NULL) {
            if (most_clients > 0)
                evdns_server_port_set_option(s->tcp_port, EVDNS_SOPT_TCP_MAX_CLIENTS, (size_t)most_clients);
            if (idle_timeout > 0)
                evdns_server_port_set_option(s->tcp_port, EVDNS_SOPT_TCP_IDLE_TIMEOUT, (size_t)idle_timeout);
            evconnlistener_enable(s->listener);
        }
    }
#endif
    if (s->port != NULL) {      /* what it has taken is its own from here on, also when the rest failed */
        event_assign(&s->flushed, l->eb, fd, EV_WRITE, lev_on_flushed, s);
        event_assign(&s->rested, l->eb, -1, 0, lev_on_rested, s);
        lev_child_begin(&s->child, l, &lev_dns_server_kind);
        result = tcp_fd >= 0 && s->tcp_port == NULL ? LEV_ERRNO : 0;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_dns_server_fd(struct lev_dns_server *s)
{
    int fd, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    fd = (int)s->fd;
    lev_leave(s->child.base, entered);
    return fd;
}
