"""The public face: which names there are, how they are called, and what their docstrings promise."""

from __future__ import annotations

import importlib
import inspect
import io
import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest

import libevent_cffi

MODULES = [
    *("buffer", "bufferevent", "dns", "event", "http", "listener", "rpc", "tag", "tls"),
    *("errors", "flags", "lowlevel", "thread", "types", "util", "watch", "ws"),
]

TOP = """
CLOSED ET PERSIST READ WRITE Buffer BufferEvent BufferEventFlag ClosedError Event EventBase EventFlag
LibeventError Listener LoopBusyError LoopFlag Operation Signal Timer WrongThreadError __version__ dns http
rpc tag thread tls util watch ws
"""

EVENT = """
Resource()
    close()
    closed
CommonTimeout()
    base
    seconds
Statistics(pending, active, live, stale_callbacks, redelivered)
    pending
    active
    live
    stale_callbacks
    redelivered
EventBase(*, avoid_methods=(), required_features=0, flags=NO_CACHE_TIME, priorities=1,
          max_dispatch_interval=None, max_dispatch_callbacks=None, min_dispatch_priority=0, cpu_hint=None,
          error_handler=None)
    error_handler
    dispatch(*, exit_on_empty=True)
    loop(flags=0)
    poll(timeout=0.0)
    wait(operation, timeout=None)
    loop_exit(*, after=0.0)
    loop_break()
    loop_continue()
    got_exit
    got_break
    running
    running_event
    reinit()
    call_soon(callback, *args, priority=None)
    call_soon_threadsafe(callback, *args)
    call_later(delay, callback, *args, priority=None, keepalive=True)
    every(interval, callback, *args, priority=None, keepalive=True)
    on_readable(fd, callback, *args, edge_triggered=False, priority=None, keepalive=True)
    on_writable(fd, callback, *args, edge_triggered=False, priority=None, keepalive=True)
    on_signal(signum, callback, *args, priority=None, keepalive=True)
    once(fd, events, callback, *args, timeout=None)
    method
    supported_methods()
    signal_method
    features
    priorities
    now()
    update_now()
    common_timeout(seconds)
    count(what=ACTIVE|VIRTUAL|ADDED)
    max_count(what=ACTIVE|VIRTUAL|ADDED, *, clear=False)
    events()
    statistics()
    dump(file=None)
    activate_fd(fd, events)
    activate_signal(signum)
    close()
    closed
Event(base, fd, events, callback, *args, priority=None, keepalive=True)
    add(timeout=None)
    delete()
    cancel()
    activate(what=None, *, count=1)
    remove_timer()
    finalize(callback)
    pending
    remaining
    base
    fd
    events
    callback
    args
    keepalive
    priority
    close()
    closed
Timer(base, callback, *args, persist=False, priority=None, keepalive=True)
    add(timeout=None)
    delete()
    cancel()
    activate(what=None, *, count=1)
    remove_timer()
    finalize(callback)
    pending
    remaining
    base
    fd
    events
    callback
    args
    keepalive
    priority
    close()
    closed
Signal(base, signum, callback, *args, priority=None, keepalive=True)
    signum
    add(timeout=None)
    delete()
    cancel()
    activate(what=None, *, count=1)
    remove_timer()
    finalize(callback)
    pending
    remaining
    base
    fd
    events
    callback
    args
    keepalive
    priority
    close()
    closed
Operation()
    base
    done
    cancelled
    error
    result()
    wait(timeout=None)
    cancel()
"""

TLS = """
TLSContext(*, ca=None, ca_path=None, system_trust=None, verify=True, check_hostname=True, certificate=None,
           key=None, password=None, alpn=(), minimum_version=TLSv1_2, maximum_version=None, ciphers=None,
           ciphersuites=None, allow_dirty_shutdown=False)
    server(certificate, key=None, *, password=None, ca=None, ca_path=None, verify=False, alpn=(),
           on_server_name=None, session_tickets=True, minimum_version=TLSv1_2, maximum_version=None,
           ciphers=None, ciphersuites=None, allow_dirty_shutdown=False)
    from_ssl_context(context)
    server_side
TLSLayer()
    context
    state
    version
    cipher
    alpn
    server_name
    peer_certificate
    peer_chain
    session_reused
    allow_dirty_shutdown
    batch_write
    renegotiate()
"""

