"""
The memory of ten thousand idle keep-alive connections of an HTTP server, beside the same in C on evhttp.

Each client asks once, and stays.  The server then prints how much it grew since it listened.  The server in C
is compiled here, as idle_connections.py tells.  Run by hand:

    python benchmarks/idle_http.py [--connections 10000]
"""

from __future__ import annotations

from idle_connections import RESIDENT, RESIDENT_IN_C, compare

IN_C = (
    RESIDENT_IN_C
    + r"""
#include <event2/http.h>

static long wanted, answered, before;

static void hello(struct evhttp_request *request, void *arg)
{
    struct evbuffer *body = evbuffer_new();

    evbuffer_add(body, "Hello, world!", 13);
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
    if (answered++ == wanted) {
        printf("%ld\n", resident() - before);
        fflush(stdout);
        event_base_loopexit(arg, NULL);
    }
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct evhttp *server = evhttp_new(base);
    struct evhttp_bound_socket *bound;
    struct sockaddr_in address;
    ev_socklen_t size = sizeof(address);

    wanted = argc > 1 ? atol(argv[1]) : 0;
    evhttp_set_timeout(server, 500);
    evhttp_set_gencb(server, hello, base);
    bound = evhttp_bind_socket_with_handle(server, "127.0.0.1", 0);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &size);
    before = resident();
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    event_base_dispatch(base);
    return 0;
}
"""
)

OURS = (
    RESIDENT
    + """
from libevent_cffi import EventBase
from libevent_cffi.http import Server
wanted = int(sys.argv[1])
answered = 0
def hello(request):
    global answered
    request.reply(200, b"Hello, world!")
    answered += 1
    if answered > wanted:
        base.call_soon(end)
def end():
    gc.collect()
    print(resident() - before, flush=True)
    base.loop_exit()
base = EventBase()
server = Server(base, hello, timeout=500)
bound = server.bind(("127.0.0.1", 0))
gc.collect()
before = resident()
print(bound.port, flush=True)
base.dispatch()
"""
)

if __name__ == "__main__":
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    compare(IN_C, "event", OURS, None, __doc__.splitlines()[1], asked, asked)
