"""URIs, headers, multi-dicts and encodings: values that stand for themselves."""

from __future__ import annotations

import copy
import gc
import html
import pickle
import re
import string
import threading
import time
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libevent_cffi import util
from libevent_cffi._native._libevent import ffi, lib
from libevent_cffi.errors import FeatureUnavailableError
from libevent_cffi.flags import URIFlag
from libevent_cffi.http import (
    URI,
    Headers,
    MultiDict,
    html_escape,
    parse_query,
    uri_decode,
    uri_encode,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NONCONFORMANT = URIFlag.NONCONFORMANT
HAS_UNIX = hasattr(URIFlag, "UNIX_SOCKET")

# -- multi-dicts ---------------------------------------------------------------------------------------------


def test_a_multidict_keeps_every_pair_in_order() -> None:
    """As a mapping it shows the first value of each name; multi_items() and get_list() show all."""
    m = MultiDict([("a", "1"), ("b", "2"), ("a", "3")])
    assert m["a"] == "1"
    assert m.get_list("a") == ["1", "3"]
    assert m.get_list("c") == []
    for each in (m, Headers(m)):
        with pytest.raises(TypeError, match="names are str, not None"):
            each.get_list(None)  # type: ignore[arg-type]
    assert m.multi_items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert list(m) == ["a", "b"]
    assert len(m) == 2
    assert dict(m) == {"a": "1", "b": "2"}
    assert "a" in m
    assert "c" not in m
    assert 1 not in m  # type: ignore[comparison-overlap]
    assert m.get("c") is None
    with pytest.raises(KeyError, match="c"):
        m["c"]


def test_assigning_replaces_every_value_in_the_place_of_the_first() -> None:
    """What had the name is gone; the others keep their order."""
    m = MultiDict([("a", "1"), ("b", "2"), ("a", "3")])
    m["a"] = "4"
    m["c"] = "5"
    assert m.multi_items() == [("a", "4"), ("b", "2"), ("c", "5")]
    del m["a"]
    assert m.multi_items() == [("b", "2"), ("c", "5")]
    with pytest.raises(KeyError):
        del m["a"]
    m.add("b", "6")
    assert m.get_list("b") == ["2", "6"]
    assert m.pop("b") == "2"
    assert m.multi_items() == [("c", "5")]
    m.clear()
    assert not m
    assert len(m) == 0


def test_what_a_multidict_is_made_of() -> None:
    """A mapping, pairs, or another one with all its pairs; nothing else."""
    pairs = [("a", "1"), ("a", "2")]
    assert MultiDict(MultiDict(pairs)).multi_items() == pairs
    assert MultiDict(iter(pairs)).multi_items() == pairs
    assert MultiDict({"a": "1"}).multi_items() == [("a", "1")]
    for wrong in ("ab", b"ab", [("a", 1)], [(b"a", "1")], {"a": None}, 1):
        with pytest.raises(TypeError):
            MultiDict(wrong)  # type: ignore[arg-type]


def test_multidicts_compare_copy_and_pickle() -> None:
    """Equal pairs make equal dicts; a copy shares nothing."""
    m = MultiDict([("a", "1"), ("a", "2")])
    assert m == MultiDict([("a", "1"), ("a", "2")])
    assert m != MultiDict([("a", "2"), ("a", "1")])
    assert m != {"a": "1"}
    assert MultiDict({"a": "1"}) == {"a": "1"}
    assert m != 1
    for other in (m.copy(), copy.copy(m), copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert type(other) is MultiDict
        assert other == m
        other.add("b", "3")
        assert other != m
    assert repr(m) == "MultiDict([('a', '1'), ('a', '2')])"
    with pytest.raises(TypeError, match="unhashable"):
        hash(m)


@given(st.lists(st.tuples(st.sampled_from("aAbBc"), TEXT), max_size=12), st.lists(st.sampled_from("aAbBd")))
@settings(deadline=None, max_examples=60)
def test_a_multidict_is_what_a_list_of_pairs_would_be(pairs: list[tuple[str, str]], names: list[str]) -> None:
    """Every method agrees with the obvious one on a list, also after changes, with and without case."""
    for cls, key in ((MultiDict, str), (Headers, str.lower)):
        safe = [(n, v.translate(dict.fromkeys([0, 10, 13]))) for n, v in pairs]
        m, model = cls(safe), list(safe)
        for count, name in enumerate(names):
            assert m.get_list(name) == [v for n, v in model if key(n) == key(name)]
            if count % 3 == 0:
                m.pop(name, None)
                model = [(n, v) for n, v in model if key(n) != key(name)]
            elif count % 3 == 1:
                m.add(name, "x")
                model.append((name, "x"))
            else:
                m[name] = "y"
                places = [place for place, (n, _) in enumerate(model) if key(n) == key(name)]
                at = places[0] if places else len(model)
                rest = [(n, v) for n, v in model[at:] if key(n) != key(name)]
                model = [*model[:at], (name, "y"), *rest]
            assert m.multi_items() == model
            assert len(m) == len({key(n) for n, _ in model}) == len(list(m))


def test_taking_many_pairs_out_one_by_one_takes_no_time() -> None:
    """In the order in which they came; looking for each anew would take a minute."""
    headers = Headers([(f"X-{n}", "v") for n in range(10_000)])
    begin = time.process_time()
    for name in list(headers):
        headers[name] = "w"
        assert headers.pop(name) == "w"
    assert time.process_time() - begin < 3
    assert not headers


# -- headers -------------------------------------------------------------------------------------------------


def test_names_of_headers_have_no_case() -> None:
    """They are found, replaced and compared without; and shown as they were given."""
    h = Headers({"Content-Type": "text/html"})
    h.add("set-cookie", "a=1")
    h.add("Set-Cookie", "b=2")
    assert h["content-type"] == "text/html"
    assert h.get_list("SET-COOKIE") == ["a=1", "b=2"]
    assert list(h) == ["Content-Type", "set-cookie"]
    assert h == Headers([("CONTENT-TYPE", "text/html"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    del h["SET-COOKIE"]
    assert h == {"content-TYPE": "text/html"}


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\r", "a\0b", "a\r\n b"])
def test_a_value_that_would_begin_a_header_of_its_own_is_refused(value: str) -> None:
    """CR, LF and NUL, by every way in."""
    h = Headers()
    for put in (lambda: h.add("X", value), lambda: h.__setitem__("X", value), lambda: Headers({"X": value})):
        with pytest.raises(ValueError, match="holds a CR, LF or NUL"):
            put()
    assert not h


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä", "a\t", "a\0", "(a)"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    """As RFC 9110 has tokens."""
    with pytest.raises(ValueError, match="cannot be the name of a header"):
        Headers({name: "x"})


def test_headers_go_to_c_and_back_as_they_are() -> None:
    """Through libevent's own list, in order, with empty values and with bytes that are no UTF-8."""
    h = Headers([("A", "1"), ("b", ""), ("A", "ü\udcff"), ("C", "x" * 5000)])
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters().blocks
    queue = ffi.new("struct evkeyvalq *")
    queue.tqh_last = ffi.addressof(queue, "tqh_first")
    assert Headers._from_c(queue) == Headers()
    h._to_c(queue)
    assert ffi.string(lib.evhttp_find_header(queue, b"c")) == b"x" * 5000
    assert Headers._from_c(queue).multi_items() == h.multi_items()
    lib.evhttp_clear_headers(queue)
    assert util.memory_counters().blocks == before


def test_what_a_peer_sent_is_checked_when_it_is_sent_on() -> None:
    """Received headers may be malformed: they are there to see, and do not go out."""
    received = Headers._unpack(b"X Y\0a\0")
    assert received["x y"] == "a"
    queue = ffi.new("struct evkeyvalq *")
    queue.tqh_last = ffi.addressof(queue, "tqh_first")
    with pytest.raises(ValueError, match="cannot be the name"):
        received._to_c(queue)
    with pytest.raises(ValueError, match="cannot be the name"):
        Headers(received)
    assert pickle.loads(pickle.dumps(received)) == received


# -- URIs ----------------------------------------------------------------------------------------------------


def test_every_part_of_a_uri() -> None:
    """As it stands in the text; what is absent is None."""
    u = URI("http://user:pw@[::1]:8080/a/b;c=1?x=1&y=%20z+a#frag")
    assert (u.scheme, u.userinfo, u.host, u.port) == ("http", "user:pw", "[::1]", 8080)
    assert (u.path, u.query, u.fragment, u.unix_socket) == ("/a/b;c=1", "x=1&y=%20z+a", "frag", None)
    assert u.params.multi_items() == [("x", "1"), ("y", " z a")]
    nothing = URI("")
    assert (nothing.scheme, nothing.userinfo, nothing.host, nothing.port) == (None, None, None, None)
    assert (nothing.path, nothing.query, nothing.fragment) == ("", None, None)
    assert not nothing.params
    empty = URI("//?#")
    assert (empty.host, empty.path, empty.query, empty.fragment) == ("", "", "", "")
    assert str(empty) == "//?#"


@pytest.mark.parametrize(
    "text",
    [
        *("http://a b/", "http://[::1/", "http://h:99999/", "http://h:x/", "//u ser@h", "a b", "%zz", "http://ü/"),
        *("/a\r\nb", "1:b", ":", "http://[zz]/", "/#a#b"),
    ],
)  # fmt: skip
def test_what_is_no_uri_is_a_valueerror(text: str) -> None:
    """It is shown in the message."""
    with pytest.raises(ValueError, match="is no URI"):
        URI(text)


def test_bad_arguments_of_uris() -> None:
    """TypeError for what is no text, ValueError for a NUL and unknown flags."""
    for wrong in (None, 1, b"http://h/", URI("a")):
        with pytest.raises(TypeError):
            URI(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        URI("/a\0b")
    with pytest.raises(ValueError, match="unknown bits"):
        URI("/", flags=1 << 20)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        URI("/").path = "/b"  # type: ignore[misc]


def test_a_nonconformant_path_takes_anything() -> None:
    """With the flag, which goes on to what is made of it."""
    u = URI("/a b?ü{}|#x y", flags=NONCONFORMANT)
    assert (u.path, u.query, u.fragment) == ("/a b", "ü{}|", "x y")
    assert u.replace(path="/c d").path == "/c d"
    assert u.resolve("e f").path == "/e f"
    assert str(u) == "/a b?ü{}|#x y"
    assert repr(u) == "URI('/a b?ü{}|#x y', flags=<URIFlag.NONCONFORMANT: 1>)"


def test_uris_are_values() -> None:
    """Equal, with one hash, when they are written the same; copied to themselves; pickled."""
    u = URI("http://h/p")
    assert u == URI("http://h/p") == URI("http://h:/p") == URI.build(scheme="http", host="h", path="/p")
    assert hash(u) == hash(URI("http://h/p"))
    assert u != URI("http://h/q")
    assert u != "http://h/p"
    assert len({u, URI("http://h/p")}) == 1
    assert copy.copy(u) is u
    assert copy.deepcopy(u) is u
    strange = URI("/a b", flags=NONCONFORMANT)
    assert pickle.loads(pickle.dumps(strange)) == strange
    assert repr(u) == "URI('http://h/p')"


def test_building_and_replacing() -> None:
    """build() puts parts together, replace() changes some; a query may be pairs."""
    u = URI.build(scheme="https", userinfo="me", host="::1", port=0, path="/a%20b", query={"k e": "v&=ü"})
    assert str(u) == "https://me@[::1]:0/a%20b?k+e=v%26%3D%C3%BC"
    assert u.params["k e"] == "v&=ü"
    assert str(u.replace(port=None, userinfo=None, query="x", fragment="f")) == "https://[::1]/a%20b?x#f"
    assert str(u.replace(query=[("a", "1"), ("a", "2")], path=None)) == "https://me@[::1]:0?a=1&a=2"
    assert str(u.replace()) == str(u)
    assert str(URI.build()) == ""
    with pytest.raises(TypeError, match="no part 'hots'"):
        u.replace(hots="x")


@pytest.mark.parametrize(
    "parts",
    [
        *({"scheme": "1a"}, {"host": "a b"}, {"host": "[1"}, {"path": "a b"}, {"path": "/a?b"}),
        *({"query": "#"}, {"fragment": "#"}, {"userinfo": "@", "host": "h"}, {"host": "h", "path": "a"}),
        *({"path": "//a"}, {"path": "a:b"}, {"port": 80}, {"host": "h", "port": -1}),
        *({"host": "h", "port": 65536}, {"scheme": "a", "path": "//b"}, {"userinfo": "u"}, {"scheme": "\0"}),
        {"path": "/\r\nX: y"},
    ],
    ids=str,
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any]) -> None:
    """Those that cannot stand there, and those that would be read as something else."""
    with pytest.raises(ValueError):
        URI.build(**parts)
    with pytest.raises(ValueError):
        URI("").replace(**parts)


#: RFC 3986, 5.4: each reference, and where it leads from http://a/b/c/d;p?q.
EXAMPLES = """
g:h g:h                         g http://a/b/c/g                ./g http://a/b/c/g
g/ http://a/b/c/g/              /g http://a/g                   //g http://g
?y http://a/b/c/d;p?y           g?y http://a/b/c/g?y            #s http://a/b/c/d;p?q#s
g#s http://a/b/c/g#s            g?y#s http://a/b/c/g?y#s        ;x http://a/b/c/;x
g;x http://a/b/c/g;x            g;x?y#s http://a/b/c/g;x?y#s    . http://a/b/c/
./ http://a/b/c/                .. http://a/b/                  ../ http://a/b/
../g http://a/b/g               ../.. http://a/                 ../../ http://a/
../../g http://a/g              ../../../g http://a/g           ../../../../g http://a/g
/./g http://a/g                 /../g http://a/g                g. http://a/b/c/g.
.g http://a/b/c/.g              g.. http://a/b/c/g..            ..g http://a/b/c/..g
./../g http://a/b/g             ./g/. http://a/b/c/g/           g/./h http://a/b/c/g/h
g/../h http://a/b/c/h           g;x=1/./y http://a/b/c/g;x=1/y  g;x=1/../y http://a/b/c/y
g?y/./x http://a/b/c/g?y/./x    g?y/../x http://a/b/c/g?y/../x  g#s/./x http://a/b/c/g#s/./x
g#s/../x http://a/b/c/g#s/../x  http:g http:g
""".split()


@pytest.mark.parametrize(("reference", "target"), list(zip(EXAMPLES[::2], EXAMPLES[1::2])))
def test_references_lead_where_rfc_3986_says(reference: str, target: str) -> None:
    """Every example of its section 5.4."""
    base = URI("http://a/b/c/d;p?q")
    assert str(base.resolve(reference)) == target
    assert base.resolve(URI(reference)) == URI(target)
    assert base.resolve("") == base


def test_more_references() -> None:
    """Without a path to begin with, without a host, and without becoming a host."""
    assert str(URI("http://a").resolve("b")) == "http://a/b"
    assert str(URI("http://a?x#y").resolve("")) == "http://a?x"
    assert str(URI("a:b/c").resolve("../../d")) == "a:/d"
    assert str(URI("a:/b").resolve(".//c")) == "a:/.//c"
    assert str(URI("http://u@a:81/x").resolve("/y")) == "http://u@a:81/y"
    with pytest.raises(ValueError, match="is no URI"):
        URI("http://a/").resolve("a b")


def test_a_long_way_up_takes_no_time() -> None:
    """Each step up is looked at once."""
    begin = time.process_time()
    assert str(URI("a").resolve("../" * 300_000 + "b")) == "b"
    assert time.process_time() - begin < 1  # in quadratic time it would be 3 s or more


_SEGMENT = st.text(string.ascii_letters + "-._~!$&'()*+,;=:@", max_size=5)
_PATH = st.lists(_SEGMENT, max_size=5).map(lambda segments: "".join(f"/{each}" for each in segments))
_MAYBE = st.none() | st.text(string.ascii_letters + string.digits + "=&/?", max_size=6)


@given(
    st.sampled_from(["http", "x-y+z.1"]), st.sampled_from(["h", "a.b", "[::1]", ""]), _PATH, _MAYBE, _MAYBE
)
@settings(deadline=None, max_examples=100)
def test_a_uri_that_is_built_is_read_the_same(
    scheme: str, host: str, path: str, query: Any, fragment: Any
) -> None:
    """str() and back gives the same parts, and Python's own parser agrees."""
    u = URI.build(scheme=scheme, host=host, path=path, query=query, fragment=fragment)
    again = URI(str(u))
    assert again == u
    assert (again.scheme, again.host, again.path) == (scheme, host, path)
    assert (again.query, again.fragment) == (query, fragment)
    split = urllib.parse.urlsplit(str(u))
    assert (split.scheme, split.path, split.query) == (scheme, path, query or "")


@given(st.text(string.printable, max_size=30))
@settings(deadline=None, max_examples=200)
def test_any_text_is_a_uri_or_a_valueerror(text: str) -> None:
    """Never anything else, and what is one can be written and read again."""
    for flags in (URIFlag(0), NONCONFORMANT):
        try:
            u = URI(text, flags=flags)
        except ValueError:
            continue
        again = URI(str(u), flags=flags)
        assert again == u
        assert (again.host, again.path, again.query) == (u.host, u.path, u.query)


@pytest.mark.skipif(not HAS_UNIX, reason="libevent 2.2")
def test_uris_with_a_unix_socket() -> None:
    """http://unix:/path/of/socket:/path, parsed, put together and resolved; and without the flag a host."""
    flags = URIFlag.UNIX_SOCKET
    u = URI("http://me@unix:/tmp/s:/p?q#f", flags=flags)
    assert (u.userinfo, u.host, u.unix_socket, u.path, u.query) == ("me", None, "/tmp/s", "/p", "q")
    assert str(u) == "http://me@unix:/tmp/s:/p?q#f"
    assert str(u.resolve("../x")) == "http://me@unix:/tmp/s:/x"
    assert u == URI.build(
        scheme="http", userinfo="me", unix_socket="/tmp/s", path="/p", query="q", fragment="f"
    )
    assert str(URI("//h/p").replace(host=None, unix_socket="s")) == "//unix:s:/p"
    assert URI("http://h/p", flags=flags).host == "h"
    assert pickle.loads(pickle.dumps(u)) == u
    with pytest.raises(ValueError, match="is no URI"):
        URI.build(unix_socket="a:b", path="/")
    with pytest.raises(ValueError, match="is no URI"):
        URI("http://unix:/s:8080/p q", flags=flags)


@pytest.mark.skipif(HAS_UNIX, reason="libevent 2.1")
def test_a_unix_socket_in_a_uri_needs_libevent_22() -> None:
    """build() says so."""
    with pytest.raises(FeatureUnavailableError, match=r"needs libevent 2\.2|was switched off"):
        URI.build(unix_socket="/s", path="/")


@pytest.mark.skipif(not hasattr(URIFlag, "HOST_STRIP_BRACKETS"), reason="libevent 2.2")
def test_brackets_are_stripped_where_asked() -> None:
    """From the host only: the text keeps them."""
    u = URI("http://[::1]:80/", flags=URIFlag.HOST_STRIP_BRACKETS)
    assert u.host == "::1"
    assert str(u) == "http://[::1]:80/"
    assert u.replace(path="/x").host == "::1"
    assert URI("http://h/", flags=URIFlag.HOST_STRIP_BRACKETS).host == "h"


# -- encodings -----------------------------------------------------------------------------------------------


def test_encoding_keeps_only_what_needs_none() -> None:
    """Letters, digits and -._~ stay."""
    plain = string.ascii_letters + string.digits + "-._~"
    assert uri_encode(plain) == plain
    assert uri_encode("a b/ü\0") == "a%20b%2F%C3%BC%00"
    assert uri_encode("a b", space_as_plus=True) == "a+b"
    assert uri_encode(b"\xff\x00") == "%FF%00"
    assert uri_encode("") == uri_encode(b"") == ""
    assert uri_encode("\udcff") == "%FF"
    for wrong in (1, None, bytearray(b"a")):
        with pytest.raises(TypeError):
            uri_encode(wrong)  # type: ignore[arg-type]


class _Misleading(str):
    """A str that says of itself what is not so."""

    def __format__(self, spec: str) -> str:
        return "x\0X-Evil\0y"

    def __contains__(self, other: object) -> bool:
        return False

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return _MisleadingBytes(b"x")


class _MisleadingBytes(bytes):
    def __len__(self) -> int:
        return 1_000_000


def test_what_a_text_holds_counts_and_not_what_its_class_says() -> None:
    """Nothing is read beyond its end, and no header comes of another one's value."""
    assert uri_encode(_MisleadingBytes(b"a b")) == "a%20b"
    assert uri_encode(_Misleading("a b")) == "a%20b"
    assert uri_decode(_Misleading("a%20b")) == b"a b"
    assert html_escape(_Misleading("<")) == "&lt;"
    assert URI.build(path=_Misleading("/a")).path == "/a"
    with pytest.raises(ValueError, match="NUL"):
        URI.build(path=_Misleading("/a\0b"))
    assert Headers([("a", _Misleading("b"))])._pack() == b"a\0b\0"


def test_decoding() -> None:
    """Bytes come out; a percent sign without digits stands for itself; + is a space where asked."""
    assert uri_decode("a%00b+%zz%4%") == b"a\0b+%zz%4%"
    assert uri_decode("a+b%2B", plus_as_space=True) == b"a b+"
    assert uri_decode("ü%FF") == b"\xc3\xbc\xff"
    assert uri_decode("a\0b%") == b"a\0b%"
    assert uri_decode("") == b""
    with pytest.raises(TypeError):
        uri_decode(b"a")  # type: ignore[arg-type]


@given(st.binary(max_size=50), st.booleans())
@settings(deadline=None, max_examples=100)
def test_decoding_undoes_encoding(data: bytes, plus: bool) -> None:
    """For any bytes, and as Python's own functions do it."""
    encoded = uri_encode(data, space_as_plus=plus)
    assert encoded == (urllib.parse.quote_plus(data) if plus else urllib.parse.quote(data, safe=""))
    assert uri_decode(encoded, plus_as_space=plus) == data


def test_queries() -> None:
    """Names and values are decoded; names may come again."""
    query = "a=1&b%20c=%41+b%2B&d=&a=2=3&"
    assert parse_query(query).multi_items() == [("a", "1"), ("b c", "A b+"), ("d", ""), ("a", "2=3")]
    assert parse_query(query, last_value=True).multi_items() == [("a", "2=3"), ("b c", "A b+"), ("d", "")]
    assert parse_query("").multi_items() == []
    assert parse_query("a=x%00y")["a"] == "x\0y"
    assert parse_query("a=%FF")["a"] == "\ufffd"
    for wrong in ("a", "=b", "a=1&&b=2", "&"):
        with pytest.raises(ValueError, match="nonconformant=True"):
            parse_query(wrong)
    assert parse_query("a&=b&&c=1", nonconformant=True).multi_items() == [("a", ""), ("c", "1")]
    with pytest.raises(TypeError):
        parse_query(b"a=1")  # type: ignore[arg-type]


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=6))
@settings(deadline=None, max_examples=60)
def test_a_query_that_is_built_is_read_the_same(pairs: list[tuple[str, str]]) -> None:
    """Whatever the texts."""
    u = URI.build(path="/", query=pairs)
    assert u.params.multi_items() == pairs
    assert parse_query(u.query or "").multi_items() == pairs


@given(st.text("ab=&%+4", max_size=12))
@settings(deadline=None, max_examples=200)
def test_queries_are_taken_apart_as_libevent_does(text: str) -> None:
    """The same pairs, and refused alike; but that libevent leaves names encoded."""
    queue = ffi.new("struct evkeyvalq *")
    rc = lib.evhttp_parse_query_str(text.encode(), queue)
    theirs = Headers._from_c(queue).multi_items()
    lib.evhttp_clear_headers(queue)
    theirs = [(uri_decode(n, plus_as_space=True).decode("utf-8", "surrogateescape"), v) for n, v in theirs]
    theirs = [tuple(re.sub("[\udc80-\udcff]", "\ufffd", text) for text in pair) for pair in theirs]  # type: ignore[misc]
    if rc == 0:
        assert parse_query(text).multi_items() == theirs
    else:
        with pytest.raises(ValueError, match="nonconformant"):
            parse_query(text)


@given(TEXT)
@settings(deadline=None, max_examples=60)
def test_html_is_escaped(text: str) -> None:
    """A browser reads it as the same text, and finds no mark-up in it."""
    escaped = html_escape(text)
    assert not set(escaped) & set("<>\"'")
    if "\0" not in text:
        assert html.unescape(escaped.replace("&amp;", "&#38;")) == html.unescape(
            "".join(f"&#{ord(c)};" if c in "<>&'\"" else c for c in text)
        )
    assert html_escape("<a b=\"'&\0'\">") == "&lt;a b=&quot;&#039;&amp;\0&#039;&quot;&gt;"


# -- all of them ---------------------------------------------------------------------------------------------


def test_values_leave_nothing_in_c() -> None:
    """Whatever they were made of."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters().blocks
    for text in ("http://u@h:1/p?q#f", "a b", "//"):
        try:
            u = URI(text)
        except ValueError:
            continue
        u.replace(path="/x").resolve("../y")
    uri_encode("ü"), uri_decode("%20"), html_escape("<"), parse_query("a=%20")
    assert util.memory_counters().blocks == before


def test_values_survive_want_of_memory() -> None:
    """Each allocation that fails is a MemoryError, and nothing is lost."""
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters().blocks
    for n in range(1, 40):
        lib.lev_memory_fail_after(n)
        try:
            assert str(URI("http://u@h:1/p?q#f").replace(path="/x")) == "http://u@h:1/x?q#f"
            assert uri_decode(uri_encode("a b")) == b"a b"
            assert html_escape("<") == "&lt;"
        except MemoryError:
            pass
        finally:
            lib.lev_memory_fail_after(0)
        assert util.memory_counters().blocks == before


def test_values_belong_to_no_thread() -> None:
    """Any thread may make and read them."""
    shared = URI("http://h/p?a=1")
    found: list[str] = []

    def work() -> None:
        for _ in range(200):
            found.append(str(URI(str(shared)).replace(path="/x")) + shared.params["a"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {"http://h/x?a=11"}
    assert len(found) == 600