WATCH = """
PrepareWatcher(base, callback, *args)
    base
    close()
    closed
CheckWatcher(base, callback, *args)
    base
    close()
    closed
"""

WS = """
WebSocket()
    on_message
    on_close
    on_pong
    accept(request, *, on_message=None, on_close=None, subprotocols=(), origins=None,
           max_message_size=1048576, ping_interval=None)
    connect(base, url, callback=None, *args, on_message=None, on_close=None, headers=(), subprotocols=(),
            max_message_size=1048576, ping_interval=None, **options)
    base
    subprotocol
    request
    peer_address
    bufferevent
    unsent
    send(data)
    ping(data=b'')
    close(code=1000, reason='')
    closed
"""

LISTENER = """
Listener(base, address, callback, *args, plain_fd=False, backlog=None, enabled=True, reuse_address=True,
         reuse_port=False, ipv6_only=None, deferred_accept=False, leave_sockets_blocking=False,
         close_on_exec=True, on_error=None)
    set_callback(callback, *args)
    on_error
    enable()
    disable()
    enabled
    base
    fileno()
    address
    port
    close()
    closed
"""

DNS = """
connect(base, address, callback=None, *args, resolver=None, tls=None, server_hostname=None,
        attempt_delay=0.25, timeout=None)
error_text(code)
Answer(name, type, records, ttl, canonical_name=None)
    name
    type
    records
    ttl
    canonical_name
Query()
    name
    resolver
    base
    done
    cancelled
    error
    result()
    wait(timeout=None)
    cancel()
ResolverOptions
    ndots
    timeout
    max_timeouts
    max_inflight
    attempts
    randomize_case
    bind_to
    initial_probe_timeout
    max_probe_timeout
    probe_backoff_factor
    getaddrinfo_allow_skew
    so_rcvbuf
    so_sndbuf
    tcp_idle_timeout
    use_vc
    ignore_tc
    edns_udp_size
Question(name, type, class_)
    name
    type
    class_
Request()
    questions
    flags
    peer_address
    server
    answered
    add_a(name, addresses, *, ttl)
    add_aaaa(name, addresses, *, ttl)
    add_ptr(address, name, *, ttl)
    add_cname(name, canonical_name, *, ttl)
    add_reply(section, name, type, data, *, ttl, class_=1)
    set_flags(flags)
    respond(code=0)
    drop()
    defer()
Server(base, address, handler, *, tcp=False, tcp_max_clients=None, tcp_idle_timeout=None)
    base
    handler
    address
    port
    fileno()
    close()
    closed
Resolver(base, *, resolv_conf=True, resolv_conf_options=SEARCH|NAMESERVERS|MISC, hosts=True, nameservers=(),
         search=None, cache=False, keepalive=False, **options)
    default(base)
    base
    resolve_ipv4(name, callback=None, *args, search=True, tcp=False, ignore_truncation=False,
                 canonical_name=False)
    resolve_ipv6(name, callback=None, *args, search=True, tcp=False, ignore_truncation=False,
                 canonical_name=False)
    resolve_reverse(address, callback=None, *args, tcp=False)
    getaddrinfo(host, port, callback=None, *args, family=0, type=0, proto=0, flags=0)
    pending
    set_options(**options)
    load_resolv_conf(path=None, *, options=SEARCH|NAMESERVERS|MISC)
    add_nameserver(address)
    nameservers
    nameserver_fd(index)
    clear_nameservers()
    resume()
    add_search(domain)
    clear_search()
    load_hosts(path=None)
    clear_hosts()
    cache_add(name, addresses, *, ttl)
    cache_lookup(name, port=0, *, family=0)
    close()
    closed
"""

