"""The client of the dead letters: read them, replay them, drop them.

The scripts `move.lua` and `settle.lua` write dead letters; all other code uses this module. It reads page by page, so
that a million dead letters are never in memory. It formats nothing for people, and a person or command decides which
dead letter to replay.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

from redis.asyncio import Redis

from jobs.queue.key_types import answer_or_none
from jobs.queue.record import PLAUSIBLE, RecordKeys
from jobs.queue.scripts import Scripts

PAGE = 200
"""Dead letters that are read, replayed or dropped at a time. One may be as large as an event, about 256 KiB."""
NO_LETTER = "0-0"
"""An id that is smaller than that of any dead letter."""
PAGES_FOR_ONE = 5
"""Pages that are read, newest first, for the dead letters of one customer. This keeps the answer fast."""
SENT = b"sent."
LETTER_ID = re.compile(r"(\d{1,20})-(\d{1,20})")
LARGEST_PART = 2**64 - 1
ATTEMPTS = re.compile(r"[0-9]{1,9}")
SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class DeadLetter:
    """One event that was given up, and why.

    `entry` is the id of its entry. `customer` is None if the event names no valid customer. `attempts` counts the
    tries. `since` is when they began to fail, in seconds since the epoch, None if there was only one try. `sent` holds
    the fields as the app sent them, perhaps with personal data.
    """

    id: str
    entry: str
    customer: str | None
    reason: str
    message: str
    attempts: int
    since: float | None
    dead_lettered_at_ms: int
    sent: Mapping[bytes, bytes]

    @property
    def source(self) -> str | None:
        """The name of the app that sent the event, if it is known."""
        return _text(self.sent.get(b"source", b"")) or None

    def summary(self) -> dict[str, str | int | float | None]:
        """Return everything except the sent fields, for JSON."""
        return {
            "id": self.id,
            "entry": self.entry,
            "source": self.source,
            "customer": self.customer,
            "reason": self.reason,
            "message": self.message,
            "attempts": self.attempts,
            "since": self.since,
            "dead_lettered_at_ms": self.dead_lettered_at_ms,
        }

    def sent_text(self) -> dict[str, str]:
        """Return the sent fields as text; an invalid UTF-8 byte is shown as `\\xff`. May hold personal data."""
        return {_text(name): _text(value) for name, value in self.sent.items()}

    def as_json(self) -> dict[str, object]:
        """Return everything, including the sent fields, for JSON. May hold personal data."""
        return {**self.summary(), "sent": self.sent_text()}


@dataclass(frozen=True)
class Wanted:
    """A filter of dead letters by reason and customer. None matches all."""

    reason: str | None = None
    customer: str | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the filter matches the dead letter."""
        return self.reason in {None, letter.reason} and self.customer in {None, letter.customer}


EVERY_LETTER = Wanted()


@dataclass(frozen=True)
class Replayed:
    """A dead letter that is in the inbox again, as the event `event_id`.

    `outdated`: the customer has newer events, applied or in its mailbox, and this one will overwrite their values.
    Events that are still in the inbox, or were applied more than 30 days ago, are not considered.
    """

    id: str
    event_id: str
    customer: str | None
    outdated: bool

    def as_json(self) -> dict[str, str | bool | None]:
        """Return the fields for JSON."""
        return {"id": self.id, "event_id": self.event_id, "customer": self.customer, "outdated": self.outdated}


@dataclass(frozen=True)
class NewestLetters:
    """The newest dead letters of one customer; `are_all` is False if there are, or may be, older ones."""

    letters: tuple[DeadLetter, ...] = ()
    are_all: bool = True


