"""The commands about dead letters."""

import json
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from tests.e2e.cli.test_app import Terminal
from tests.support.commands import customer_sync
from tests.support.processes import ROOT, environment_with
from worker.status.advice import REASONS

DEAD = f"{PREFIX}:dead"
ANN, BOB, NOBODY = "1700000000000-0", "1700000001000-0", "1700000002000-0"


@pytest.fixture
async def terminal(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Terminal:
    """Return a terminal on a Redis with three dead letters: of ann, of bob, and of no customer."""
    for letter_id, customer, reason in ((ANN, "ann", "not_taken"), (BOB, "bob", "needs-review")):
        letter = {
            "entry": "5-0",
            "customer": customer,
            "reason": reason,
            "message": f"[red]why {customer}[/red]",
            "attempts": "3",
            "since": "1699999999.500",
            "sent.customer_id": customer,
            "sent.changes": f'{{"email":"{customer}@example.com"}}',
        }
        await redis.xadd(DEAD, dict(letter.items()), id=letter_id)
    refused = {
        b"entry": b"6-0",
        b"reason": b"invalid_event",
        b"message": b"why\x1b[31m" * 30,
        b"attempts": b"0",
        b"sent.\xff": b"\x00\x1b[31m",
    }
    await redis.xadd(DEAD, dict(refused.items()), id=NOBODY)
    return Terminal(redis_server.url, tmp_path)


async def ids_left(redis: Redis) -> list[str]:
    return [letter_id.decode() for letter_id, _ in await redis.xrange(DEAD)]


@contextmanager
def keyboard(answer: str) -> Iterator[str]:
    """Yield the path of a terminal on which an answer was typed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        yield os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


async def run_at_terminal(redis_url: str, answer: str, *words: str) -> tuple[int, str, str]:
    """Run a command at a terminal, give this answer to its prompt, and return its exit code, output and errors."""
    environment = environment_with({"REDIS_URL": redis_url})
    with keyboard(answer) as typed:
        return await customer_sync("dead", *words, folder=ROOT, environment=environment, keyboard=typed)


async def test_list_is_100_columns_wide_without_event_data(terminal: Terminal) -> None:
    code, output, _ = await terminal.run("dead", "list")
    lines = output.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["id", NOBODY, BOB, ANN, "dead"]
    assert lines[3].split() == [ANN, "2023-11-14", "22:13", "ann", "not_taken", "3", "[red]why", "ann[/red]"]
    assert max(map(len, lines)) <= 100
    assert lines[1].rstrip().endswith("…")
    assert lines[-1] == "dead letters: 3 (invalid_event 1, needs-review 1, not_taken 1)"
    assert "\x1b" not in output
    assert "example.com" not in output


async def test_list_never_truncates_a_named_reason(terminal: Terminal, redis: Redis) -> None:
    for reason in REASONS:
        await redis.xadd(DEAD, {"entry": "7-0", "customer": "ann", "reason": reason, "message": "why", "attempts": "1"})
    _, output, _ = await terminal.run("dead", "list")
    assert set(REASONS) == {line.split()[4] for line in output.splitlines()[1 : len(REASONS) + 1]}


async def test_source_of_an_event_is_shown_if_known(terminal: Terminal, redis: Redis) -> None:
    letter = {"entry": "7-0", "customer": "ann", "reason": "too_long", "message": "why", "attempts": "1"}
    sent = await redis.xadd(DEAD, dict((letter | {"sent.source": "shop"}).items()))
    _, output, _ = await terminal.run("dead", "list")
    heads, newest, *others = (line.split() for line in output.splitlines())
    assert (heads[5], newest[4:6], others[1][5]) == ("source", ["too_long", "shop"], "-")
    _, output, _ = await terminal.run("dead", "show", sent.decode())
    assert "source: shop\n" in output


async def test_list_shows_newest_up_to_limit_and_total(terminal: Terminal) -> None:
    _, output, _ = await terminal.run("dead", "list", "--limit", "1")
    assert [line.split()[0] for line in output.splitlines()] == ["id", NOBODY, "dead"]
    assert output.splitlines()[-1].startswith("dead letters: 3 ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--reason", "not_taken"], [ANN]),
        (["--customer", "bob"], [BOB]),
        (["--customer", "bob", "--reason", "not_taken"], []),
        ([], [NOBODY, BOB, ANN]),
        (["--limit", "2"], [NOBODY, BOB]),
    ],
)
async def test_list_as_json_is_one_object_per_line(terminal: Terminal, words: list[str], expected: list[str]) -> None:
    code, output, _ = await terminal.run("dead", "list", "--json", *words)
    letters = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [letter["id"] for letter in letters] == expected
    assert "example.com" not in output


async def test_empty_list_says_there_are_none(terminal: Terminal) -> None:
    assert (await terminal.run("dead", "list", "--customer", "carl"))[:2] == (0, "dead letters: 0\n")


async def test_show_prints_event_data_and_help_warns_of_it(terminal: Terminal) -> None:
    code, output, _ = await terminal.run("dead", "show", ANN)
    assert code == 0
    assert output == (
        f"id: {ANN}\ndead-lettered: 2023-11-14T22:13:20+00:00\ncustomer: ann\nreason: not_taken\n"
        "message: [red]why ann[/red]\ntries: 3\nfailing since: 2023-11-14T22:13:19+00:00\nentry: 5-0\n"
        'sent:\n  customer_id: ann\n  changes: {"email":"ann@example.com"}\n'
    )
    assert "may contain personal data" in (await terminal.run("dead", "show", "--help"))[1]


async def test_show_never_steers_the_terminal(terminal: Terminal) -> None:
    _, output, _ = await terminal.run("dead", "show", NOBODY)
    assert output.endswith("sent:\n  \\xff: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m\n")
    assert "\x1b" not in output


async def test_show_as_json_holds_everything(terminal: Terminal) -> None:
    code, output, _ = await terminal.run("dead", "show", ANN, "--json")
    assert code == 0
    assert json.loads(output) == {
        "id": ANN,
        "entry": "5-0",
        "source": None,
        "customer": "ann",
        "reason": "not_taken",
        "message": "[red]why ann[/red]",
        "attempts": 3,
        "since": 1699999999.5,
        "dead_lettered_at_ms": 1700000000000,
        "sent": {"customer_id": "ann", "changes": '{"email":"ann@example.com"}'},
    }
    _, output, _ = await terminal.run("dead", "show", NOBODY, "--json")
    assert json.loads(output)["sent"] == {"\\xff": "\x00\x1b[31m"}


async def test_show_of_unknown_id_exits_1_and_names_it(terminal: Terminal) -> None:
    assert await terminal.run("dead", "show", "1-1") == (1, "", "1-1: no dead letter has this id\n")


async def test_replay_names_new_event_and_warns_of_newer_changes(terminal: Terminal, redis: Redis) -> None:
    await redis.hset(f"{PREFIX}:customer:ann", "last_applied", "6-0")  # type: ignore[misc]  # redis-py types its two clients' answers as one
    code, output, errors = await terminal.run("dead", "replay", ANN)
    assert (code, output) == (0, f"{ANN}: replayed as replay-{ANN}\nreplayed: 1\n")
    assert errors == f"{ANN}: customer ann has newer changes, and this older change will overwrite them\n"
    assert await ids_left(redis) == [BOB, NOBODY]
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields[b"event_id"].decode() == f"replay-{ANN}"


async def test_replay_names_an_unknown_id_and_replays_the_others(terminal: Terminal, redis: Redis) -> None:
    code, output, errors = await terminal.run("dead", "replay", "1-1", ANN, "nothing", ANN, "--yes", "--json")
    assert code == 1
    assert errors == "1-1: no dead letter has this id\nnothing: no dead letter has this id\n"
    assert json.loads(output) == {"id": ANN, "event_id": f"replay-{ANN}", "customer": "ann", "outdated": False}
    assert await ids_left(redis) == [BOB, NOBODY]


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--reason", "not_taken"], [BOB, NOBODY]),
        (["--customer", "bob"], [ANN, NOBODY]),
        (["--customer", "carl"], [ANN, BOB, NOBODY]),
        (["--all"], []),
    ],
)
async def test_filters_select_dead_letters(
    terminal: Terminal, redis: Redis, command: str, words: list[str], left: list[str]
) -> None:
    code, output, errors = await terminal.run("dead", command, *words, "--yes", "--json")
    assert (code, errors) == (0, "")
    assert len(output.splitlines()) == 3 - len(left)
    assert await ids_left(redis) == left


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize(
    "words",
    [[], ["--yes"], [ANN, "--all"], [ANN, "--reason", "not_taken"], ["--all", "--customer", "ann"]],
    ids=["none", "yes alone", "id and all", "id and reason", "all and customer"],
)
async def test_ids_and_filters_cannot_be_combined(
    terminal: Terminal, redis: Redis, command: str, words: list[str]
) -> None:
    code, output, errors = await terminal.run("dead", command, *words)
    assert (code, output) == (64, "")
    assert errors == "Select dead letters in one way: ids, or --reason and/or --customer, or --all.\n"
    assert len(await ids_left(redis)) == 3


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["replay", "--all"], "Replay 3 dead letters?"),
        (["replay", ANN, BOB], "Replay 2 dead letters?"),
        (["drop", "--all"], "Drop 3 dead letters permanently?"),
        (["drop", ANN], "Drop 1 dead letter permanently?"),
    ],
)
async def test_yes_is_required_without_a_terminal(
    terminal: Terminal, redis: Redis, words: list[str], question: str
) -> None:
    code, output, errors = await terminal.run("dead", *words)
    assert (code, output, errors) == (64, "", f"{question} Not a terminal: pass --yes to confirm.\n")
    assert len(await ids_left(redis)) == 3


@pytest.mark.usefixtures("terminal")
async def test_terminal_prompt_decides(redis: Redis, redis_server: EmbeddedRedis) -> None:
    code, output, errors = await run_at_terminal(redis_server.url, "", "replay", "--all")
    assert (code, output) == (1, "")
    assert errors == "Replay 3 dead letters? [y/N] Not confirmed: nothing was done.\n"
    assert len(await ids_left(redis)) == 3
    code, output, errors = await run_at_terminal(redis_server.url, "y", "replay", "--customer", "ann", "--json")
    assert (code, errors) == (0, "")
    code, output, errors = await run_at_terminal(redis_server.url, "y", "drop", BOB, "--json")
    assert (code, errors) == (0, "Drop 1 dead letter permanently? [y/N] ")
    assert json.loads(output) == {"id": BOB}
    assert await ids_left(redis) == [NOBODY]


async def test_drop_deletes_and_names_an_unknown_id(terminal: Terminal, redis: Redis) -> None:
    code, output, errors = await terminal.run("dead", "drop", ANN, "1-1", "--yes")
    assert (code, output, errors) == (1, f"{ANN}: dropped\ndropped: 1\n", "1-1: no dead letter has this id\n")
    assert await ids_left(redis) == [BOB, NOBODY]
    assert await redis.exists(INBOX) == 0


async def test_command_reports_unreachable_redis(terminal: Terminal) -> None:
    code, _, errors = await terminal.run("dead", "list", REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 69
    assert errors.startswith("Redis does not answer")