TAG = """
Encoder(buffer=None)
    buffer
    encode_int(value)
    marshal(tag, data)
    marshal_buffer(tag, buffer)
    marshal_int(tag, value)
    marshal_int64(tag, value)
    marshal_string(tag, value)
    marshal_timeval(tag, seconds)
Decoder(data)
    position
    peek()
    peek_length()
    payload_length()
    header()
    skip()
    decode_int()
    unmarshal()
    unmarshal_int(tag)
    unmarshal_int64(tag)
    unmarshal_fixed(tag, length)
    unmarshal_string(tag)
    unmarshal_timeval(tag)
"""

RPC = """
array(item, *, default_factory=<class 'list'>)
data(tag, *, length=None, **options)
int32(tag, **options)
int64(tag, **options)
load(path)
loads(text, *, filename='<string>')
string(tag, **options)
struct(tag, message, **options)
Call()
    name
    request
    http_request
    answered
    reply(message)
    fail()
    defer()
ClientCall()
    base
    done
    error
    cancelled
    result()
    wait(timeout=None)
    cancel()
    name
    request
    status
    pool
HookContext()
    request
    body
    headers
    connection
    add_meta(key, data)
    get_meta(key)
    resume(result=CONTINUE)
HookHandle()
    close()
    closed
Server(server)
    add_hook(type, hook)
    register(name, request, reply, handler=None)
    unregister(name)
    close()
    closed
Message(**values)
    from_bytes(data)
Pool(base, *connections, timeout=None)
    base
    timeout
    connections
    add_connection(connection)
    remove_connection(connection)
    call(name, request, reply, callback=None, *args)
    add_hook(type, hook)
    close()
    closed
Schema(classes)
"""

BUFFER = """
BufferChange(original_size, added, deleted)
    original_size
    added
    deleted
ChangeCallback()
    enabled
    close()
    closed
FileSegment(file, *, offset=0, length=None, sendfile=True, on_close=None)
    close()
    closed
Reservation()
    view
    commit(nbytes)
BufferFile(buffer)
    close()
    closed
Buffer(data=b'', *, defer_callbacks_to=None)
    add(data)
    prepend(data)
    writelines(parts)
    add_reference(data, *, offset=0, length=None, on_release=None)
    add_buffer(other)
    prepend_buffer(other)
    add_buffer_reference(other)
    add_file(file, *, offset=0, length=None, sendfile=True)
    add_file_segment(segment, *, offset=0, length=None)
    reserve(nbytes)
    expand(nbytes)
    read_from(file, nbytes=-1)
    remove(nbytes=-1)
    readinto(target)
    remove_buffer(nbytes=-1, *, into=None)
    readline(eol=CRLF)
    drain(nbytes=-1)
    write_to(file, nbytes=-1)
    copyout(nbytes=-1, *, start=0)
    peek(nbytes=-1, *, start=0)
    pullup(nbytes=-1)
    search(needle, *, start=0, end=None)
    search_eol(eol=CRLF, *, start=0)
    as_file()
    on_change(callback, *args)
    freeze(*, front)
    unfreeze(*, front)
    lock()
    contiguous_space
    max_read
    drains_to_fd
    close()
    closed
"""

