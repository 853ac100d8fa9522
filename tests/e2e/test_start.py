"""Starts with settings or a Redis that are almost right, and exits when they are wrong."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.everything import Sandbox, sandbox
from tests.conftest import cluster_node
from tests.support.processes import command_of, ended, worker

CLI = ["customer-sync"]
ALL_THAT_READ_KEYS = [
    command_of("worker"),
    command_of("scanner"),
    [*CLI, "scan"],
    [*CLI, "status", "ann", "--live"],
    [*CLI, "status"],
]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def test_settings_from_files_that_end_in_a_newline_work_everywhere(box: Sandbox) -> None:
    from_files = {name: f"{value}\n" for name, value in box.environment.items()}
    from_files |= {"OPERATOR_PASSWORD": "correct horse battery\n", "PORT": "", "RECEIPTS": ""}
    async with worker(from_files):
        code, output = await ended(from_files, *CLI, "send", "ann", '{"name": "Ann"}', "--wait", "100")
        assert (code, "status: applied" in output) == (0, True)
    for words in (["doctor"], ["scan"], ["status", "ann", "--live"]):
        assert (await ended(from_files, *CLI, *words))[0] == 0, words


@pytest.mark.parametrize("words", ALL_THAT_READ_KEYS, ids=lambda words: " ".join(words[-2:]))
async def test_key_with_an_ellipsis_is_named_and_not_shown(box: Sandbox, words: Sequence[str]) -> None:
    code, output = await ended(box.environment | {"STRIPE_API_KEY": "sk_test_cut\N{HORIZONTAL ELLIPSIS}short"}, *words)
    assert code == 78
    assert "STRIPE_API_KEY: contains white space or a character that is not ASCII" in output
    assert not any(word in output for word in ("cut\N{HORIZONTAL ELLIPSIS}", "short", "Traceback"))


async def test_doctor_names_an_invalid_key(box: Sandbox) -> None:
    code, output = await ended(box.environment | {"AUTUMN_SECRET_KEY": "am_sk_test_in two lines"}, *CLI, "doctor")
    assert code == 1
    assert output.startswith("wrong    settings           AUTUMN_SECRET_KEY: contains white space")
    assert "two lines" not in output


async def redis_user(box: Sandbox, *rule: str) -> str:
    """Create a Redis user with this rule, and return its URL."""
    async with Redis.from_url(box.redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">a-password", *rule)
    return box.redis.url.replace("redis://", "redis://app:a-password@")


async def test_wrong_redis_password_exits_78_and_names_the_variable(box: Sandbox) -> None:
    url = (await redis_user(box, "~*", "+@all")).replace("a-password", "wrong-password")
    for words in (command_of("worker"), command_of("scanner"), [*CLI, "scan"], [*CLI, "send", "ann"]):
        code, output = await ended(box.environment | {"REDIS_URL": url}, *words)
        assert code == 78, output
        assert output.endswith("Redis refuses the user or the password (AuthenticationError). Correct REDIS_URL\n")
        assert not any(word in output for word in ("Traceback", "wrong-password"))


async def test_missing_permissions_exit_78_and_name_the_rule(box: Sandbox) -> None:
    url = await redis_user(box, "~*", "+@all", "-hset", "-xadd")
    code, output = await ended(box.environment | {"REDIS_URL": url}, *command_of("worker"))
    assert code == 78
    assert "The user of REDIS_URL lacks rights: +hset +xadd. Add them with ACL SETUSER NAME +hset +xadd" in output
    code, output = await ended(box.environment | {"REDIS_URL": url}, *CLI, "send", "ann")
    assert (code, "Redis refuses a command (+xadd) to the user of REDIS_URL" in output) == (78, True)


@pytest.mark.parametrize("option", ["max_connections=0", "socket_timeout=-1", "health_check_interval=abc"])
async def test_nonsensical_redis_option_exits_78(box: Sandbox, option: str) -> None:
    for words in (command_of("worker"), command_of("scanner"), [*CLI, "status"]):
        code, output = await ended(box.environment | {"REDIS_URL": f"{box.redis.url}?{option}"}, *words)
        assert code == 78, output
        assert f"REDIS_URL: {option.partition('=')[0]}: must be a" in output
        assert "Traceback" not in output


async def test_cluster_node_ends_the_worker_with_78(box: Sandbox, tmp_path: Path) -> None:
    with cluster_node(tmp_path) as node:
        code, output = await ended(box.environment | {"REDIS_URL": node.url}, *command_of("worker"))
    assert code == 78
    assert "Redis is a cluster" in output
    assert "Traceback" not in output


async def test_worker_without_info_permission_works_and_names_unknowns(box: Sandbox) -> None:
    url = await redis_user(box, "~*", "+@all", "-info", "-dbsize")
    async with worker(box.environment | {"REDIS_URL": url}) as running:
        code, output = await ended(
            box.environment | {"REDIS_URL": url}, *CLI, "send", "ann", '{"name": "Ann"}', "--wait", "100"
        )
        assert (code, "status: applied" in output) == (0, True)
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
    assert any("redis_risk_found" in line and "may not call INFO" in line for line in running.log)
    assert not any("Traceback" in line for line in running.log)


async def test_worker_waiting_for_redis_at_start_can_be_stopped(box: Sandbox) -> None:
    box.redis.stop()
    async with worker(box.environment, ready="redis_awaited") as running:
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 40) == 0
    async with worker(box.environment, ready="redis_awaited") as running:
        box.redis.start()
        await running.says('"process_started"')
