"""How far the demo's events are, read from Redis as any app could read it: outcomes, dead letters, totals, lengths.

Sends with plain XADD and knows the public names of streams and keys only; nothing of the worker is imported.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT, KeyT, StreamIdT

from sandbox.demo_comparison import APPLIED, DUPLICATE, Difference
from sandbox.demo_traffic import Entry

INBOX: Final = "customer-updates"
PREFIX: Final = "customer-sync"
OUTCOMES: Final = f"{PREFIX}-outcomes"
DEAD: Final = f"{PREFIX}:dead"
READ_AT_A_TIME: Final = 1000


class Progress:
    """What was sent and what became of it so far."""

    def __init__(self, redis: Redis) -> None:
        """`redis` answers in text."""
        self.sent: dict[str, Entry] = {}
        self.endings: dict[str, str] = {}
        """Entry id to `APPLIED` or the reason of its dead letter, the latest last; a duplicate has none."""
        self.dead: dict[str, Mapping[str, str]] = {}
        """Dead letters by the id of their entry."""
        self.totals: dict[str, int] = {}
        self.inbox = self.waiting = self.working = 0
        self._redis = redis
        self._seen = {OUTCOMES: "0", DEAD: "0"}

    async def send(self, entries: Sequence[Entry]) -> None:
        """Add entries to the inbox in their order, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                fields: dict[FieldT, EncodableT] = {name: value for name, value in entry.fields.items()}
                pipe.xadd(INBOX, fields)
            self.sent |= zip(await pipe.execute(), entries, strict=True)

    async def read(self) -> None:
        """Catch up with what the worker did, in one round trip."""
        streams: dict[KeyT, StreamIdT] = {OUTCOMES: self._seen[OUTCOMES], DEAD: self._seen[DEAD]}
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xread(streams, count=READ_AT_A_TIME)
            pipe.hgetall(f"{PREFIX}:totals")
            pipe.xlen(INBOX)
            pipe.zcard(f"{PREFIX}:waiting")
            pipe.zcard(f"{PREFIX}:called")
            news, totals, self.inbox, self.waiting, self.working = await pipe.execute()
        self.totals = {name: int(value) for name, value in totals.items()}
        for stream, entries in news:
            for entry_id, fields in entries:
                self._seen[stream] = entry_id
                self._note(stream, fields)

    @property
    def ended(self) -> int:
        """Entries that have come to their end, duplicates that were dropped among them."""
        return len(self.endings) + self.totals.get("duplicates", 0)

    @property
    def all_ended(self) -> bool:
        """Whether everything sent so far has come to its end."""
        return self.ended >= len(self.sent)

    @property
    def applied(self) -> int:
        """Entries that took effect."""
        return sum(end == APPLIED for end in self.endings.values())

    def missing(self) -> list[Difference]:
        """Each entry that has no ending."""
        return [
            Difference(f"event {entry_id}", f"{entry.about} of {entry.customer_id or 'nobody'} has no outcome")
            for entry_id, entry in self.sent.items()
            if entry_id not in self.endings and entry.end != DUPLICATE
        ]

    def dead_by_reason(self) -> Counter[tuple[str, str]]:
        """Dead letters counted by reason and message, without what differs from customer to customer."""
        return Counter((letter["reason"], _alike(letter)) for letter in self.dead.values())

    def _note(self, stream: str, fields: Mapping[str, Any]) -> None:
        """A dead letter of the sync is in both streams, one of the intake only among the dead."""
        entry_id, reason = fields["entry"], fields.get("reason", "")
        if stream == DEAD:
            self.dead[entry_id] = fields
        self.endings[entry_id] = reason or APPLIED


def _alike(letter: Mapping[str, str]) -> str:
    """A dead letter's message without the reason that it may repeat and without the customer's id."""
    message, reason, customer = letter["message"], letter["reason"], letter.get("customer")
    short = message.rpartition(f"{reason}: ")[2]
    return short.replace(customer, "<id>") if customer else short
