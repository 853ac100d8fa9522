"""The options of `python -m sandbox`, with which a container runs it beside a Redis of its own."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest
import yaml

from jobs.autumn.versions import OF_THE_SDK, RECORDED
from sandbox.everything import simulators
from tests.support.processes import free_port

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
GIVEN_REDIS = "redis://redis.example:6379/1"


@contextmanager
def running(*options: str, exports: int = 5) -> Iterator[tuple[int, dict[str, str]]]:
    """Run the command without a Redis server. Yield its process id and the `exports` variables that it prints."""
    environment = {**os.environ, "REDIS_SERVER": os.devnull}
    command = [sys.executable, "-W", "error", "-m", "sandbox", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(exports)]
            yield process.pid, dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        finally:
            process.terminate()
        assert process.wait(10) == 0


def listening(process_id: int) -> set[tuple[str, int]]:
    """Return the address and port of each socket on which the process accepts connections."""
    connections = psutil.Process(process_id).net_connections("inet")
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


def test_simulators_use_given_redis_and_ports() -> None:
    autumn, stripe = free_port(), free_port()
    options = ("--redis-url", GIVEN_REDIS, "--autumn-port", str(autumn), "--stripe-port", str(stripe))
    with running(*options) as (process_id, exports):
        assert exports["REDIS_URL"] == GIVEN_REDIS
        assert exports["AUTUMN_API_URL"] == f"http://127.0.0.1:{autumn}"
        assert exports["STRIPE_API_BASE"] == f"http://127.0.0.1:{stripe}"
        assert listening(process_id) == {("127.0.0.1", autumn), ("127.0.0.1", stripe)}
        assert psutil.Process(process_id).children() == []


def test_all_interfaces_are_an_option_and_addresses_stay_local() -> None:
    with running("--redis-url", GIVEN_REDIS, "--all-interfaces") as (process_id, exports):
        assert {ip for ip, _ in listening(process_id)} == {"0.0.0.0"}  # noqa: S104 - what the option asks for
        for name in ("AUTUMN_API_URL", "STRIPE_API_BASE"):
            assert exports[name].startswith("http://127.0.0.1:")


def test_compose_gives_workers_the_environment_that_its_sandbox_prints() -> None:
    options = COMPOSE["sandbox"]["command"][3:]
    environment = dict(COMPOSE["sandbox-worker"]["environment"])
    # On this machine the ports of the file may be in use.
    for name in ("autumn", "stripe"):
        (written,) = [option.partition("=")[2] for option in options if option.startswith(f"--{name}-port=")]
        port = str(free_port())
        options = [option.replace(written, port) for option in options]
        environment = {key: value.replace(f":{written}", f":{port}") for key, value in environment.items()}
    with running(*options) as (_, exports):
        assert exports.items() <= environment.items()


def update_status(exports: dict[str, str], version: str) -> int:
    """Create a customer of the running Autumn at a version of its API, and return the status of the answer."""
    headers = {"Authorization": f"Bearer {exports['AUTUMN_SECRET_KEY']}", "x-api-version": version}
    body = json.dumps({"customer_id": "ann"}).encode()
    url = f"{exports['AUTUMN_API_URL']}/v1/customers.get_or_create"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:  # noqa: S310 - our own server
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_newest_version_of_autumn_is_an_option() -> None:
    with running("--redis-url", GIVEN_REDIS) as (_, exports):
        assert [update_status(exports, version) for version in ("2.3.0", "2.5.0", "9.9")] == [200, 400, 400]
    with running("--redis-url", GIVEN_REDIS, "--autumn-newest-version", "2.5", exports=6) as (_, exports):
        assert exports["AUTUMN_API_VERSION"] == "2.5.0"
        assert [update_status(exports, version) for version in ("2.3.0", "2.5.0", "9.9")] == [200, 200, 400]


def test_newest_version_is_one_that_the_simulator_has() -> None:
    command = [sys.executable, "-m", "sandbox", "--autumn-newest-version", "9.9"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    # The worker knows fields of these.
    for version in (RECORDED, OF_THE_SDK):
        assert f"{version.major}.{version.minor}" in ended.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_invalid_port_is_refused(port: str) -> None:
    command = [sys.executable, "-m", "sandbox", "--stripe-port", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "argument --stripe-port" in ended.stderr


async def test_simulators_alone_name_no_redis() -> None:
    async with simulators() as running_services:
        assert set(running_services.environment) == {
            "AUTUMN_SECRET_KEY",
            "AUTUMN_API_URL",
            "STRIPE_API_KEY",
            "STRIPE_API_BASE",
        }
