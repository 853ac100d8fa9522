"""`customer-sync status` of a customer or an event, as text and as JSON."""

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
    """Both services, named in the environment of a terminal, without a worker."""

    box: Sandbox
    terminal: Terminal
    environment: dict[str, str]

    async def live(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run `status … --live`; assert that it wrote no file, nothing to a service, and only rates to Redis."""
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
    """Run a command with `--json`; return its exit code and its one line as JSON."""
    code, output, errors = await terminal.run("status", *words, "--json")
    assert errors == ""
    assert output.count("\n") == 1
    return code, json.loads(output)


async def test_findings_and_writes_are_shown_in_order(terminal: Terminal, world: World) -> None:
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


async def test_problems_are_shown_with_their_remedy(terminal: Terminal, world: World) -> None:
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
    code, shown = await answer(terminal, "ann")
    assert (code, shown["verdict"], shown["link"]) == (0, "needs-a-person", "foreign")
    assert [finding["kind"] for finding in shown["findings"]] == ["foreign"]
    assert [letter["reason"] for letter in shown["dead_letters"]] == ["needs-review"]
    assert shown["live"] is None


async def test_retried_customer_shows_next_try_and_start(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503", times=1))
    await change(world, "ann", name="Ann")
    await world.run()
    output = (await terminal.run("status", "ann"))[1]
    assert re.match(rf"ann: waits for another try at {TIME.pattern}: the last one failed because a service was", output)
    assert re.search(rf"^waiting: 1 event, the oldest sent at {TIME.pattern}$", output, re.MULTILINE)
    assert re.search(rf"^failed tries: 1, since {TIME.pattern}$", output, re.MULTILINE)
    shown = (await answer(terminal, "ann"))[1]
    assert (shown["verdict"], shown["state"], shown["last_error"]) == ("waiting", "waiting", "service_unavailable")
    assert shown["due_ms"] >= shown["oldest_sent_ms"] > 0


async def test_requested_values_are_not_in_the_output(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Secret Name", email="secret@example.com", metadata={"k": "secret value"})
    await change(world, "ann", name="Secret Name" * 100)
    await world.run()
    for words in (["status", "ann"], ["status", "ann", "--json"]):
        output = (await terminal.run(*words))[1]
        assert "too_long" in output
        assert "ecret" not in output


async def test_unknown_id_sets_exit_code_and_prints_json(terminal: Terminal) -> None:
    code, shown = await answer(terminal, "nobody")
    assert (code, shown["verdict"], shown["customer"]) == (1, "not-known", "nobody")
    code, shown = await answer(terminal, "--event", "nothing")
    assert (code, shown["status"], shown["event"]) == (1, "not-known", "nothing")


async def test_event_and_overview_print_json(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", event_id="e1", name="Ann")
    await world.run()
    code, shown = await answer(terminal, "--event", "e1")
    assert (code, shown["status"], shown["customer"], shown["reason"]) == (0, "applied", "ann", None)
    code, shown = await answer(terminal)
    assert (code, shown["waiting"], shown["breaker"], shown["totals"]["applied"]) == (0, 0, None, 1)


@pytest.mark.parametrize("words", [["ann", "--event", "e1"], ["--live"]])
async def test_conflicting_options_are_refused(terminal: Terminal, words: list[str]) -> None:
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


async def test_live_json_holds_both_sides_without_a_customer_record(both: Both) -> None:
    both.box.autumn.seed("ann", name="Ann")
    code, output, _ = await both.live("ann", "--json")
    shown = json.loads(output)
    assert (code, shown["verdict"], shown["live"]["verdict"]) == (0, "not-known", "out-of-sync")
    assert (shown["live"]["autumn"]["name"], shown["live"]["stripe"]) == ("Ann", [])


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
async def test_failed_live_fetch_is_one_sentence_and_exit_code(
    both: Both, customer: str, environment: dict[str, str], code: int, says: str
) -> None:
    both.box.autumn.seed("ann")
    ended, output, errors = await both.live(customer, **environment)
    assert (ended, output, errors.count("\n")) == (code, "", 1)
    assert errors.startswith(says)
    assert "wrong" not in errors


async def test_only_live_status_needs_keys_and_shows_names(terminal: Terminal) -> None:
    code, output, _ = await terminal.run("status", "--help")
    assert code == 0
    assert "personal data" in " ".join(output.split())
    code, _, errors = await terminal.run("status", "ann", "--live")
    assert code == 78
    assert sorted(line.split(":")[0] for line in errors.splitlines()) == ["AUTUMN_SECRET_KEY", "STRIPE_API_KEY"]
