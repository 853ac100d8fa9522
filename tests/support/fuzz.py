"""Random requests that no client would send, from a seed. Each is a sequence of parts to write one by one."""

from collections.abc import Callable
from random import Random

OPEN = ("/", "/healthz", "/readyz", "/metrics", "/static/page.css", "/v1/openapi.json", "/none")
PATHS = (*OPEN, "/sign-in", "/customer", "/dead-letters", "/v1/events", "/v1/events/signup-42")
FORMS = ("/sign-in", "/customer", "/dead-letters")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "BREW", "get", "G\x00T", "")
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/9.9", "HTTP/1.1.1", "http/1.1", "ICY/1.0", "")
ENDS = ("\r\n", "\n", "\r", "\n\r", "")
NASTY = ("\x00", "\x0b", "\x7f", "\xff", "\ud800", "%00", "%ed%a0%80", "%zz", "../", "\u202e", "{{7*7}}", "a" * 9000)
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)

Parts = tuple[bytes, ...]


def encoded(text: str) -> bytes:
    """Return the text as bytes, half surrogate pairs too."""
    return text.encode("utf-8", "surrogatepass")


def request(
    random: Random, *, method: str = "", path: str = "", version: str = "HTTP/1.1", headers: tuple[str, ...] = ()
) -> bytes:
    """Return a valid request, except for the given parts."""
    path = path or random.choice(FORMS if method == "POST" and random.random() < 0.8 else PATHS)
    line = f"{method or ('POST' if path in FORMS else 'GET')} {path} {version}"
    close = "Connection: close" if random.random() < 0.7 else "Connection: keep-alive"
    return encoded("\r\n".join([line, "Host: localhost", close, *headers, "", ""]))


def _line(random: Random) -> Parts:
    parts = [random.choice(METHODS), random.choice(PATHS) + random.choice(NASTY), random.choice(VERSIONS)]
    random.shuffle(parts)
    blank = random.choice((" ", "  ", "\t", ""))
    return (encoded(blank.join(parts) + random.choice(ENDS) + "Host: x" + random.choice(ENDS) * 2),)


def _header(random: Random) -> Parts:
    name = random.choice(("X", "Host", "Cookie", "Content-Type", "Accept", "Sec-Fetch-Site", "X Y", "", ":", " Host"))
    value = random.choice(NASTY) + random.choice(("", "\r\n folded", "; ;=;", "=" * 40, "\x00"))
    return (request(random, headers=(f"{name}:{value}", f"{name}: again")),)


def _cookie(random: Random) -> Parts:
    value = random.choice((".eJw", "W10.x", '"', "a.b.c", random.choice(NASTY), "." * 4000))
    return (request(random, path="/", headers=(f"Cookie: customer-sync-session={value}; x",)),)


def _huge(random: Random) -> Parts:
    many = tuple(f"X-{number}: {'v' * 50}" for number in range(random.choice((10, 400))))
    return (request(random, headers=(f"X-Long: {'l' * random.choice((100, 9_000, 70_000))}", *many)),)


def _chunked(random: Random) -> Parts:
    size = random.choice(("5", "-1", "0x5", "FFFFFFFFFFFFFFFFF", "", " 5", "5;" + "e" * 5000, "5\x00", "1_0"))
    end = random.choice(("0\r\n\r\n", "0\r\nTrailer: x\r\n\r\n", "", "0\r\n" + "T: x\r\n" * 300))
    headers = [
        "Transfer-Encoding: " + random.choice(("chunked", "chunked, chunked", "gzip, chunked", "x", "Chunked\x0b"))
    ]
    headers += random.choice(([], ["Content-Length: 3"]))
    return request(random, method="POST", headers=tuple(headers)), encoded(f"{size}\r\nhello\r\n"), encoded(end)


def _length(random: Random) -> Parts:
    length = random.choice(("-1", "+3", "3, 3", "9" * 30, "1e3", "", "0x3", "3\r\nContent-Length: 4", "65537", "3"))
    return request(random, method="POST", headers=(f"Content-Length: {length}",)), b"abc" * random.choice((0, 1, 40))


def _form(random: Random) -> Parts:
    kind = random.choice(
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-7", "multipart/form-data")
    )
    body = random.choice((b"&" * 60_000, b"token=%ff%00", b"\xff" * 900, b"a=" * 20_000, b"password=x&token="))
    encoding = random.choice(((), ("Content-Encoding: gzip",), ("Content-Encoding: br",)))
    headers = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *encoding)
    return request(random, method="POST", headers=headers), body


def _pipelined(random: Random) -> Parts:
    one = request(random, headers=()).replace(b"Connection: close", b"X: y")
    return (one * random.choice((2, 20, 200)) + request(random, path="/healthz"),)


def _target(random: Random) -> Parts:
    targets = (
        "http://localhost/",
        "http://[::1/",
        "http://user:pw@x:99999/",
        "*",
        "//",
        "http://",
        "?",
        "/%2e%2e/",
        "/?a[",
    )
    target = random.choice(targets) + random.choice(("", *NASTY))
    host = random.choice(("localhost", "example.com", "", "[::1", "a" * 300, "x:y:z", "\x00"))
    method = random.choice(METHODS)
    return (encoded(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),)


def _old(random: Random) -> Parts:
    return (
        encoded(random.choice(("GET /\r\n", "GET / HTTP/0.9\r\n\r\n", "\r\n\r\n\r\n", "GET\r\n\r\n", "\n" * 5000))),
    )


def _binary(random: Random) -> Parts:
    return (random.choice((TLS_HELLO, HTTP2_PREFACE, random.randbytes(random.randrange(1, 3000)), bytes(5000))),)


def _upgrade(random: Random) -> Parts:
    to = random.choice(("websocket", "h2c", "x"))
    headers = (
        f"Upgrade: {to}",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: x",
        "Expect: " + random.choice(("100-continue", "x")),
    )
    return request(random, headers=headers), random.randbytes(200)


def _slow(random: Random) -> Parts:
    whole = request(random, method="POST", headers=("Content-Length: 8",)) + b"token=ab"
    cut = random.randrange(1, len(whole))
    return tuple(whole[at : at + 1] for at in range(cut))


def _mutated(random: Random) -> Parts:
    whole = bytearray(request(random, headers=("Content-Length: 8",)) + b"token=ab")
    for _ in range(random.randrange(1, 6)):
        whole[random.randrange(len(whole))] = random.randrange(256)
    return (bytes(whole),)


KINDS: tuple[Callable[[Random], Parts], ...] = (
    _line,
    _header,
    _cookie,
    _huge,
    _chunked,
    _length,
    _form,
    _pipelined,
    _target,
    _old,
    _binary,
    _upgrade,
    _slow,
    _mutated,
)


def odd_request(random: Random) -> Parts:
    """Return the next request."""
    return random.choice(KINDS)(random)