class DeadLetters:
    """The client of the dead letters. Every method raises RedisError if a command fails.

    A key of the wrong type counts as empty; the overview reports it.
    """

    def __init__(self, redis: Redis, *, inbox: str, prefix: str) -> None:
        """Open no connection. `redis` answers in bytes. `inbox` is the stream into which dead letters are replayed."""
        self._redis = redis
        self._inbox = inbox
        self._prefix = prefix
        self._keys = RecordKeys(prefix)
        self._scripts = Scripts(redis, "replay")

    async def newest(self) -> str:
        """Return the id of the newest dead letter; NO_LETTER if there is none."""
        found = await answer_or_none(self._redis.xrevrange(self._keys.dead, count=1))
        return found[0][0].decode() if found else NO_LETTER

    async def count_aside(self) -> int:
        """Return the number of dead letters that are kept aside, because the stream does not accept them."""
        return int(await answer_or_none(self._redis.xlen(self._keys.aside)) or 0)

    async def pages(
        self,
        wanted: Wanted = EVERY_LETTER,
        *,
        newest_first: bool = False,
        until: str = "+",
        at_most_pages: int | None = None,
    ) -> AsyncIterator[tuple[DeadLetter, ...]]:
        """Yield the wanted dead letters page by page, none newer than the id `until`. Empty pages are left out.

        At most `at_most_pages` are read, including empty ones; None reads all. Pass `until` if you replay while you
        read: an event that is refused again becomes a new dead letter, and would be read again.
        """
        first, last = "-", until
        for _ in islice(count(), at_most_pages):
            if newest_first:
                command = self._redis.xrevrange(self._keys.dead, max=last, min=first, count=PAGE)
            else:
                command = self._redis.xrange(self._keys.dead, min=first, max=last, count=PAGE)
            page = await answer_or_none(command)
            if not page:
                return
            beyond = "(" + page[-1][0].decode()
            first, last = (first, beyond) if newest_first else (beyond, last)
            letters = tuple(filter(wanted.takes, (_read(letter_id, fields) for letter_id, fields in page)))
            if letters:
                yield letters

    async def newest_of(self, customer: str, *, at_most: int = 5) -> NewestLetters:
        """Return at most `at_most` of the newest dead letters of a customer, found among the newest thousand of all."""
        wanted, found = Wanted(customer=customer), list[DeadLetter]()
        async for page in self.pages(wanted, newest_first=True, at_most_pages=PAGES_FOR_ONE):
            found += page
        letters = await answer_or_none(self._redis.xlen(self._keys.dead)) or 0
        are_all = len(found) <= at_most and letters <= PAGES_FOR_ONE * PAGE
        return NewestLetters(tuple(found[:at_most]), are_all)

    async def find(self, letter_id: str) -> DeadLetter | None:
        """Return the dead letter with this id; None if there is none."""
        if not _is_letter_id(letter_id):
            return None
        found = await answer_or_none(self._redis.xrange(self._keys.dead, min=letter_id, max=letter_id))
        return _read(*found[0]) if found else None

    async def replay(self, letter_ids: Sequence[str]) -> list[Replayed]:
        """Move dead letters into the inbox in one atomic step. Return those that existed, in their order in the inbox.

        Each event is at any time either a dead letter or in the inbox, never both. It has its original fields, but a
        new `event_id`.
        """
        keys = [self._keys.dead, self._inbox, self._keys.totals]
        replayed = await self._scripts.run("replay", keys, [self._prefix, *filter(_is_letter_id, letter_ids)])
        return [
            Replayed(letter_id.decode(), event_id.decode(), customer.decode() or None, bool(outdated))
            for letter_id, event_id, customer, outdated in replayed
        ]

    async def drop(self, letter_ids: Sequence[str]) -> list[str]:
        """Delete dead letters permanently. Return the ids of those that existed."""
        usable = list(filter(_is_letter_id, letter_ids))
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter_id in usable:
                pipe.xdel(self._keys.dead, letter_id)
            deleted = await pipe.execute()
        return [letter_id for letter_id, was_there in zip(usable, deleted, strict=True) if was_there]


def _is_letter_id(text: str) -> bool:
    # Redis fails the whole script if one id is malformed, and reads a part of an id as a range.
    parts = LETTER_ID.fullmatch(text)
    return parts is not None and all(int(part) <= LARGEST_PART for part in parts.groups())


def _read(raw_id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    letter_id = raw_id.decode()
    return DeadLetter(
        id=letter_id,
        entry=_text(fields.get(b"entry", b"")),
        customer=_text(fields.get(b"customer", b"")) or None,
        reason=_text(fields.get(b"reason", b"")),
        message=_text(fields.get(b"message", b"")),
        attempts=int(_matching(ATTEMPTS, fields.get(b"attempts", b"")) or 0),
        since=float(_matching(SECONDS, fields.get(b"since", b"")) or 0) or None,
        dead_lettered_at_ms=min(int(letter_id.partition("-")[0]), PLAUSIBLE),
        sent={name.removeprefix(SENT): value for name, value in fields.items() if name.startswith(SENT)},
    )


def _matching(form: re.Pattern[str], raw: bytes) -> str:
    """Return the text of a field; "" if it does not match `form`, because then no script wrote it."""
    text = raw.decode(errors="replace")
    return text if form.fullmatch(text) else ""


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