HTTP = """
fetch(base, url, callback=None, *args, method='GET', headers=(), body=b'', follow_redirects=0,
      on_headers=None, on_chunk=None, **options)
html_escape(text)
parse_query(text, *, nonconformant=False, last_value=False)
uri_decode(text, *, plus_as_space=False)
uri_encode(text, *, space_as_plus=False)
BoundSocket()
    address
    base
    close()
    closed
    disable()
    enable()
    fileno()
    port
    server
Request(server, number)
    answered
    body
    client_gone
    close()
    closed
    connection
    defer()
    end()
    error(status, reason=None)
    headers
    host
    json()
    method
    on_body
    on_body_end
    on_close
    on_complete
    path
    peer_address
    query
    redirect(location, status=302)
    reply(status=200, body=b'', *, headers=(), reason=None, content_type=None)
    reply_json(value, status=200, *, headers=())
    response_headers
    send_chunk(data, callback=None, *args)
    sendfile(file, *, content_type=None, headers=(), ranges=True)
    server
    start(status=200, *, headers=(), reason=None, content_type=None)
    status
    target
    text()
    unsent
    uri
    version
Server(base, handler=None, *, tls=None, max_headers_size=65536, max_body_size=16777216,
        max_connections=None, timeout=50.0, read_timeout=None, write_timeout=None, reply_timeout=None,
        allowed_methods=None, methods=mappingproxy({}), default_content_type=None, lingering_close=False,
        on_request=None, on_refused=None, error_page=None, bufferevent_factory=None)
    accept(source, *, tls=None)
    add_alias(name)
    add_virtual_host(pattern, host)
    base
    bind(address, *, tls=None, backlog=128, reuse_port=False, ipv6_only=None)
    bound
    bufferevent_factory
    close()
    closed
    connections
    default_content_type
    error_page
    handler
    lingering_close
    max_body_size
    max_connections
    max_headers_size
    on_refused
    on_request
    read_timeout
    remove_alias(name)
    remove_route(path)
    remove_virtual_host(host)
    reply_timeout
    route(path, handler=None, *, stream=False)
    stop(callback=None, *, timeout=None)
    timeout
    write_timeout
Refused(status, line, size, peer_address)
    line
    peer_address
    size
    status
ServerConnection(server, number)
    bufferevent
    close()
    closed
    local_address
    peer_address
    server
    tls
DirectoryHandler(root, *, prefix='/', listing=True, index=('index.html',), follow_symlinks=False)
MultiDict(items=())
    add(name, value)
    clear()
    copy()
    get_list(name)
    multi_items()
Headers(items=())
    add(name, value)
    clear()
    copy()
    get_list(name)
    multi_items()
URI(text, *, flags=0)
    build(*, scheme=None, userinfo=None, host=None, port=None, unix_socket=None, path='', query=None,
          fragment=None)
    replace(**parts)
    resolve(reference)
    scheme
    userinfo
    host
    port
    unix_socket
    path
    query
    fragment
    params
ConnectionOptions
    tls
    server_hostname
    resolver
    timeout
    connect_timeout
    read_timeout
    write_timeout
    total_timeout
    retries
    retry_delay
    max_headers_size
    max_body_size
    local_address
    family
    read_on_write_error
    reuse_connected_address
    lingering_close
    methods
Response()
    status
    reason
    version
    headers
    body
    url
    ok
    text()
    json()
    raise_for_status()
ClientRequest()
    base
    done
    error
    cancelled
    result()
    wait(timeout=None)
    cancel()
    method
    url
    headers
    response
    pause_reading()
    resume_reading()
Connection(base, address, *, bufferevent=None, on_close=None, **options)
    on_close
    base
    address
    bufferevent
    tls
    pending
    request(method, target, callback=None, *args, headers=(), body=b'', on_headers=None, on_chunk=None)
    close()
    closed
"""

