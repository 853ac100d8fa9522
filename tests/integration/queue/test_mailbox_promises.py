"""The promises of the mailbox under any interleaving: no event is lost, order is kept, and one worker has a customer.

Hypothesis plays apps, three workers, time and accidents on a real Redis. The expected result comes from a ledger of the
sent events, which shares no code with the queue.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from jobs.plan.merge import merge
from jobs.queue.batch import Batch, EntryOutcome, Settlement
from jobs.queue.dead_letters import DeadLetters
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import read_outcome
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from tests.support.examples import examples
from tests.support.ledger import NAMES, Ledger

MAX_WAITING = 2
NEVER_MS = 3_600_000  # longer than a run: only a rule lets this time pass
WAITING, DISPATCHED, OLDEST = f"{PREFIX}:waiting", f"{PREFIX}:dispatched", f"{PREFIX}:oldest"
LIMITS: Any = {"max_waiting": MAX_WAITING, "lease_seconds": NEVER_MS / 1000, "dispatch_ms": NEVER_MS // 2}
DEAD = {"reason": "refused", "message": "no", "attempts": "1", "since": ""}
WORKERS, PICKS, COUNTS = st.integers(0, 2), st.integers(0, 5), st.integers(1, 6)
WAYS = st.sampled_from(["settles", "settles", "goes on", "gives up", "crashes"])
CUSTOMERS = st.sampled_from(NAMES)
METADATA = st.dictionaries(st.sampled_from(["plan", "seats"]), st.none() | st.integers(0, 9), max_size=2)
REQUESTED = st.fixed_dictionaries({}, optional={"metadata": METADATA, "refused": st.just(True)})
SENDERS = CUSTOMERS | CUSTOMERS | st.sampled_from([None, "a b"])
EVENT_IDS = st.none() | st.sampled_from(["e1", "e2", "e3", "e4"])
DRAFTS = st.fixed_dictionaries(
    {"customer_id": SENDERS, "event_id": EVENT_IDS, "changes": REQUESTED | REQUESTED | st.none()}
)


class Work:
    """A worker's batch. The first `done` entries of it are written to the service."""

    def __init__(self, mailbox: Mailbox, batch: Batch) -> None:
        self.mailbox, self.batch, self.customer, self.done = mailbox, batch, batch.customer_id, 0
        self.requested = {each.id: json.loads(each.fields.get(b"changes", b"{}")) for each in batch.entries}
        self.outcomes = {
            entry: "dead" if "refused" in requested else "applied" for entry, requested in self.requested.items()
        }


