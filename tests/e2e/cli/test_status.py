"""`customer-sync status`, as a person and as a machine ask it."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from sandbox.everything import Sandbox, sandbox
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from tests.conftest import PREFIX, World
from tests.e2e.cli.test_app import Terminal
from tests.support.steps import change, seed

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@pytest.fixture
async def terminal(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Terminal:
    assert await redis.dbsize() == 0
    return Terminal(redis_server.url, tmp_path)


@dataclass(frozen=True)
class Both:
    """Both services that a terminal is told of by its environment, and nobody who works."""

    box: Sandbox
    terminal: Terminal
    environment: dict[str, str]

    async def live(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run `status … --live`, and see that nothing was written, here or in a service, and only rates in Redis."""
        async with Redis.from_url(self.box.redis.url) as redis:
            before = set(await redis.keys())
            ended = await self.terminal.run("status", *words, "--live", **{**self.environment, **environment})
            new = {key.decode() for key in set(await redis.keys()) - before}
        assert all(key.startswith(f"{PREFIX}:limit:") for key in new), new
        assert self.box.stripe.writes == []
        assert {call.path for call in self.box.autumn.calls} <= {"/v1/customers.get"}
        return ended


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    async with sandbox(aof=False) as box:
        yield Both(box, Terminal(box.redis.url, tmp_path), dict(box.environment))


async def answer(terminal: Terminal, *words: str) -> tuple[int, Any]:
    """The exit code and what is answered as JSON, on one line."""
    code, output, errors = await terminal.run("status", *words, "--json")
    assert errors == ""
    assert output.count("\n") == 1
    return code, json.loads(output)


async def test_what_was_found_and_done_is_told_in_order(terminal: Terminal, world: World) -> None:
    world.autumn.seed("ann", name="Ann", email="ann@example.com")
    await change(world, "ann", send_email_receipts=True)
    await world.run()
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    code, output, errors = await terminal.run("status", "ann")
    assert (code, errors) == (0, "")
    assert TIME.sub("TIME", output).splitlines() == [
        "ann: in sync",
        "link: linked",
        f"Stripe customer: {stripe_id}",
        "last syncs:",
        "  TIME  1 event: found not linked, left linked",
        f"    TIME  created the Stripe customer {stripe_id}",
        f"    TIME  wrote name, email to {stripe_id}",
        f"    TIME  wrote send_email_receipts in Autumn and linked it to {stripe_id}",
        f"    TIME  wrote metadata.autumn_send_email_receipts to {stripe_id}",
    ]


async def test_what_is_wrong_is_told_with_what_can_be_done(terminal: Terminal, world: World) -> None:
    seed(world, "bob")
    world.autumn.seed("ann", stripe_id=world.autumn.customers["bob"]["stripe_id"])
    await change(world, "ann", name="Ann")
    await world.run()
    code, output, _ = await terminal.run("status", "ann")
    assert code == 0
    assert output.startswith("ann: needs a person: its Stripe customer carries the id of another Autumn customer\n")
    assert "  foreign: ann is linked to " in output
    assert "    This is urgent: each change of one customer may overwrite" in output
    assert "    customer-sync dead replay --customer ann --reason needs-review\n" in output
    code, told = await answer(terminal, "ann")
    assert (code, told["verdict"], told["link"]) == (0, "needs-a-person", "foreign")
    assert [finding["kind"] for finding in told["findings"]] == ["foreign"]
    assert [letter["reason"] for letter in told["dead_letters"]] == ["needs-review"]
    assert told["live"] is None


