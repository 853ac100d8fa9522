"""Observe, from outside, when the watch notices an act in Stripe, and when both sides agree again.

It reads the simulators' own data, and which events Redis has as noted.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.queue.mailbox import MailboxKeys
from jobs.queue.watch.state import WatchKeys
from jobs.watch.events import TYPES
from sandbox.audit.expected import OWNER, RECEIPTS_FLAG, flat
from sandbox.everything import Sandbox
from tests.chaos.evidence import Drift
from tests.chaos.outside import PREFIX

PAUSE_SECONDS: Final = 0.1
PROFILE: Final = ("name", "email")


@dataclass
class Drifts:
    """All drifts of a run so far. `paid` are the payment intents that have succeeded."""

    box: Sandbox
    redis: Redis
    found: list[Drift] = field(default_factory=list)
    paid: set[str] = field(default_factory=set)
    _open: list[Drift] = field(default_factory=list)

    @contextmanager
    def of(self, drift: Drift) -> Iterator[None]:
        """Note the events that the block makes as those of the drift. Observe it unless nothing has changed."""
        events = self.box.stripe.events
        made, withheld = len(events.made), len(events.withheld_events)
        yield
        drift.events += [event["id"] for event in events.made[made:]]
        is_observed = any(each is drift for each in self.found)
        if not is_observed and (drift.events or len(events.withheld_events) > withheld):
            self.found.append(drift)
            self._open.append(drift)

    def of_calm(self, customer: str) -> list[Drift]:
        """Return the drifts of a calm customer in which both sides do not agree yet."""
        return [each for each in self._open if each.customer == customer and each.is_calm and each.agreed_at is None]

    async def observe(self) -> None:
        """Observe the drifts until this is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self) -> None:
        """Note which drifts the watch has noticed by now, and in which of them both sides agree again."""
        now = time.time()
        agreed = [drift for drift in self._open if drift.agreed_at is None and are_agreed(self.box, drift)]
        await self._note_noticed([drift for drift in self._open if drift.events and drift.noticed_at is None])
        for drift in agreed:
            drift.agreed_at = now
        # Whether a sync undid an edit depends on whether the watch had noticed the edit.
        self._open = [each for each in self._open if each.agreed_at is None or _is_edit_to_notice(each)]

    async def _note_noticed(self, waiting: Sequence[Drift]) -> None:
        mailboxes, seen = MailboxKeys(PREFIX), WatchKeys(PREFIX).seen
        try:
            async with self.redis.pipeline(transaction=True) as pipe:
                for drift in waiting:
                    pipe.zmscore(seen, drift.events)
                    pipe.exists(mailboxes.lease(drift.customer))
                    pipe.zscore(mailboxes.dispatched, drift.customer)
                answers: list[Any] = await pipe.execute()
        except (RedisError, OSError):
            return
        now = time.time()
        for place, drift in enumerate(waiting):
            scores, lease, dispatched = answers[3 * place : 3 * place + 3]
            if any(score is not None for score in scores):
                drift.noticed_at, drift.was_idle = now, not lease and dispatched is None


@dataclass
class ReadEvents:
    """The events of Stripe that the watch has not read yet."""

    box: Sandbox
    redis: Redis
    _unread: set[str] = field(default_factory=set)
    _known: int = 0

    async def count_unread(self) -> int:
        """Return the number of events, listed or not yet, that the watch has not noted. Raises RedisError."""
        made = self.box.stripe.events.made
        self._unread |= {event["id"] for event in made[self._known :] if event["type"] in TYPES}
        self._known = len(made)
        unread = sorted(self._unread)
        if unread:
            scores = await self.redis.zmscore(WatchKeys(PREFIX).seen, unread)
            self._unread -= {event for event, score in zip(unread, scores, strict=True) if score is not None}
        return len(self._unread)


def are_agreed(box: Sandbox, drift: Drift) -> bool:
    """Whether both sides agree again about what an act changed, or a payment has the address for its receipt."""
    if drift.act == "pay":
        return bool(box.stripe.payment_intents[drift.intent]["receipt_email"])
    row = box.autumn.customers[drift.customer]
    shown = flat(box.stripe.customers.get(str(row["stripe_id"]), {}))
    right = {OWNER: drift.customer, RECEIPTS_FLAG: str(row["send_email_receipts"]).lower()}
    if shown.get("deleted") or not shown:
        return False
    if drift.act == "delete":
        names: Sequence[str] = (*PROFILE, OWNER, RECEIPTS_FLAG)
    else:
        names = tuple(drift.shown)
    if drift.act == "write" and drift.events:
        # If the event was never made, nobody can know the value.
        right |= drift.shown
    return all((shown.get(name) or None) == right.get(name, row.get(name)) for name in names) and (
        drift.act != "write" or all(shown.get(name) == row[name] for name in names)
    )


def _is_edit_to_notice(drift: Drift) -> bool:
    return drift.act == "write" and bool(drift.events) and drift.noticed_at is None