BUFFEREVENT = """
RateLimit(read_rate=None, write_rate=None, read_burst=None, write_burst=None, tick=0.1)
    read_rate
    write_rate
    read_burst
    write_burst
    tick
RateLimitGroup(base, limit, *, min_share=64)
    limit
    min_share
    add(bev)
    remove(bev)
    members
    read_limit
    write_limit
    decrement_read(nbytes)
    decrement_write(nbytes)
    totals()
    reset_totals()
    base
    close()
    closed
BufferEvent(base, sock=None, *, on_read=None, on_write=None, on_event=None, tls=None, server_hostname=None,
            enabled=READ|WRITE, read_timeout=None, write_timeout=None, priority=None, rate_limit=None)
    on_read
    on_write
    on_event
    pair(base)
    partner
    connect(address, *, resolver=None, family=0)
    write(data)
    writelines(parts)
    write_buffer(buffer)
    sendfile(file, *, offset=0, length=None)
    write_eof()
    flush(events=READ|WRITE, mode=FLUSH)
    read(nbytes=-1)
    readinto(target)
    readline(eol=CRLF)
    read_until(separator, *, max_bytes=None)
    read_buffer(into)
    input
    output
    enable(events)
    disable(events)
    enabled
    set_timeouts(*, read=None, write=None)
    read_timeout
    write_timeout
    set_watermark(events, *, low=0, high=None)
    get_watermark(event)
    trigger(events, *, ignore_watermarks=False)
    trigger_event(what)
    priority
    rate_limit
    rate_limit_group
    read_limit
    write_limit
    decrement_read_limit(nbytes)
    decrement_write_limit(nbytes)
    max_single_read
    max_single_write
    base
    underlying
    fileno()
    replace_socket(sock)
    detach()
    setsockopt(level, option, value)
    getsockopt(level, option)
    local_address
    peer_address
    error
    tls
    start_tls(context, *, server_hostname=None)
    close(*, flush=False)
    closed
FilterBufferEvent(underlying, input_filter=None, output_filter=None, *, on_read=None, on_write=None,
                  on_event=None, enabled=READ|WRITE, read_timeout=None, write_timeout=None)
    on_read
    on_write
    on_event
    pair(base)
    partner
    connect(address, *, resolver=None, family=0)
    write(data)
    writelines(parts)
    write_buffer(buffer)
    sendfile(file, *, offset=0, length=None)
    write_eof()
    flush(events=READ|WRITE, mode=FLUSH)
    read(nbytes=-1)
    readinto(target)
    readline(eol=CRLF)
    read_until(separator, *, max_bytes=None)
    read_buffer(into)
    input
    output
    enable(events)
    disable(events)
    enabled
    set_timeouts(*, read=None, write=None)
    read_timeout
    write_timeout
    set_watermark(events, *, low=0, high=None)
    get_watermark(event)
    trigger(events, *, ignore_watermarks=False)
    trigger_event(what)
    priority
    rate_limit
    rate_limit_group
    read_limit
    write_limit
    decrement_read_limit(nbytes)
    decrement_write_limit(nbytes)
    max_single_read
    max_single_write
    base
    underlying
    fileno()
    replace_socket(sock)
    detach()
    setsockopt(level, option, value)
    getsockopt(level, option)
    local_address
    peer_address
    error
    tls
    start_tls(context, *, server_hostname=None)
    close(*, flush=False)
    closed
"""