async def test_a_customer_that_is_tried_again_says_when_and_since_when(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503", times=1))
    await change(world, "ann", name="Ann")
    await world.run()
    output = (await terminal.run("status", "ann"))[1]
    assert re.match(rf"ann: waits for another try at {TIME.pattern}: the last one failed because a service was", output)
    assert re.search(rf"^waiting: 1 event, the oldest sent at {TIME.pattern}$", output, re.MULTILINE)
    assert re.search(rf"^failed tries: 1, since {TIME.pattern}$", output, re.MULTILINE)
    told = (await answer(terminal, "ann"))[1]
    assert (told["verdict"], told["state"], told["last_error"]) == ("waiting", "waiting", "service_unavailable")
    assert told["due_ms"] >= told["oldest_sent_ms"] > 0


async def test_nothing_that_was_said_is_in_what_is_told(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Secret Name", email="secret@example.com", metadata={"k": "secret value"})
    await change(world, "ann", name="Secret Name" * 100)
    await world.run()
    for words in (["status", "ann"], ["status", "ann", "--json"]):
        output = (await terminal.run(*words))[1]
        assert "too_long" in output
        assert "ecret" not in output


async def test_what_is_not_known_is_an_exit_code_and_still_an_object(terminal: Terminal) -> None:
    code, told = await answer(terminal, "nobody")
    assert (code, told["verdict"], told["customer"]) == (1, "not-known", "nobody")
    code, told = await answer(terminal, "--event", "nothing")
    assert (code, told["status"], told["event"]) == (1, "not-known", "nothing")


async def test_an_event_and_everything_are_objects_too(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", event_id="e1", name="Ann")
    await world.run()
    code, told = await answer(terminal, "--event", "e1")
    assert (code, told["status"], told["customer"], told["reason"]) == (0, "applied", "ann", None)
    code, told = await answer(terminal)
    assert (code, told["waiting"], told["breaker"], told["totals"]["applied"]) == (0, 0, None, 1)


@pytest.mark.parametrize("words", [["ann", "--event", "e1"], ["--live"]])
async def test_what_does_not_go_together_is_refused(terminal: Terminal, words: list[str]) -> None:
    code, output, errors = await terminal.run("status", *words)
    assert (code, output) == (64, "")
    assert errors.count("\n") == 1


async def test_live_shows_both_sides_and_what_a_sync_would_do(both: Both) -> None:
    stripe = both.box.stripe.seed_customer(name="Ann\x1b[31m", email="old@example.com", metadata={"autumn_id": "ann"})
    both.box.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"])
    async with Redis.from_url(both.box.redis.url) as redis:
        await redis.xadd(f"{PREFIX}:mailbox:ann", {"customer_id": "ann"}, id="1700000000000-0")
    code, output, errors = await both.live("ann")
    assert (code, errors) == (0, "")
    assert TIME.sub("TIME", output).splitlines()[:9] == [
        "ann, both sides fetched at TIME: not in sync: a sync has something to write",
        "link: linked",
        f"in Autumn: name Ann, e-mail ann@example.com, receipts off, stripe_id {stripe['id']}, mode test",
        f"in Stripe: {stripe['id']}: name Ann\N{REPLACEMENT CHARACTER}[31m, e-mail old@example.com, mode test, "
        "metadata.autumn_id ann, metadata.autumn_send_email_receipts none",
        "a sync would:",
        f"  write name, email, metadata.autumn_send_email_receipts to {stripe['id']}",
        "  then fetch both sides again, until no step is left",
        "1 waiting event is not included",
        "on record:",
    ]


async def test_live_as_json_holds_both_sides_and_needs_no_record(both: Both) -> None:
    both.box.autumn.seed("ann", name="Ann")
    code, output, _ = await both.live("ann", "--json")
    told = json.loads(output)
    assert (code, told["verdict"], told["live"]["verdict"]) == (0, "not-known", "out-of-sync")
    assert (told["live"]["autumn"]["name"], told["live"]["stripe"]) == ("Ann", [])


@pytest.mark.parametrize(
    ("customer", "environment", "code", "says"),
    [
        ("nobody", {}, 1, "Autumn does not know the customer nobody\n"),
        ("ann", {"STRIPE_API_KEY": "sk_test_wrong"}, 78, "Stripe refuses STRIPE_API_KEY: set one that is valid\n"),
        ("ann", {"AUTUMN_SECRET_KEY": "am_sk_test_wrong"}, 78, "Replace AUTUMN_SECRET_KEY: "),
        ("ann", {"AUTUMN_API_URL": "http://127.0.0.1:1"}, 69, "Autumn gave no usable answer (no_connection): "),
        ("ann", {"STRIPE_API_BASE": "http://127.0.0.1:1"}, 69, "Stripe gave no usable answer (connection): "),
        ("ann", {"STRIPE_API_KEY": ""}, 78, "STRIPE_API_KEY: "),
    ],
)
async def test_a_live_look_that_fails_is_one_sentence_and_an_exit_code(
    both: Both, customer: str, environment: dict[str, str], code: int, says: str
) -> None:
    both.box.autumn.seed("ann")
    ended, output, errors = await both.live(customer, **environment)
    assert (ended, output, errors.count("\n")) == (code, "", 1)
    assert errors.startswith(says)
    assert "wrong" not in errors


async def test_a_status_without_a_look_needs_no_keys_and_a_look_says_that_it_shows_names(terminal: Terminal) -> None:
    code, output, _ = await terminal.run("status", "--help")
    assert code == 0
    assert "personal data" in " ".join(output.split())
    code, _, errors = await terminal.run("status", "ann", "--live")
    assert code == 78
    assert sorted(line.split(":")[0] for line in errors.splitlines()) == ["AUTUMN_SECRET_KEY", "STRIPE_API_KEY"]
