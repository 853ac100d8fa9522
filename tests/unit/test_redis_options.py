"""The options of REDIS_URL: those that work are taken, any other is named without its value."""

import pytest
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection

from config.redis_options import OPTIONS, check_redis_options

VALUES = {"ssl_ca_data": "x", "client_name": "me", "username": "me", "password": "word"}
NUMBER = "5"
URLS = {"redis": "redis://127.0.0.1", "rediss": "rediss://127.0.0.1", "unix": "unix:///run/redis.sock"}
KINDS = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}


@pytest.mark.parametrize(("scheme", "option"), [(scheme, each) for scheme in OPTIONS for each in OPTIONS[scheme]])
def test_a_known_option_makes_a_connection(scheme: str, option: str) -> None:
    url = f"{URLS[scheme]}?{option}={VALUES.get(option, NUMBER)}"
    check_redis_options(url)
    pool = ConnectionPool.from_url(url)
    assert isinstance(KINDS[scheme](**pool.connection_kwargs), pool.connection_class)


@pytest.mark.parametrize(
    "option", ["foo", "path", "retry", "encoding", "decode_responses", "protocol", "connection_class", "timeout", "ssl"]
)
@pytest.mark.parametrize("scheme", URLS)
def test_any_other_option_is_refused_by_its_name(scheme: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option}: unknown option") as refusal:
        check_redis_options(f"{URLS[scheme]}?{option}=secret")
    assert "secret" not in str(refusal.value)


def test_what_looks_like_no_option_is_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"^an option: unknown option"):
        check_redis_options("redis://127.0.0.1?PassWord42=x")
