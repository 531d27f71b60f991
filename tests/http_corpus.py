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
    "NUL in the target": (b"GET /a\0b HTTP/1.1\r\n" + _HOST + _END, (0, 200, 400)),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\0b\r\n" + _END, (200, 400)),
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
}
