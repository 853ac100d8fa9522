"""The options of REDIS_URL, behind its question mark: those that redis-py takes and that do not change its answers.

redis-py hands an option that it does not know to a connection, which then fails with a traceback at its first use.
"""

import re
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_ALWAYS: Final = frozenset(
    {
        "client_name",
        "db",
        "health_check_interval",
        "max_connections",
        "password",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_timeout",
        "username",
    }
)
_WITH_TCP: Final = frozenset({"socket_keepalive"})
_WITH_TLS: Final = frozenset({"ssl_ca_certs", "ssl_ca_data", "ssl_certfile", "ssl_keyfile"})
OPTIONS: Final = {
    "redis": _ALWAYS | _WITH_TCP,
    "rediss": _ALWAYS | _WITH_TCP | _WITH_TLS,
    "unix": _ALWAYS,
}
_NAME: Final = re.compile(r"[a-z_]{1,40}")


def check_redis_options(url: str) -> None:
    """Raise ValueError for the first option that is not known. Its value, which may be a secret, is not named."""
    parts = urlsplit(url)
    known = OPTIONS[parts.scheme]
    for name, _ in parse_qsl(parts.query):
        if name in known:
            continue
        if name in _WITH_TLS:
            raise ValueError(f"{name}: needs rediss://")
        shown = name if _NAME.fullmatch(name) else "an option"
        near = get_close_matches(name, known, n=1)
        advice = f" (did you mean {near[0]}?)" if near else f": take it out; known are {', '.join(sorted(known))}"
        raise ValueError(f"{shown}: unknown option{advice}")
