"""The command line as a newcomer meets it: help that fits its lines, and errors that are a sentence and a code."""

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
async def test_every_help_is_whole_and_needs_no_settings(terminal: Terminal, words: list[str]) -> None:
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
async def test_what_is_typed_wrong_is_told_with_one_code_and_does_nothing(
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
async def test_an_address_that_is_none_is_a_wrong_setting(terminal: Terminal, words: list[str], url: str) -> None:
    code, output, errors = await terminal.run(*words, REDIS_URL=url)
    assert (code, output, errors.count("\n")) == (78, "", 1)
    assert errors.startswith("REDIS_URL: ")
    assert "secret" not in errors


async def test_a_wrong_password_is_not_taken_for_a_redis_that_is_away(
    terminal: Terminal, redis_server: EmbeddedRedis
) -> None:
    url = redis_server.url.replace("redis://", "redis://user:wrong@")
    for words in (["status"], ["status", "ann"], ["dead", "list"]):
        code, _, errors = await terminal.run(*words, REDIS_URL=url)
        assert code == 78
        assert errors == "Redis refuses the user or the password (AuthenticationError). Correct REDIS_URL\n"


async def test_a_redis_that_refuses_a_command_answers(terminal: Terminal, redis: Redis) -> None:
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", "1")
    try:
        code, _, errors = await terminal.run("send", "ann")
    finally:
        await redis.config_set("maxmemory", before)
    assert code == 69
    assert errors.startswith("Redis refuses writes: it has no memory left (OOM). ")


async def test_an_inbox_of_the_wrong_type_is_told_with_what_to_do(terminal: Terminal, redis: Redis) -> None:
    await redis.set(INBOX, "no stream")
    code, _, errors = await terminal.run("send", "ann")
    assert code == 69
    assert errors.startswith("One of our keys has the wrong type (WRONGTYPE). Run customer-sync doctor, which ")


async def test_the_help_of_send_lists_its_exit_codes(terminal: Terminal) -> None:
    _, output, _ = await terminal.run("send", "--help", REDIS_URL="")
    codes = {line.split()[0] for line in output[output.index("Exit codes") :].splitlines()[1:] if line[:5].strip()}
    assert {"0", "1", "2", "64", "69", "78"} <= codes


async def test_waiting_where_no_worker_runs_says_what_to_look_at(terminal: Terminal) -> None:
    code, output, errors = await terminal.run("send", "ann", "--event-id", "e1", "--wait", "0.1")
    assert (code, output) == (1, "event: e1\n")
    assert errors.startswith("no worker has taken the event after 0.1 s. Check that a worker runs.")
    assert errors.endswith("customer-sync status --event e1\n")
