"""The command line with a closed output or a wrong REDIS_URL ends with an error message, never with a traceback."""

import asyncio
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX
from tests.e2e.cli.test_app import Terminal
from tests.support.processes import command_of, ended, environment_with

ROOT = Path(__file__).parents[3]
EX_IOERR = 74
NEEDS_DEV_FULL = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no /dev/full, a device that is always full (Linux has it)"
)


async def run_in_shell(line: str, redis_url: str, folder: Path) -> tuple[int, str]:
    """Run a shell line that contains `customer-sync`; return its exit code and standard error."""
    environment = environment_with({"REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)})
    process = await asyncio.create_subprocess_shell(
        line.replace("customer-sync", f"{sys.executable} -m worker"),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


@pytest.mark.parametrize(
    "line",
    [
        "status >&-",
        "doctor >&-",
        "--help >&-",
        pytest.param("status nobody >/dev/full", marks=NEEDS_DEV_FULL),
        pytest.param("status --json >/dev/full", marks=NEEDS_DEV_FULL),
    ],
)
async def test_closed_output_ends_with_an_error_message(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, line: str
) -> None:
    assert await redis.dbsize() == 0
    code, errors = await run_in_shell(f"customer-sync {line}", redis_server.url, tmp_path)
    (sentence,) = [line for line in errors.splitlines() if line.startswith("standard output ")]
    assert code == EX_IOERR
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == sentence


async def test_nothing_is_sent_if_output_is_closed(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    code, _ = await run_in_shell("customer-sync send ann >&-", redis_server.url, tmp_path)
    assert code == EX_IOERR
    assert await redis.xlen(INBOX) == 0


async def test_reader_that_closes_the_pipe_is_no_error(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    assert await redis.dbsize() == 0
    _, errors = await run_in_shell("customer-sync status | true", redis_server.url, tmp_path)
    assert errors == ""


async def test_closed_errors_change_no_exit_code(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    assert await redis.dbsize() == 0
    code, _ = await run_in_shell("customer-sync status --event no-such 2>&-", redis_server.url, tmp_path)
    assert code == 1


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("decode_responses=true", "decode_responses: remove it; the worker reads bytes"),
        ("ssl_ca_certs=/x", "ssl_ca_certs: needs an address that begins with rediss://"),
        ("socket_timeuot=5&foo=secret", "socket_timeuot: unknown option (did you mean socket_timeout?)"),
    ],
)
async def test_unknown_option_of_the_url_is_named(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, option: str, says: str
) -> None:
    assert await redis.dbsize() == 0
    terminal = Terminal(f"{redis_server.url}?{option}", tmp_path)
    code, output, errors = await terminal.run("status")
    assert (code, output) == (78, "")
    assert errors.startswith(f"REDIS_URL: {says}")
    assert "secret" not in errors
    code, output, _ = await terminal.run("doctor")
    assert (code, f"REDIS_URL: {says}" in output) == (1, True)


@pytest.mark.parametrize("option", ["", "socket_timeout=5", "db=0&client_name=me&health_check_interval=15"])
async def test_options_that_are_known_work(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, option: str
) -> None:
    assert await redis.dbsize() == 0
    code, _, errors = await Terminal(f"{redis_server.url}?{option}", tmp_path).run("status")
    assert (code, errors) == (0, "")


async def test_worker_ends_with_78_for_an_unknown_option(redis_server: EmbeddedRedis) -> None:
    keys = {"AUTUMN_SECRET_KEY": "am_sk_test_x", "STRIPE_API_KEY": "sk_test_x"}
    code, output = await ended({"REDIS_URL": f"{redis_server.url}?foo=bar", **keys}, *command_of("worker"))
    assert code == 78
    assert "REDIS_URL: foo: unknown option" in output
    assert "Traceback" not in output
