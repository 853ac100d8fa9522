"""The options of REDIS_URL, after its question mark: those that redis-py supports and that do not change its answers.

redis-py passes an unknown option to a connection, which fails with a traceback at its first use. redis-py does not
check most values either: it fails later, or silently does something else.
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
"""A worker uses this many connections at the same time. Above `max_connections`, redis-py raises an error."""
_SWITCHES: Final = frozenset({"1", "0", "true", "false", "t", "f", "yes", "no", "y", "n"})
"""The values that redis-py reads correctly. It reads every other value as true, even `off`."""


def _is_whole(value: str, least: int) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) >= least  # noqa: PLR2004 - no overflow


def _is_seconds(value: str) -> bool:
    with suppress(ValueError):
        return 0 < float(value) < math.inf
    return False


_Kind = tuple[Callable[[str], bool], str]
_NUMBER: Final[_Kind] = (lambda value: _is_whole(value, 0), "must be a whole number, 0 or more")
_COUNT: Final[_Kind] = (
    lambda value: _is_whole(value, CONNECTIONS_LEAST),
    f"must be a whole number, {CONNECTIONS_LEAST} or more",
)
_SECONDS: Final[_Kind] = (_is_seconds, "must be a number of seconds above 0")
_SWITCH: Final[_Kind] = (lambda value: value.lower() in _SWITCHES, "must be true or false")
_WORD: Final[_Kind] = (
    lambda value: re.fullmatch(r"[!-~]+", value) is not None,
    "may contain only ASCII characters without white space",
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
_OF_THE_WORKER: Final = "the worker sets it itself"
_IN_THE_ADDRESS: Final = "the address itself contains it"
REFUSED: Final[Mapping[str, str]] = {
    "credential_provider": "the address contains the user and the password",
    "decode_responses": _BYTES,
    "encoding": _BYTES,
    "encoding_errors": _BYTES,
    "host": _IN_THE_ADDRESS,
    "lib_name": "it has no effect here",
    "lib_version": "it has no effect here",
    "path": _IN_THE_ADDRESS,
    "port": _IN_THE_ADDRESS,
    "protocol": "the worker supports only RESP2",
    "retry": _OF_THE_WORKER,
    "retry_on_error": _OF_THE_WORKER,
    "socket_keepalive_options": "the worker uses the system's options",
    "socket_read_size": _OF_THE_WORKER,
    "socket_type": "the address decides it",
    "ssl_ca_path": "use ssl_ca_certs with one file instead",
    "ssl_cert_reqs": "TLS is always verified",
    "ssl_check_hostname": "TLS is always verified",
    "ssl_ciphers": "the worker uses the ciphers of this machine's OpenSSL",
    "ssl_min_version": "TLS 1.2 or later is always used",
}
"""Options of redis-py 5.3 or later that REDIS_URL may not set, each with the reason."""
_NAME: Final = re.compile(r"[a-z_]{1,40}")


def check_redis_options(url: str) -> None:
    """Raise ValueError for the first option that is unknown or has an invalid value.

    The error contains no value, because it may be a secret.
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
        raise ValueError("the part after the host must be the number of a database, such as /0")
    if parts.scheme == "rediss":
        _check_tls(given)


def _why_not(name: str, known: Mapping[str, _Kind]) -> str:
    if name in REFUSED:
        return f"{name}: remove it; {REFUSED[name]}"
    if name in _WITH_TLS:
        return f"{name}: needs an address that begins with rediss://"
    shown = name if _NAME.fullmatch(name) else "an option"
    near = get_close_matches(name, known, n=1)
    advice = f" (did you mean {near[0]}?)" if near else f": remove it (known options: {', '.join(sorted(known))})"
    return f"{shown}: unknown option{advice}"


def _check_tls(given: Mapping[str, str]) -> None:
    """Raise ValueError if a certificate or a key cannot be loaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValueError("ssl_keyfile: needs ssl_certfile")
    loads: dict[str, Callable[[], None]] = {
        "ssl_ca_certs": lambda: context.load_verify_locations(cafile=given["ssl_ca_certs"]),
        "ssl_ca_data": lambda: context.load_verify_locations(cadata=given["ssl_ca_data"]),
        # With an empty password OpenSSL does not ask for one at the terminal.
        "ssl_certfile": lambda: context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), password=""),
    }
    for name, load in loads.items():
        if name not in given:
            continue
        try:
            load()
        except (OSError, ValueError, TypeError) as error:
            reason = f" ({error.strerror})" if isinstance(error, FileNotFoundError | PermissionError) else ""
            raise ValueError(f"{name}: cannot be loaded{reason}: it must be a PEM file") from None
