"""What hostile and broken clients send: each with the statuses that may answer it; 0 is none at all."""

from __future__ import annotations

_HOST = b"Host: x\r\n"
_END = b"Connection: close\r\n\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def _post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + _HOST + b"".join(h + b"\r\n" for h in headers) + _END + body


CORPUS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", (0,)),
    "line ends only": (b"\r\n\r\n\r\n", (0, 400)),
    "no version": (b"GET /\r\n\r\n", (400,)),
    "version 9": (b"GET / HTTP/9.9\r\n" + _HOST + _END, (400, 505)),
    "version of letters": (b"GET / HTTP/x.y\r\n" + _HOST + _END, (400,)),
    "only spaces": (b"      \r\n\r\n", (0, 400)),
    "binary": (bytes(range(256)) * 4 + b"\r\n\r\n", (0, 400, 501)),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n", (0, 400)),
    "NUL in the target": (b"GET /a\0b HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "NUL after the version": (b"GET / HTTP/1.1\0x\r\n" + _HOST + _END, (400,)),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\0b\r\n" + _END, (400,)),
    "NUL on a folded line": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\0c\r\n" + _END, (400,)),
    "NUL before a name": (b"GET / HTTP/1.1\r\n" + _HOST + b"\0X: a\r\n" + _END, (400,)),
    "NUL after an encoding": (
        _post(b"Transfer-Encoding: chunked\0, gzip", body=b"0\r\n\r\n" + _SMUGGLED),
        (400,),
    ),
    "NUL after a length": (_post(b"Content-Length: 3\0" + b"0", body=b"abc"), (400,)),
    "NUL in a name": (b"GET / HTTP/1.1\r\n" + _HOST + b"X\0Y: a\r\n" + _END, (400,)),
    "no colon": (b"GET / HTTP/1.1\r\n" + _HOST + b"nothing\r\n" + _END, (400,)),
    "space before the colon": (_post(b"Content-Length : 5", body=b"abcde"), (400,)),
    "empty name": (b"GET / HTTP/1.1\r\n" + _HOST + b": a\r\n" + _END, (400,)),
    "a name with a space": (b"GET / HTTP/1.1\r\n" + _HOST + b"A B: a\r\n" + _END, (400,)),
    "folded at once": (b"GET / HTTP/1.1\r\n folded\r\n" + _END, (400,)),
    "folded": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\r\n" + _END, (200, 400)),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + _END, (400,)),
    "two lengths": (_post(b"Content-Length: 0", b"Content-Length: 37", body=_SMUGGLED), (400,)),
    "the same length twice": (_post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), (400,)),
    "a list of lengths": (_post(b"Content-Length: 3, 3", body=b"abc"), (400,)),
    "length with a plus": (_post(b"Content-Length: +3", body=b"abc"), (400,)),
    "length with a minus": (_post(b"Content-Length: -3", body=b"abc"), (400,)),
    "length in hexadecimal": (_post(b"Content-Length: 0x3", body=b"abc"), (400,)),
    "empty length": (_post(b"Content-Length:", body=b"abc"), (400,)),
    "length past 64 bits": (_post(b"Content-Length: 99999999999999999999", body=b"abc"), (400, 413)),
    "length of 63 bits": (_post(b"Content-Length: 9223372036854775807", body=b"abc"), (0, 400, 413)),
    "length and chunks": (
        _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SMUGGLED),
        (400,),
    ),
    "chunks and length": (
        _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED),
        (400,),
    ),
    "another encoding": (_post(b"Transfer-Encoding: gzip", body=_SMUGGLED), (400,)),
    "two encodings": (_post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (400,)),
    "encoding twice": (
        _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        (400,),
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (400,),
    ),
    "chunk size of letters": (
        _post(b"Transfer-Encoding: chunked", body=b"xyz\r\nabc\r\n0\r\n\r\n"),
        (400, 413),
    ),
    "negative chunk size": (_post(b"Transfer-Encoding: chunked", body=b"-3\r\nabc\r\n0\r\n\r\n"), (400, 413)),
    "huge chunk size": (_post(b"Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\nabc"), (400, 413)),
    "large chunk size": (_post(b"Transfer-Encoding: chunked", body=b"7fffffffffffffff\r\nabc"), (400, 413)),
    "body to HEAD": (b"HEAD / HTTP/1.1\r\n" + _HOST + b"Content-Length: 37\r\n\r\n" + _SMUGGLED, (400,)),
    "body to TRACE": (
        b"TRACE / HTTP/1.1\r\n" + _HOST + b"Content-Length: 37\r\n\r\n" + _SMUGGLED,
        (400, 501),
    ),
    "unknown method": (b"BREW /pot HTTP/1.1\r\n" + _HOST + _END, (501,)),
    "a method in small letters": (b"get / HTTP/1.1\r\n" + _HOST + _END, (501,)),
    "an absolute target": (b"GET http://x/y HTTP/1.1\r\n" + _HOST + _END, (200,)),
    "a bad absolute target": (b"GET http://[x/y HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "a port past 65535": (b"GET http://x:99999/y HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "two slashes": (b"GET //x//y HTTP/1.1\r\n" + _HOST + _END, (200, 400)),
    "a star": (b"OPTIONS * HTTP/1.1\r\n" + _HOST + _END, (200, 400)),
    "a target without a slash": (b"GET here HTTP/1.1\r\n" + _HOST + _END, (200, 400)),
    "percent signs": (b"GET /%zz%%%00%ff?%&=%=&&& HTTP/1.1\r\n" + _HOST + _END, (200,)),
    "not UTF-8": (b"GET /\xff\xfe HTTP/1.1\r\n" + _HOST + b"X: \xff\r\n" + _END, (200, 400)),
    "connect": (b"CONNECT x:443 HTTP/1.1\r\n" + _HOST + _END, (501,)),
    "a long target": (b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "a long value": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"x" * 100000 + b"\r\n" + _END, (400,)),
    "100,000 headers": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: y\r\n" * 100000 + _END, (400,)),
    "a head without an end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100, (0,)),
    "expects the unexpected": (_post(b"Expect: a miracle", b"Content-Length: 3", body=b"abc"), (417,)),
    "a body without a length": (_post(body=_SMUGGLED), (200,)),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\nConnection: close\n\n", (200, 400)),
    "an encoding with a control character": (
        _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + _SMUGGLED),
        (400,),
    ),
    "an encoding in quotes": (_post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n" + _SMUGGLED), (400,)),
    "an encoding with a comma": (
        _post(b"Transfer-Encoding: chunked,", body=b"0\r\n\r\n" + _SMUGGLED),
        (400,),
    ),
    "the encoding identity": (_post(b"Transfer-Encoding: identity"), (400,)),
    "an encoding on the next line": (_post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), (400,)),
    "a length on two lines": (_post(b"Content-Length: 1\r\n 0", body=b"abcdefghij"), (400,)),
    "a length on the next line": (_post(b"Content-Length:\r\n 3", body=b"abc"), (400,)),
    "a length with a tab": (_post(b"Content-Length:\t3\t", body=b"abc"), (400,)),
    "a length with a control character": (_post(b"Content-Length: 3\x0b", body=b"abc"), (400,)),
    "two lengths, one in small letters": (
        _post(b"Content-Length: 3", b"content-length: 4", body=b"abcd"),
        (400,),
    ),
    "a length that is not kept": (_post(b"Content-Length: 30", body=b"abc"), (0,)),
    "chunks to HEAD": (
        b"HEAD / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
        (400,),
    ),
    "a body to an unknown method": (
        b"BREW / HTTP/1.1\r\n" + _HOST + b"Content-Length: 35\r\n\r\n" + _SMUGGLED,
        (400, 501),
    ),
    "a chunk that is too long": (
        _post(b"Transfer-Encoding: chunked", body=b"3\r\nabcdef\r\n0\r\n\r\n"),
        (400, 413),
    ),
    "a trailer without a colon": (
        _post(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nnothing\r\n\r\n"),
        (400, 413),
    ),
    "a trailer without an end": (
        _post(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 50000),
        (400, 413),
    ),
    "a bare carriage return": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\rContent-Length: 3\r\n" + _END, (400,)),
    "bare carriage returns only": (b"GET / HTTP/1.1\rHost: x\r\r", (0, 400)),
    "tabs between the words": (b"GET\t/\tHTTP/1.1\r\n" + _HOST + _END, (400,)),
    "a space before the method": (b" GET / HTTP/1.1\r\n" + _HOST + _END, (400, 501)),
    "a word after the version": (b"GET / HTTP/1.1 x\r\n" + _HOST + _END, (400,)),
    "version 1.10": (b"GET / HTTP/1.10\r\n" + _HOST + _END, (0, 200, 400)),
    "version 0.9": (b"GET / HTTP/0.9\r\n\r\n", (0, 200, 400)),
    "a hello of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "no target": (b"GET  HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "another scheme": (b"GET ftp://x/y HTTP/1.1\r\n" + _HOST + _END, (200, 400)),
    "a script for a target": (b"GET javascript:alert(1) HTTP/1.1\r\n" + _HOST + _END, (200, 400)),
    "a user in the target": (b"GET http://u:p@x:80/y?z#f HTTP/1.1\r\nHost: y\r\n" + _END, (200,)),
    "control characters in the target": (b"GET /\x01\x7f HTTP/1.1\r\n" + _HOST + _END, (400,)),
    "a control character in a value": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\x01b\r\n" + _END, (400,)),
    "a colon for a header": (b"GET / HTTP/1.1\r\n" + _HOST + b":\r\n" + _END, (400,)),
    "a name that is not ASCII": (b"GET / HTTP/1.1\r\n" + _HOST + b"X\xff: a\r\n" + _END, (400,)),
}

