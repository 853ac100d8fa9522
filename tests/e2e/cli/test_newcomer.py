"""Help texts that fit the screen, and errors that are one sentence and an exit code."""

import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX
from tests.e2e.cli.test_app import Terminal

HELP = [
    [],
    ["send"],
    ["status"],
    ["doctor"],
    ["forget"],
    ["dead"],
    *(["dead", name] for name in ("list", "show", "replay", "drop")),
    ["scan"],
    ["scan", "history"],
]


@pytest.fixture
async def terminal(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Terminal:
    assert await redis.dbsize() == 0
    return Terminal(redis_server.url, tmp_path)


@pytest.mark.parametrize("words", HELP, ids=" ".join)
async def test_every_help_is_complete_and_needs_no_settings(terminal: Terminal, words: list[str]) -> None:
    code, output, errors = await terminal.run(*words, "--help", REDIS_URL="")
    assert (code, errors) == (0, "")
    assert "..." not in output.replace("[ARGS]...", "").replace("[ID]...", ""), "a summary is cut"
    assert re.search(r"^  --\S+ <", output, re.MULTILINE) is None, "an option does not say what it takes"
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["status", "--bad"], "No such option: --bad"),
        (["send"], "Missing argument 'CUSTOMER'"),
        (["send", "ann", "--wait", "-1"], "--wait"),
        (["send", "ann", "--check"], "--check: needs --wait SECONDS"),
        (["send", "ann b"], "customer_id: may contain only letters, digits, _, : and -"),
        (["send", "ann", "[]"], "changes: must be a JSON object"),
        (["dead", "lst"], "Did you mean 'list'?"),
        (["dead", "list", "--limit", "0"], "--limit"),
        (["dead", "replay"], "Select dead letters in one way: "),
        (["scan", "--only", "x"], "'x' is unknown"),
        (["scan", "--force"], "--force: needs --apply"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_usage_errors_share_one_exit_code_and_do_nothing(
    terminal: Terminal, redis: Redis, words: list[str], says: str
) -> None:
    code, output, errors = await terminal.run(*words)
    assert (code, output) == (64, "")
    assert says in errors
    assert await redis.xlen(INBOX) == 0


@pytest.mark.parametrize("words", [["status"], ["dead", "list"], ["send", "ann"], ["forget", "ann", "--yes"]])
@pytest.mark.parametrize(
    "url", ["redis://h:secretport", "redis://[::1", "redis://h:99999", "redis://h?socket_timeout=secret", "h:6379"]
)
async def test_invalid_url_is_a_wrong_setting(terminal: Terminal, words: list[str], url: str) -> None:
    code, output, errors = await terminal.run(*words, REDIS_URL=url)
    assert (code, output, errors.count("\n")) == (78, "", 1)
    assert errors.startswith("REDIS_URL: ")
    assert "secret" not in errors


async def test_wrong_password_is_not_reported_as_unreachable_redis(
    terminal: Terminal, redis_server: EmbeddedRedis
) -> None:
    url = redis_server.url.replace("redis://", "redis://user:wrong@")
    for words in (["status"], ["status", "ann"], ["dead", "list"]):
        code, _, errors = await terminal.run(*words, REDIS_URL=url)
        assert code == 78
        assert errors == "Redis refuses the user or the password (AuthenticationError). Correct REDIS_URL\n"


async def test_redis_that_refuses_a_command_is_reachable(terminal: Terminal, redis: Redis) -> None:
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", "1")
    try:
        code, _, errors = await terminal.run("send", "ann")
    finally:
        await redis.config_set("maxmemory", before)
    assert code == 69
    assert errors.startswith("Redis refuses writes: it has no memory left (OOM). ")


async def test_inbox_of_wrong_type_is_reported_with_remedy(terminal: Terminal, redis: Redis) -> None:
    await redis.set(INBOX, "no stream")
    code, _, errors = await terminal.run("send", "ann")
    assert code == 69
    assert errors.startswith("One of our keys has the wrong type (WRONGTYPE). Run customer-sync doctor, which ")


async def test_help_of_send_lists_its_exit_codes(terminal: Terminal) -> None:
    _, output, _ = await terminal.run("send", "--help", REDIS_URL="")
    codes = {line.split()[0] for line in output[output.index("Exit codes") :].splitlines()[1:] if line[:5].strip()}
    assert {"0", "1", "2", "64", "69", "78"} <= codes


async def test_waiting_without_a_worker_says_what_to_check(terminal: Terminal) -> None:
    code, output, errors = await terminal.run("send", "ann", "--event-id", "e1", "--wait", "0.1")
    assert (code, output) == (1, "event: e1\n")
    assert errors.startswith("no worker has taken the event after 0.1 s. Check that a worker runs.")
    assert errors.endswith("customer-sync status --event e1\n")