#: What has no C of its own behind it, and so no "Wraps".
OURS = """
WebSocket.base WebSocket.closed WebSocket.connect WebSocket.on_message WebSocket.on_pong
WebSocket.peer_address WebSocket.ping WebSocket.request WebSocket.subprotocol WebSocket.unsent
BoundSocket.address BoundSocket.base BoundSocket.closed BoundSocket.port BoundSocket.server
Request.client_gone
Request.closed Request.json Request.on_body_end Request.on_close Request.path Request.query Request.text
Request.unsent Request.version Server.reply_timeout ServerConnection.closed ServerConnection.local_address
ServerConnection.tls
Resource Resource.close Resource.closed EventBase.closed Event.closed Timer.closed Signal.closed
PrepareWatcher.closed CheckWatcher.closed CommonTimeout.base CommonTimeout.seconds Statistics
EventBase.running Query.name Query.resolver Query.base Query.done Query.cancelled Query.error
Query.result Query.wait Query.cancel Request.questions Request.flags Request.server Request.answered
Request.defer Resolver.base Resolver.closed Resolver.pending Server.base Server.handler Server.address
Server.port Server.fileno Server.close Server.closed
Listener.base Listener.enabled Listener.close Listener.closed
EventBase.error_handler EventBase.statistics Event.keepalive Timer.keepalive Signal.keepalive Operation
Operation.base Operation.done Operation.cancelled Operation.error Operation.result Operation.wait
Operation.cancel MultiDict MultiDict.add MultiDict.get_list MultiDict.multi_items MultiDict.copy
MultiDict.clear Headers.add Headers.get_list Headers.multi_items Headers.copy Headers.clear URI.resolve
Response Response.version Response.url Response.ok Response.text Response.json Response.raise_for_status
ClientRequest.method ClientRequest.url ClientRequest.response ClientRequest.base ClientRequest.done
ClientRequest.error ClientRequest.cancelled ClientRequest.result ClientRequest.wait ClientRequest.cancel
Connection.tls Connection.pending Connection.closed TLSContext.server_side TLSLayer.context BufferEvent.tls
Encoder.buffer Decoder Decoder.position Decoder.decode_int
ChangeCallback.closed FileSegment.closed Buffer.closed Buffer.as_file Reservation.view
BufferFile BufferEvent.closed BufferEvent.error BufferEvent.rate_limit_group BufferEvent.write_eof
FilterBufferEvent.closed FilterBufferEvent.error FilterBufferEvent.rate_limit_group
FilterBufferEvent.tls FilterBufferEvent.write_eof RateLimitGroup.base RateLimitGroup.closed
RateLimitGroup.members adopt borrow pointer surrender
"""

#: What a class has from Python's own: a named tuple, a file.
PYTHONS_OWN = {"count", "index"} | {*dir(io.BufferedIOBase)} - {"close", "closed"}


def described(name: str, thing: Any) -> str:
    """Write how *thing* is called, without types."""
    if isinstance(thing, property) or not callable(thing):
        return name
    parameters = list(inspect.signature(thing).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    return f"{name}({', '.join(_parameters(parameters))})"


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
            yield f"*{parameter.name}"
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            yield f"**{parameter.name}"
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        if parameter.default is parameter.empty:
            yield parameter.name
        else:
            yield f"{parameter.name}={_short(parameter.default)}"


def _short(value: object) -> str:
    return str(value) if isinstance(value, int) else repr(value)


def inherited(cls: type) -> set[str]:
    """Return what a mapping has from Python's own class."""
    if not issubclass(cls, MutableMapping) or issubclass(cls, dict):
        return set()
    ours = {
        name for each in cls.__mro__ if each.__module__.startswith("libevent_cffi") for name in vars(each)
    }
    return set(dir(MutableMapping)) - ours


def surface(module: Any) -> dict[str, set[str]]:
    """Return the classes of *module* with their public members, and its functions, as described()."""
    found: dict[str, set[str]] = {}
    for name in module.__all__:
        cls = getattr(module, name)
        if inspect.isclass(cls):
            members = {key for key in dir(cls) if not key.startswith("_")}
            members -= inherited(cls)
            members -= PYTHONS_OWN if issubclass(cls, (tuple, io.IOBase, Sequence)) else set()
            if issubclass(cls, dict):  # a TypedDict: its keys are keyword arguments
                found[name] = set(cls.__annotations__)
                continue
            members |= set(getattr(cls, "__dataclass_fields__", ()))
            found[described(name, cls)] = {described(key, _static(cls, key)) for key in members}
        elif inspect.isfunction(cls):
            found[described(name, cls)] = set()
    return found


def _static(cls: type, name: str) -> Any:
    thing = inspect.getattr_static(cls, name, None)
    return thing.__func__ if isinstance(thing, (staticmethod, classmethod)) else thing


def expected(text: str) -> dict[str, set[str]]:
    """Read one of the texts above."""
    joined = re.sub(r",\n +", ", ", text.strip())
    found: dict[str, set[str]] = {}
    members: set[str] = set()
    for line in joined.splitlines():
        if line.startswith(" "):
            members.add(line.strip())
        else:
            members = found[line] = set()
    return found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("buffer", BUFFER),
        ("dns", DNS),
        ("event", EVENT),
        ("http", HTTP),
        ("listener", LISTENER),
        ("rpc", RPC),
        ("tag", TAG),
        ("tls", TLS),
        ("watch", WATCH),
        ("ws", WS),
    ],
)
def test_the_surface_is_what_was_promised(module: str, text: str) -> None:
    """Every class, method, parameter and default."""
    found, promised = surface(importlib.import_module(f"libevent_cffi.{module}")), expected(text)
    here = f"write it into {module.upper()} of this file, and a line into CHANGELOG.md where users notice"
    for name in {**found, **promised}:
        new = sorted(found.get(name, set()) - promised.get(name, set()))
        gone = sorted(promised.get(name, set()) - found.get(name, set()))
        assert name in promised, f"{name} is not promised: {here}"
        assert name in found, f"{name} is promised and not there, or is called in another way: {here}"
        assert not new, f"{name} has {new}, which nothing promises: {here}"
        assert not gone, f"{name} has no {gone}, which was promised: {here}"