def step(needs: str, **draws: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a rule that runs only if the attribute at the path `needs` is not empty."""
    return lambda method: precondition(attrgetter(needs))(cast(Any, rule)(**draws)(method))


class Machine(RuleBasedStateMachine):
    """Works are `working` while their lease is valid. `stale` ones hold the outcomes that they would settle."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # With a factory, the runner does not replace the event loop of the thread.
        self.run = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.redis, self.deps = Redis.from_url(url, decode_responses=True), AsyncRedis.from_url(url)
        self.redis.flushall()
        self.workers = [Mailbox(self.deps, inbox=INBOX, prefix=PREFIX, **LIMITS) for _ in range(3)]
        self.ledger = Ledger()
        self.working: list[Work] = []
        self.stale: list[tuple[Work, Mapping[str, str]]] = []
        self.settled_last: dict[str, Work] = {}
        self.seen = self.contents()

    def contents(self) -> SimpleNamespace:
        """Return the contents of Redis; `waiting` and `dispatched` with their times in milliseconds."""
        pipe: Any = self.redis.pipeline()
        pipe.zrange(WAITING, 0, -1, withscores=True).zrange(DISPATCHED, 0, -1, withscores=True).hgetall(
            f"{PREFIX}:totals"
        )
        pipe.zrange(OLDEST, 0, -1, withscores=True)
        pipe.xrange(INBOX).xrange(f"{PREFIX}-outcomes").xrange(f"{PREFIX}:dead")
        for name in NAMES:
            pipe.xrange(f"{PREFIX}:mailbox:{name}").get(f"{PREFIX}:lease:{name}")
        waiting, dispatched, totals, oldest, inbox, outcomes, dead, *rest = pipe.execute()
        seen = SimpleNamespace(
            waiting=dict(waiting),
            dispatched=dict(dispatched),
            dead=[{"id": letter_id, **letter} for letter_id, letter in dead],
        )
        seen.oldest = dict(oldest)
        seen.totals = {name: int(value) for name, value in totals.items()}
        seen.inbox = [entry for entry, _ in inbox]
        seen.outcomes = sorted((outcome["entry"], outcome["status"]) for _, outcome in outcomes)
        seen.batch = {name: [entry for entry, _ in found] for name, found in zip(NAMES, rest[::2], strict=True)}
        seen.leases = {name: token for name, token in zip(NAMES, rest[1::2], strict=True) if token}
        return seen

    @rule(drafts=st.lists(DRAFTS, min_size=1, max_size=4), worker=WORKERS, count=COUNTS)
    def send_and_move(self, drafts: list[dict[str, Any]], worker: int, count: int) -> None:
        for draft in drafts:
            fields: dict[Any, Any] = {name: value for name, value in draft.items() if value is not None}
            if "changes" in fields:
                fields["changes"] = json.dumps({"name": str(len(self.ledger.sent)), **fields["changes"]})
            fields["type"] = "customer.updated" if "changes" in fields else "customer.reconcile"
            self.ledger.accept(str(self.redis.xadd(INBOX, fields)), fields)
        self.move(worker, count)

    @step("seen.dead", pick=PICKS)
    def replay_a_dead_letter(self, pick: int) -> None:
        letter = self.seen.dead[pick % len(self.seen.dead)]
        dead_letters = DeadLetters(self.deps, inbox=INBOX, prefix=PREFIX)
        (replayed,) = self.run.run(dead_letters.replay([letter["id"]]))
        assert self.run.run(dead_letters.replay([letter["id"]])) == [], "replayed twice"
        ((entry, fields),) = cast(Any, self.redis.xrevrange(INBOX, count=1))
        assert fields["event_id"] == replayed.event_id
        self.ledger.replayed.append(letter["entry"])
        self.ledger.accept(entry, fields)

    def move(self, worker: int, count: int) -> None:
        before = self.contents()
        moved, full = self.run.run(self.workers[worker].move(count))
        after = self.contents()
        assert after.inbox == before.inbox[moved:]
        for entry in before.inbox[:moved]:
            self.ledger.move(entry)
        assert full or moved == min(count, len(before.inbox))
        assert not full or len(after.waiting) + len(after.dispatched) == MAX_WAITING

    @step("ledger.sent", worker=WORKERS, at_most=st.integers(0, 2), customer=CUSTOMERS | st.none())
    def dispatch_and_take(self, worker: int, at_most: int, customer: str | None) -> None:
        """Take a dispatched customer, or another one: wake-ups may be late, repeated or lost."""
        before = self.contents()
        now_ms, customers, _ = self.run.run(self.workers[worker].dispatch(at_most))
        after = self.contents()
        assert all((before.waiting | before.dispatched)[name] <= now_ms for name in customers)
        assert len(after.dispatched) <= max(at_most, len(before.dispatched))
        assert len(after.dispatched) >= at_most or all(at > now_ms for at in after.waiting.values())
        assert all(at > now_ms for at in after.dispatched.values())
        customer = customer or next(iter(after.dispatched), NAMES[0])
        batch = self.run.run(self.workers[worker].take(customer))
        is_free = customer in after.dispatched and customer not in after.leases
        assert [each.id for each in (batch.entries if batch else ())] == (after.batch[customer] if is_free else [])
        if batch is not None:
            assert self.contents().dispatched[customer] > after.dispatched[customer]
            self.working.append(Work(self.workers[worker], batch))

    @step("working", pick=PICKS, count=COUNTS | st.just(0), way=WAYS, later=st.booleans())
    def work(self, pick: int, count: int, way: str, later: bool) -> None:
        """Work on a customer. "gives up" dead-letters all entries that no try may have applied."""
        work = self.working[pick % len(self.working)]
        work.batch.lease.check()
        entries = [
            entry for entry in list(work.outcomes)[work.done : work.done + count] if work.outcomes[entry] == "applied"
        ]
        self.ledger.write(work.customer, entries, merge(work.requested[entry] for entry in entries))
        work.done += count
        if way == "goes on":
            return
        self.working.remove(work)
        if way == "crashes":
            work.mailbox.forget(work.batch.lease)
            return
        outcomes = dict(list(work.outcomes.items())[: work.done])
        if way == "gives up":
            outcomes |= dict.fromkeys(work.outcomes.keys() - outcomes.keys() - self.ledger.unsettled, "dead")
        assert self.try_to_settle(work, outcomes, NEVER_MS if later else 0)
        self.settled_last[work.customer] = work
        self.ledger.settle(work.customer, outcomes)
        self.stale.append((work, outcomes))

    def try_to_settle(self, work: Work, outcomes: Mapping[str, str], again_after_ms: int = 0) -> bool:
        sent = [(entry, sent.event) for entry, sent in self.ledger.sent.items() if entry in outcomes]
        settled = [EntryOutcome(entry, event, DEAD if outcomes[entry] == "dead" else None) for entry, event in sent]
        return self.run.run(work.mailbox.settle(work.batch.lease, Settlement(settled, again_after_ms=again_after_ms)))

    @step("stale", pick=PICKS)
    def settle_without_the_lease(self, pick: int) -> None:
        """Settle again after the lease, or the answer of a successful settle, was lost."""
        before = {key: self.redis.dump(key) for key in self.redis.scan_iter()}
        work, outcomes = self.stale[-1 - pick % len(self.stale)]
        # The last one that settled has only lost the answer, so it gets the same answer again.
        assert self.try_to_settle(work, outcomes) == (self.settled_last.get(work.customer) is work)
        assert {key: self.redis.dump(key) for key in self.redis.scan_iter()} == before

    @step("ledger.sent", customer=CUSTOMERS, key=st.sampled_from([WAITING, DISPATCHED]), ends_lease=st.booleans())
    def time_passes(self, customer: str, key: str, ends_lease: bool) -> None:
        """Let a wait, a dispatch or a lease expire. A dispatch may expire just before its lease."""
        self.redis.zadd(key, {customer: 0}, xx=True)
        if ends_lease:
            self.redis.delete(f"{PREFIX}:lease:{customer}")
            for work in [work for work in self.working if work.customer == customer]:
                work.batch.lease.deadline = 0.0
                self.working.remove(work)
                self.stale.append((work, work.outcomes))

    @step("stale", worker=WORKERS)
    def renew(self, worker: int) -> None:
        mailbox = self.workers[worker]
        self.run.run(mailbox.renew())
        assert mailbox.held == {work.customer: work.batch.lease for work in self.working if work.mailbox is mailbox}

    @invariant()
    def promises_hold(self) -> None:
        self.seen = seen = self.contents()
        ledger = self.ledger
        assert [*ledger.moved, *seen.inbox] == list(ledger.sent), "not in order"
        assert seen.batch == {name: ledger.batch(name, None) for name in NAMES}
        assert seen.outcomes == sorted(
            (entry, outcome) for entry, outcome in ledger.ended.items() if outcome != "duplicates"
        )
        dead = [entry for entry, outcome in seen.outcomes if outcome == "dead" and entry not in ledger.replayed]
        assert sorted(letter["entry"] for letter in seen.dead) == dead
        outcomes = list(ledger.ended.values())
        totals = {name: outcomes.count(name) for name in ("applied", "dead", "duplicates")}
        totals["received"] = len(outcomes) + sum(map(len, seen.batch.values()))
        assert {name: seen.totals.get(name, 0) for name in totals} == totals
        assert seen.oldest == {name: int(batch[0].split("-")[0]) for name, batch in seen.batch.items() if batch}
        assert not seen.waiting.keys() & seen.dispatched.keys()
        assert {name for name in NAMES if seen.batch[name]} <= seen.waiting.keys() | seen.dispatched.keys()
        assert len(seen.waiting) + len(seen.dispatched) <= MAX_WAITING
        assert len({work.customer for work in self.working}) == len(self.working), "two workers have one customer"
        assert all(seen.leases[work.customer] == work.batch.lease.token for work in self.working)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # otherwise show the failure, not its consequences
                self.drain()
        finally:
            self.redis.close()
            self.run.run(self.deps.aclose())
            self.run.close()

    def drain(self) -> None:
        """Process everything that is left with one correct worker."""
        for _ in range(2 + len(self.ledger.sent)):
            self.promises_hold()
            if not (self.seen.inbox or self.seen.waiting or self.seen.dispatched):
                break
            self.move(0, 1000)
            for name in NAMES:
                self.time_passes(name, DISPATCHED, ends_lease=True)
                self.time_passes(name, WAITING, ends_lease=True)
                self.dispatch_and_take(0, MAX_WAITING, name)
            while self.working:
                self.work(0, 1000, "settles", later=True)
        seen = self.seen
        left = (seen.inbox, seen.waiting, seen.dispatched, seen.leases, self.redis.keys(f"{PREFIX}:mailbox:*"))
        assert left == ([], {}, {}, {}, [])
        for entry in [entry for entry, outcome in self.ledger.ended.items() if outcome == "applied"]:
            outcome = self.run.run(read_outcome(self.deps, PREFIX, self.ledger.sent[entry].event))
            assert (outcome and (outcome.entry_id, outcome.status)) == (entry, "applied")


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it shows it
def test_any_interleaving_keeps_promises(redis_server: EmbeddedRedis) -> None:
    small = settings(max_examples=examples(30), report_multiple_bugs=False)
    run_state_machine_as_test(cast(Any, partial(Machine, redis_server.url)), settings=small)
