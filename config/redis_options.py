"""The options of REDIS_URL, behind its question mark: those that redis-py takes and that do not change its answers.

redis-py hands an option that it does not know to a connection, which then fails with a traceback at its first use. It
takes most values as they are, too, and fails, or silently does something else, much later.
"""

import math
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

CONNECTIONS_LEAST: Final = 10
"""The loops of a worker and its jobs use as many at the same time; redis-py raises an error for one too many."""
_SWITCHES: Final = frozenset({"1", "0", "true", "false", "t", "f", "yes", "no", "y", "n"})
"""The values that redis-py reads as what they say; it takes any other, `off` among them, for true."""


def _is_whole(value: str, least: int) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) >= least  # noqa: PLR2004 - no overflow


def _is_seconds(value: str) -> bool:
    with suppress(ValueError):
        return 0 < float(value) < math.inf
    return False


_Kind = tuple[Callable[[str], bool], str]
_NUMBER: Final[_Kind] = (lambda value: _is_whole(value, 0), "has to be a whole number, 0 or more")
_COUNT: Final[_Kind] = (
    lambda value: _is_whole(value, CONNECTIONS_LEAST),
    f"has to be a whole number, {CONNECTIONS_LEAST} or more",
)
_SECONDS: Final[_Kind] = (_is_seconds, "has to be a number of seconds above 0")
_SWITCH: Final[_Kind] = (lambda value: value.lower() in _SWITCHES, "has to be true or false")
_WORD: Final[_Kind] = (
    lambda value: re.fullmatch(r"[!-~]+", value) is not None,
    "has to be of ASCII characters without white space",
)
_TEXT: Final[_Kind] = (lambda _: True, "")
_ALWAYS: Final[dict[str, _Kind]] = {
    "client_name": _WORD,
    "db": _NUMBER,
    "health_check_interval": _NUMBER,
    "max_connections": _COUNT,
    "password": _TEXT,
    "retry_on_timeout": _SWITCH,
    "socket_connect_timeout": _SECONDS,
    "socket_timeout": _SECONDS,
    "username": _TEXT,
}
_WITH_TCP: Final[dict[str, _Kind]] = {"socket_keepalive": _SWITCH}
_WITH_TLS: Final[dict[str, _Kind]] = dict.fromkeys(
    ("ssl_ca_certs", "ssl_ca_data", "ssl_certfile", "ssl_keyfile"), _TEXT
)
OPTIONS: Final[Mapping[str, Mapping[str, _Kind]]] = {
    "redis": _ALWAYS | _WITH_TCP,
    "rediss": _ALWAYS | _WITH_TCP | _WITH_TLS,
    "unix": _ALWAYS,
}
_BYTES: Final = "the worker reads bytes"
_OF_THE_WORKER: Final = "the worker has its own"
_IN_THE_ADDRESS: Final = "write it into the address itself"
REFUSED: Final[Mapping[str, str]] = {
    "credential_provider": "give the user and the password in the address",
    "decode_responses": _BYTES,
    "encoding": _BYTES,
    "encoding_errors": _BYTES,
    "host": _IN_THE_ADDRESS,
    "lib_name": "it has no use here",
    "lib_version": "it has no use here",
    "path": _IN_THE_ADDRESS,
    "port": _IN_THE_ADDRESS,
    "protocol": "the worker speaks RESP2 alone",
    "retry": _OF_THE_WORKER,
    "retry_on_error": _OF_THE_WORKER,
    "socket_keepalive_options": "those of the system are used",
    "socket_read_size": _OF_THE_WORKER,
    "socket_type": "the address decides it",
    "ssl_ca_path": "name one file with ssl_ca_certs",
    "ssl_cert_reqs": "TLS is always verified",
    "ssl_check_hostname": "TLS is always verified",
    "ssl_ciphers": "those of this machine's OpenSSL are used",
    "ssl_min_version": "TLS 1.2 or later is always used",
}
"""Options of redis-py 5.3 or later that an address may not set, with the reason."""
_NAME: Final = re.compile(r"[a-z_]{1,40}")


def check_redis_options(url: str) -> None:
    """Raise ValueError for the first option that is not known or has a value that cannot be used.

    No value is named, because it may be a secret.
    """
    parts = urlsplit(url)
    known = OPTIONS[parts.scheme]
    # redis-py decodes a value twice, and uses the first one of a name.
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query):
        given.setdefault(name, unquote(value))
    for name, value in given.items():
        if name not in known:
            raise ValueError(_why_not(name, known))
        fits, wanted = known[name]
        if not fits(value):
            raise ValueError(f"{name}: {wanted}")
    if parts.scheme != "unix" and not _is_whole(parts.path.replace("/", "") or "0", 0):
        raise ValueError("the part behind the host has to be the number of a database, as in /0")
    if parts.scheme == "rediss":
        _check_tls(given)


def _why_not(name: str, known: Mapping[str, _Kind]) -> str:
    if name in REFUSED:
        return f"{name}: take it out, {REFUSED[name]}"
    if name in _WITH_TLS:
        return f"{name}: needs rediss://"
    shown = name if _NAME.fullmatch(name) else "an option"
    near = get_close_matches(name, known, n=1)
    advice = f" (did you mean {near[0]}?)" if near else f": take it out; known are {', '.join(sorted(known))}"
    return f"{shown}: unknown option{advice}"


def _check_tls(given: Mapping[str, str]) -> None:
    """Raise ValueError for a certificate or a key that cannot be loaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValueError("ssl_keyfile: needs ssl_certfile")
    loads: dict[str, Callable[[], None]] = {
        "ssl_ca_certs": lambda: context.load_verify_locations(cafile=given["ssl_ca_certs"]),
        "ssl_ca_data": lambda: context.load_verify_locations(cadata=given["ssl_ca_data"]),
        # An empty password, or OpenSSL asks for one at the terminal.
        "ssl_certfile": lambda: context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), password=""),
    }
    for name, load in loads.items():
        if name not in given:
            continue
        try:
            load()
        except (OSError, ValueError, TypeError) as error:
            reason = f" ({error.strerror})" if isinstance(error, FileNotFoundError | PermissionError) else ""
            raise ValueError(f"{name}: cannot be loaded{reason}: it has to be in PEM") from None