def test_the_everyday_names() -> None:
    """``from libevent_cffi import *`` gives them, and nothing else."""
    names: dict[str, Any] = {}
    exec("from libevent_cffi import *", names)
    del names["__builtins__"]
    assert set(names) == set(TOP.split()) == set(libevent_cffi.__all__)
    assert set(libevent_cffi.__all__) <= set(dir(libevent_cffi))
    assert names["READ"] is libevent_cffi.EventFlag.READ
    assert re.fullmatch(r"\d+\.\d+.*", libevent_cffi.__version__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = libevent_cffi.no_such_name


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_has(name: str) -> None:
    """A docstring, and __all__ with names that are there."""
    module = importlib.import_module(f"libevent_cffi.{name}")
    assert module.__doc__
    for each in module.__all__:
        assert hasattr(module, each), each
    assert len(set(module.__all__)) == len(module.__all__)


def documented() -> Iterator[tuple[str, str]]:
    """Generate the public callables and properties of the modules that wrap C, with their docstrings."""
    names = (
        "buffer",
        "bufferevent",
        "dns",
        "event",
        "listener",
        "http",
        "tag",
        "tls",
        "watch",
        "ws",
        "thread",
        "util",
        "lowlevel",
    )
    for name in names:
        module = importlib.import_module(f"libevent_cffi.{name}")
        for each in module.__all__:
            thing = getattr(module, each)
            if inspect.isclass(thing) and not issubclass(thing, (tuple, io.IOBase, Sequence, dict)):
                yield each, inspect.getdoc(thing) or ""
                for member in vars_of(thing):
                    yield f"{each}.{member}", inspect.getdoc(_static(thing, member)) or ""
            elif inspect.isfunction(thing):
                yield each, inspect.getdoc(thing) or ""


def vars_of(cls: type) -> list[str]:
    """Return the public methods and properties of *cls*."""
    kinds = (property, staticmethod, classmethod)
    return [
        name
        for name in dir(cls)
        if not name.startswith("_")
        and name not in inherited(cls)
        and (isinstance(inspect.getattr_static(cls, name), kinds) or callable(_static(cls, name)))
    ]


DOCUMENTED = sorted(documented())


@pytest.mark.parametrize(("name", "text"), DOCUMENTED, ids=[name for name, _ in DOCUMENTED])
def test_docstrings_end_with_what_they_wrap(name: str, text: str) -> None:
    """A sentence first; and where there is C behind it the last paragraph says which."""
    assert text, name
    assert text[0].isupper() or text[0] in "'`", name
    last = text.rpartition("\n\n")[2]
    if name in OURS.split():
        assert "Wraps:" not in text, f"{name} has C behind it now: take it out of OURS"
    else:
        says = last.startswith("Wraps") or ("\n\n" not in text and "Wraps: " in text)
        assert says, f"end {name}'s docstring by its Wraps: line, or name it in OURS: no C is behind it"
