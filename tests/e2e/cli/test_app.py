"""The commands `send` and `status` of the command line."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, World
from tests.support.commands import customer_sync
from tests.support.processes import environment_with


class Terminal:
    """Runs `customer-sync` in an empty folder and an environment that only sets Redis."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.environment = environment_with({"REDIS_URL": redis_url})
        self._folder = folder

    async def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run `customer-sync` with these words; return its exit code, output and errors."""
        return await customer_sync(*words, folder=self._folder, environment=self.environment | environment)


@pytest.fixture
async def terminal(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Terminal:
    assert await redis.dbsize() == 0
    return Terminal(redis_server.url, tmp_path)


async def test_send_adds_event_to_inbox_and_prints_its_id(terminal: Terminal, redis: Redis) -> None:
    code, output, _ = await terminal.run("send", "user_42", '{"email": "ann@example.com"}', "--event-id", "e1")
    assert (code, output) == (0, "event: e1\n")
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields == {
        b"customer_id": b"user_42",
        b"type": b"customer.updated",
        b"changes": b'{"email":"ann@example.com"}',
        b"event_id": b"e1",
    }


async def test_send_carries_the_trace_context(terminal: Terminal, redis: Redis) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert (await terminal.run("send", "user_42", "--traceparent", traceparent))[0] == 0
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields[b"traceparent"].decode() == traceparent


async def test_send_without_changes_requests_a_reconcile(terminal: Terminal, redis: Redis) -> None:
    assert (await terminal.run("send", "user_42"))[0] == 0
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields == {b"customer_id": b"user_42", b"type": b"customer.reconcile"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["user_42", '{"emial": "ann@example.com"}'], "changes.emial: unknown field"),
        (["user_42", '{"email": '], "changes: is not valid JSON"),
        (["user 42", '{"name": "Ann"}'], "customer_id: "),
        (["user_42", "[]"], "changes: "),
        (
            ["user_42", '{"metadata": {"id": 1' + "0" * 5000 + "}}"],
            "changes.metadata.id: Autumn cannot store this number",
        ),
        (["user_42", '{"metadata": ' + "[" * 100_000], "changes: is nested too deeply"),
        (["user_42", '{"metadata": null}'], "changes.metadata: cannot be null"),
        (["user_42", '{"stripe_id": "acct_1032D82eZvKYlo2C"}'], "changes.stripe_id: names a Stripe account"),
    ],
)
async def test_send_refuses_a_wrong_event_and_names_the_field(
    terminal: Terminal, redis: Redis, words: list[str], says: str
) -> None:
    code, _, errors = await terminal.run("send", *words)
    assert code == 64
    assert errors.startswith(says)
    assert "ann@example.com" not in errors
    assert await redis.xlen(INBOX) == 0


async def test_status_shows_state_of_customer_and_event(terminal: Terminal, world: World) -> None:
    world.autumn.seed("ann")
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}', "event_id": "e1"})
    await world.mailbox.move()
    assert (await terminal.run("status", "ann"))[1].startswith("ann: waits for its next sync\nwaiting: 1 event, ")
    assert "status: waiting" in (await terminal.run("status", "--event", "e1"))[1]
    await world.run()
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    shown = (await terminal.run("status", "ann"))[1]
    assert shown.startswith(f"ann: in sync\nlink: linked\nStripe customer: {stripe_id}\n")
    code, output, _ = await terminal.run("status", "--event", "e1")
    assert code == 0
    assert output.startswith("status: applied\ncustomer: ann\nentry: ")
    assert "  applied       1  events" in (await terminal.run("status"))[1]


async def test_status_names_an_unknown_customer_or_event(terminal: Terminal) -> None:
    code, _, errors = await terminal.run("status", "--event", "nothing")
    assert code == 1
    assert "not known" in errors
    code, output, _ = await terminal.run("status", "nobody")
    assert code == 1
    assert output.startswith("nobody: not known")


async def test_dead_lettered_event_has_its_reason(terminal: Terminal, world: World) -> None:
    await world.redis.xadd(INBOX, {"customer_id": "nobody", "changes": '{"name": "x"}', "event_id": "e1"})
    await world.run()
    assert "status: dead (customer_not_found)" in (await terminal.run("status", "--event", "e1"))[1]
    assert await world.redis.xlen(f"{PREFIX}:dead") == 1


async def test_send_check_reports_the_outcome_to_a_script(terminal: Terminal, world: World) -> None:
    """Run `send --wait --check` beside a world that syncs the sent event."""
    world.autumn.seed("ann")

    async def sent(customer: str, *more: str) -> tuple[int, str, str]:
        running = asyncio.create_task(terminal.run("send", customer, '{"name": "Ann"}', "--wait", "20", *more))
        while not running.done():
            await world.run()
            await asyncio.sleep(0.02)
        return running.result()

    assert (await sent("ann", "--check"))[0] == 0
    code, output, _ = await sent("nobody", "--check")
    assert (code, "status: dead (customer_not_found)" in output) == (2, True)
    assert (await sent("nobody"))[0] == 0


async def test_send_check_fails_while_the_event_still_waits(terminal: Terminal, world: World) -> None:
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}', "event_id": "e1"})
    await world.mailbox.move()
    words = ["send", "ann", '{"name": "Ann"}', "--event-id", "e1", "--wait", "0.1"]
    code, output, _ = await terminal.run(*words, "--check")
    assert (code, "status: waiting" in output) == (1, True)
    assert (await terminal.run(*words))[0] == 0
    assert (await terminal.run("send", "ann", "--wait", "0.1", "--check"))[0] == 1


async def test_every_command_reports_unreachable_redis(terminal: Terminal) -> None:
    code, _, errors = await terminal.run("status", REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 69
    assert errors.startswith("Redis does not answer")
    code, _, errors = await terminal.run("status", REDIS_URL="")
    assert code == 78
    assert errors.startswith("REDIS_URL")