_CHUNKED = b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
_LENGTH = b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 35\r\n\r\n"

#: libevent says the one or the other.
_REFUSED: set[tuple[int, ...]] = {(400,), (413,)}

#: What is sent before another request on the same connection, and the statuses that may answer all of it:
#: where a body ends is not to be mistaken.
KEPT: dict[str, tuple[bytes, set[tuple[int, ...]]]] = {
    "a body that looks like a request": (_LENGTH + _SMUGGLED, {(200, 200)}),
    "a chunk that looks like a request": (_CHUNKED + b"23\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", {(200, 200)}),
    "a body to GET": (_LENGTH.replace(b"POST", b"GET") + _SMUGGLED, {(200, 200)}),
    "a body to OPTIONS": (_LENGTH.replace(b"POST", b"OPTIONS") + _SMUGGLED, {(200, 200)}),
    "a body to CONNECT": (_LENGTH.replace(b"POST /", b"CONNECT x:1") + _SMUGGLED, {(501, 200), (501,)}),
    "a body to HEAD": (_LENGTH.replace(b"POST", b"HEAD") + _SMUGGLED, {(400,)}),
    "a body that nobody waited for": (
        _LENGTH.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + _SMUGGLED,
        {(200, 200), (100, 200, 200)},
    ),
    "zeros before a length": (_LENGTH.replace(b": 35", b": 00035") + _SMUGGLED, {(200, 200)}),
    "zeros before a size": (
        _CHUNKED + b"00000000000000000023\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n",
        {(200, 200)},
    ),
    "a size with 0x": (_CHUNKED + b"0x23\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with a plus": (_CHUNKED + b"+23\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with a minus": (_CHUNKED + b"-1\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with spaces": (_CHUNKED + b" 23 \r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with another word": (_CHUNKED + b"23 x\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with a NUL": (_CHUNKED + b"23\0" + b"0\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with a bare line feed": (_CHUNKED + b"23\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "a size with a bare carriage return": (
        _CHUNKED + b"2\r3\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n",
        _REFUSED,
    ),
    "no line end after a chunk": (_CHUNKED + b"3\r\nabc2\r\nde\r\n0\r\n\r\n", _REFUSED),
    "a bare line feed after a chunk": (_CHUNKED + b"3\r\nabc\n0\r\n\r\n", _REFUSED),
    "a bare carriage return after a chunk": (_CHUNKED + b"3\r\nabc\r0\r\n\r\n", _REFUSED),
    "a NUL in a trailer": (_CHUNKED + b"3\r\nabc\r\n0\r\nX: a\0b\r\n\r\n", _REFUSED),
    "a size with an extension": (
        _CHUNKED + b"23;a=b\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n",
        {(200, 200), (400,), (413,)},
    ),
    "an empty line for a size": (_CHUNKED + b"\r\n23\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n", _REFUSED),
    "NULs in a body": (
        b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 4\r\n\r\n\0\0\0\0",
        {(200, 200)},
    ),
    "NULs in chunks": (_CHUNKED + b"2\r\n\0\0\r\nA\r\n\n\r\n\0\r\n0\r\n\r\r\n0\r\n\r\n", {(200, 200)}),
    "an offer of another protocol": (
        b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        {(200, 200)},
    ),
    "NUL after an offer": (
        b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: h2c\r\n\r\nGET /\0 HTTP/1.1\r\n\r\n",
        {(200, 400)},
    ),
    "a size after an offer": (
        b"GET / HTTP/1.1\r\n"
        + _HOST
        + b"Upgrade: x\r\n\r\n"
        + _CHUNKED
        + b"+23\r\n"
        + _SMUGGLED
        + b"\r\n0\r\n\r\n",
        {(200, 400), (200, 413)},
    ),
    "an encoding in capitals": (
        _CHUNKED.replace(b"chunked", b"CHUNKED") + b"23\r\n" + _SMUGGLED + b"\r\n0\r\n\r\n",
        {(200, 200)},
    ),
    "a trailer": (_CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", {(200, 200)}),
    "a hundred requests": ((b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n") * 100, {(200,) * 101}),
    "garbage": (b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n\0\1garbage\r\n\r\n", {(200, 400)}),
    "a thousand empty headers": (
        b"GET / HTTP/1.1\r\n" + _HOST + b"".join(b"X%d:\r\n" % n for n in range(1000)) + b"\r\n",
        {(200, 200)},
    ),
    "many words in the request line": (b"GET /a b c HTTP/1.1\r\n" + _HOST + b"\r\n", {(200, 200), (400,)}),
}
