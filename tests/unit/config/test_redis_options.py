"""Options of REDIS_URL: known ones are accepted, any other is named without its value."""

import inspect
from pathlib import Path

import pytest
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)

from config.loading import SettingsError, load_settings
from config.redis_options import OPTIONS, REFUSED, check_redis_options
from tests.support.tls import self_signed

VALUES = {
    "client_name": "me",
    "max_connections": "20",
    "password": "word",
    "retry_on_timeout": "yes",
    "socket_keepalive": "True",
    "socket_timeout": "2.5",
    "username": "me",
}
NUMBER = "5"
URLS = {"redis": "redis://127.0.0.1", "rediss": "rediss://127.0.0.1", "unix": "unix:///run/redis.sock"}
KINDS = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
INSIDE = {"self", "kwargs", "connection_class", "event_dispatcher", "parser_class", "encoder_class"}
"""Parameters of redis-py that take objects, like `redis_connect_func`."""


@pytest.mark.parametrize(
    ("scheme", "option"),
    [(scheme, each) for scheme in OPTIONS for each in OPTIONS[scheme] if not each.startswith("ssl_")],
)
def test_known_option_makes_a_connection(scheme: str, option: str) -> None:
    url = f"{URLS[scheme]}?{option}={VALUES.get(option, NUMBER)}"
    check_redis_options(url)
    pool = ConnectionPool.from_url(url)
    assert isinstance(KINDS[scheme](**pool.connection_kwargs), pool.connection_class)


def test_each_redis_py_option_is_accepted_or_refused_with_reason() -> None:
    of_redis_py = {
        name
        for kind in (AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection, ConnectionPool)
        for name in inspect.signature(kind.__init__).parameters
    }
    known = set().union(*OPTIONS.values()) | set(REFUSED)
    assert of_redis_py - known - INSIDE - {"redis_connect_func", "connection_kwargs"} == set()
    assert not set(REFUSED) & set().union(*OPTIONS.values())


@pytest.mark.parametrize("option", ["foo", "connection_class", "timeout", "ssl"])
@pytest.mark.parametrize("scheme", URLS)
def test_unknown_option_is_refused_by_its_name(scheme: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option}: unknown option") as refusal:
        check_redis_options(f"{URLS[scheme]}?{option}=secret")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("option", REFUSED)
@pytest.mark.parametrize("scheme", URLS)
def test_forbidden_option_is_refused_with_its_reason(scheme: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option}: remove it; {REFUSED[option]}$"):
        check_redis_options(f"{URLS[scheme]}?{option}=secret")


def test_text_unlike_an_option_is_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"^an option: unknown option"):
        check_redis_options("redis://127.0.0.1?PassWord42=x")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("max_connections=0", "max_connections: must be a whole number, 10 or more"),
        ("max_connections=9", "max_connections: must be a whole number, 10 or more"),
        ("max_connections=-4711", "max_connections: must be a whole number, 10 or more"),
        ("max_connections=many", "max_connections: must be a whole number, 10 or more"),
        ("max_connections=99999999999999999999", "max_connections: must be a whole number, 10 or more"),
        ("health_check_interval=abc", "health_check_interval: must be a whole number, 0 or more"),
        ("health_check_interval=-4711", "health_check_interval: must be a whole number, 0 or more"),
        ("db=4711x", "db: must be a whole number, 0 or more"),
        ("socket_timeout=-4711", "socket_timeout: must be a number of seconds above 0"),
        ("socket_timeout=0", "socket_timeout: must be a number of seconds above 0"),
        ("socket_timeout=nan", "socket_timeout: must be a number of seconds above 0"),
        ("socket_connect_timeout=inf", "socket_connect_timeout: must be a number of seconds above 0"),
        ("retry_on_timeout=off", "retry_on_timeout: must be true or false"),
        ("socket_keepalive=perhaps", "socket_keepalive: must be true or false"),
        ("client_name=our%2520worker", "client_name: may contain only ASCII characters without white space"),
        ("ssl_ca_certs=/nowhere/4711.pem", "ssl_ca_certs: cannot be loaded (No such file or directory): it must be"),
        ("ssl_ca_data=4711", "ssl_ca_data: cannot be loaded: it must be a PEM file"),
        ("ssl_certfile=/nowhere/4711.pem", "ssl_certfile: cannot be loaded (No such file or directory): it must be"),
        ("ssl_keyfile=/nowhere/4711.pem", "ssl_keyfile: needs ssl_certfile"),
    ],
)
def test_unusable_value_is_reported_without_the_value(query: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(
            REDIS_URL=f"rediss://:word@localhost:6379/0?{query}",
            AUTUMN_SECRET_KEY="am_sk_test_x",
            STRIPE_API_KEY="sk_test_x",
        )
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"REDIS_URL: {wanted}")
    assert "4711" not in line


@pytest.mark.parametrize("path", ["/abc", "/-1", "/0x1"])
def test_database_that_is_not_a_number_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="the part after the host must be the number of a database"):
        check_redis_options(f"redis://127.0.0.1{path}")


@pytest.mark.parametrize("path", ["", "/", "/0", "/15"])
def test_database_may_be_left_out(path: str) -> None:
    check_redis_options(f"redis://127.0.0.1{path}")


def test_certificate_that_can_be_loaded_is_accepted(tmp_path: Path) -> None:
    authority = self_signed(tmp_path, "authority", host="authority")
    check_redis_options(f"rediss://127.0.0.1/0?ssl_ca_certs={authority.file}")
    check_redis_options(f"rediss://127.0.0.1/0?ssl_certfile={authority.file}&ssl_keyfile={authority.key}")
