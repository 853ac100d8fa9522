"""The name of a server from its INFO, and the oldest supported servers."""

import pytest

from worker.loops.watchdog import Info, server_of, why_unfit


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"redis_version": "7.0.15"}, "Redis 7.0.15"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "Valkey 9.1.2"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.9"}, "Valkey 7.2.9"),
        ({"redis_version": "7.2.4", "server_name": "other", "other_version": "1.0"}, "Redis 7.2.4"),
        ({}, "Redis of an unknown version"),
    ],
)
def test_server_is_named_by_its_own_name(info: Info, name: str) -> None:
    assert server_of(info) == name


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14"])
def test_server_that_is_too_old_is_named(version: str) -> None:
    assert why_unfit({"redis_version": version}) == {
        "version": f"Redis {version} is too old: use Redis 6.2 or later, or Valkey"
    }


@pytest.mark.parametrize("version", ["6.2.14", "7.0.15", "10.0.1"])
def test_server_that_is_new_enough_is_accepted(version: str) -> None:
    assert why_unfit({"redis_version": version}) == {}
