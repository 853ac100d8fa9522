"""How far the demo's events are, read from Redis as any app could read it: outcomes, dead letters, totals, lengths.

Sends with plain XADD and knows the public names of streams and keys only; nothing of the worker is imported.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT, KeyT, StreamIdT

from sandbox.demo_comparison import Difference
from sandbox.demo_world import APPLIED, DUPLICATE, Entry

READ_AT_A_TIME: Final = 1000


class Progress:
    """What one deployment was sent and what became of it so far."""

    def __init__(self, redis: Redis, entries: Sequence[Entry], *, inbox: str, prefix: str) -> None:
        """`redis` answers in text; `entries`, in the order of their times, are what is to be sent to `inbox`."""
        self.sent: dict[str, Entry] = {}
        self.endings: dict[str, str] = {}
        """Entry id to `APPLIED` or the reason of its dead letter, the latest last; a duplicate has none."""
        self.ended_at: dict[str, str] = {}
        """Entry id to when its ending was noted, as an id of a stream."""
        self.dead: dict[str, Mapping[str, str]] = {}
        """Dead letters by the id of their entry."""
        self.totals: dict[str, int] = {}
        self.waiting = self.working = 0
        self._redis = redis
        self._left = list(entries)
        self._inbox, self._prefix = inbox, prefix
        self._dead_letters = f"{prefix}:dead"
        self._seen = {f"{prefix}-outcomes": "0", self._dead_letters: "0"}

    async def send(self, seconds: float) -> None:
        """Add to the inbox, in one round trip, the entries that are due `seconds` after the start."""
        due, self._left = self._split(seconds)
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in due:
                fields: dict[FieldT, EncodableT] = {name: value for name, value in entry.fields.items()}
                pipe.xadd(self._inbox, fields)
            self.sent |= zip(await pipe.execute(), due, strict=True)

    def _split(self, seconds: float) -> tuple[list[Entry], list[Entry]]:
        """What is to be sent now, and what later: behind an entry that waits, everything of its customer does."""
        busy = {entry.customer_id for entry_id, entry in self.sent.items() if not self._has_ended(entry_id)}
        due: list[Entry] = []
        left: list[Entry] = []
        held: set[str] = set()
        for entry in self._left:
            is_behind = entry.customer_id in held
            if entry.at_seconds > seconds or is_behind or (entry.waits and entry.customer_id in busy):
                left.append(entry)
                held.add(entry.customer_id)
            else:
                due.append(entry)
                busy.add(entry.customer_id)
        return due, left

    async def read(self) -> None:
        """Catch up with what the worker did, in one round trip."""
        streams: dict[KeyT, StreamIdT] = {stream: seen for stream, seen in self._seen.items()}
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xread(streams, count=READ_AT_A_TIME)
            pipe.hgetall(f"{self._prefix}:totals")
            pipe.zcard(f"{self._prefix}:waiting")
            pipe.zcard(f"{self._prefix}:called")
            news, totals, self.waiting, self.working = await pipe.execute()
        self.totals = {name: int(value) for name, value in totals.items()}
        for stream, entries in news:
            for entry_id, fields in entries:
                self._seen[stream] = entry_id
                self._note(stream, entry_id, fields)

    @property
    def ended(self) -> int:
        """Entries that have come to their end, duplicates that were dropped among them."""
        return len(self.endings) + self.totals.get("duplicates", 0)

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and has come to its end."""
        return not self._left and self.ended >= len(self.sent)

    @property
    def applied(self) -> int:
        """Entries that took effect."""
        return sum(end == APPLIED for end in self.endings.values())

    def missing(self) -> list[Difference]:
        """Each entry that has no ending."""
        return [
            Difference(f"event {entry_id}", f"{entry.about} of {entry.customer_id or 'nobody'} has no outcome")
            for entry_id, entry in self.sent.items()
            if not self._has_ended(entry_id)
        ]

    def dead_by_reason(self) -> Counter[tuple[str, str]]:
        """Dead letters counted by reason and message, without what differs from customer to customer."""
        return Counter((letter["reason"], _alike(letter)) for letter in self.dead.values())

    def _has_ended(self, entry_id: str) -> bool:
        return entry_id in self.endings or self.sent[entry_id].end == DUPLICATE

    def _note(self, stream: str, noted_as: str, fields: Mapping[str, Any]) -> None:
        """A dead letter is in both streams."""
        entry_id, reason = fields["entry"], fields.get("reason", "")
        if stream == self._dead_letters:
            self.dead[entry_id] = fields
        self.endings[entry_id] = reason or APPLIED
        self.ended_at[entry_id] = noted_as


def _alike(letter: Mapping[str, str]) -> str:
    """A dead letter's message without the reason that it may repeat and without the customer's id."""
    message, reason, customer = letter["message"], letter["reason"], letter.get("customer")
    short = message.rpartition(f"{reason}: ")[2]
    return short.replace(customer, "<id>") if customer else short
