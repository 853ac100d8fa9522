"""What will never be applied by itself: reading dead letters, sending them again, dropping them.

The one door to the stream of dead letters for whoever decides about them; the scripts that move and settle write it.
Reading goes page by page, so that a million letters never are in memory. No words for a person belong in here, and
nothing that decides by itself which letter deserves another try.
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
"""Letters that are read, sent again or dropped at a time. One letter may be as large as an event, some 256 KiB."""
NO_LETTER = "0-0"
"""Before the first id that a letter can have."""
PAGES_FOR_ONE = 5
"""Pages that are read, the newest first, for the letters of one customer: whoever asks about it is answered soon."""
SENT = b"sent."
LETTER_ID = re.compile(r"(\d{1,20})-(\d{1,20})")
LARGEST_PART = 2**64 - 1
ATTEMPTS = re.compile(r"[0-9]{1,9}")
SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class DeadLetter:
    """One event that was given up, and why.

    `entry` is the id it had as an entry; `customer` is None where the event names no usable one; `attempts` are the
    tries, and `since` is when they began to fail, in seconds since the epoch, None if there was no try before the
    last. `sent` are the fields as the app sent them: they may hold personal data.
    """

    id: str
    entry: str
    customer: str | None
    reason: str
    message: str
    attempts: int
    since: float | None
    buried_at_ms: int
    sent: Mapping[bytes, bytes]

    def summary(self) -> dict[str, str | int | float | None]:
        """Everything but what was sent, for JSON."""
        return {
            "id": self.id,
            "entry": self.entry,
            "customer": self.customer,
            "reason": self.reason,
            "message": self.message,
            "attempts": self.attempts,
            "since": self.since,
            "buried_at_ms": self.buried_at_ms,
        }

    def sent_text(self) -> dict[str, str]:
        """What was sent as text; a byte that is no UTF-8 is shown as `\\xff`. May hold personal data."""
        return {_text(name): _text(value) for name, value in self.sent.items()}

    def as_json(self) -> dict[str, object]:
        """Everything, what was sent included, for JSON. May hold personal data."""
        return {**self.summary(), "sent": self.sent_text()}


@dataclass(frozen=True)
class Wanted:
    """Which letters are meant: those of a reason, of a customer, of both, or, with neither, all."""

    reason: str | None = None
    customer: str | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them."""
        return self.reason in {None, letter.reason} and self.customer in {None, letter.customer}


EVERY_LETTER = Wanted()


@dataclass(frozen=True)
class Replayed:
    """A letter that is in the inbox again, as the event `event_id`.

    `outdated` says that the customer has had newer changes since, applied or waiting in its mailbox, which this one
    will overwrite. What is still in the inbox, or was applied more than 30 days ago, is not known.
    """

    id: str
    event_id: str
    customer: str | None
    outdated: bool

    def as_json(self) -> dict[str, str | bool | None]:
        """The form for JSON."""
        return {"id": self.id, "event_id": self.event_id, "customer": self.customer, "outdated": self.outdated}


@dataclass(frozen=True)
class NewestLetters:
    """The newest letters of one customer; `are_all` is False where there are, or may be, older ones."""

    letters: tuple[DeadLetter, ...] = ()
    are_all: bool = True


class DeadLetters:
    """The door to the dead letters. Every method raises RedisError when Redis does not do what it is asked.

    A key of the wrong type holds no letter to read; the overview names it.
    """

    def __init__(self, redis: Redis, *, inbox: str, prefix: str) -> None:
        """Opens nothing. `redis` answers in bytes; `inbox` is the stream that letters go back to."""
        self._redis = redis
        self._inbox = inbox
        self._prefix = prefix
        self._keys = RecordKeys(prefix)
        self._scripts = Scripts(redis, "replay")

    async def newest(self) -> str:
        """The newest letter's id, NO_LETTER if there is none. Raises: RedisError."""
        found = await answer_or_none(self._redis.xrevrange(self._keys.dead, count=1))
        return found[0][0].decode() if found else NO_LETTER

    async def count_aside(self) -> int:
        """Return how many letters are kept aside, because the key of dead letters takes none. Raises: RedisError."""
        return int(await answer_or_none(self._redis.xlen(self._keys.aside)) or 0)

    async def pages(
        self,
        wanted: Wanted = EVERY_LETTER,
        *,
        newest_first: bool = False,
        until: str = "+",
        at_most_pages: int | None = None,
    ) -> AsyncIterator[tuple[DeadLetter, ...]]:
        """The letters that are wanted, by the pages that hold any, none newer than the id `until`.

        No more than `at_most_pages` are read, whether they hold any or not; None reads all there are. Whoever sends
        letters again while reading has to say until which: one that is refused again is a new letter.

        Raises: RedisError.
        """
        first, last = "-", until
        for _ in islice(count(), at_most_pages):
            if newest_first:
                asked = self._redis.xrevrange(self._keys.dead, max=last, min=first, count=PAGE)
            else:
                asked = self._redis.xrange(self._keys.dead, min=first, max=last, count=PAGE)
            page = await answer_or_none(asked)
            if not page:
                return
            beyond = "(" + page[-1][0].decode()
            first, last = (first, beyond) if newest_first else (beyond, last)
            letters = tuple(filter(wanted.takes, (_read(letter_id, fields) for letter_id, fields in page)))
            if letters:
                yield letters

    async def newest_of(self, customer: str, *, at_most: int = 5) -> NewestLetters:
        """The newest letters of a customer, `at_most` of them, among the newest thousand of all. Raises: RedisError."""
        wanted, found = Wanted(customer=customer), list[DeadLetter]()
        async for page in self.pages(wanted, newest_first=True, at_most_pages=PAGES_FOR_ONE):
            found += page
        letters = await answer_or_none(self._redis.xlen(self._keys.dead)) or 0
        are_all = len(found) <= at_most and letters <= PAGES_FOR_ONE * PAGE
        return NewestLetters(tuple(found[:at_most]), are_all)

    async def find(self, letter_id: str) -> DeadLetter | None:
        """The letter of this id, None if there is none. Raises: RedisError."""
        if not _is_letter_id(letter_id):
            return None
        found = await answer_or_none(self._redis.xrange(self._keys.dead, min=letter_id, max=letter_id))
        return _read(*found[0]) if found else None

    async def replay(self, letter_ids: Sequence[str]) -> list[Replayed]:
        """Send letters again, all in one atomic step; those that were there, in the order they are in the inbox now.

        A letter leaves as its event enters the inbox, so however this ends, it is in exactly one of both. The event is
        the one that was sent but for its `event_id`, which is new.

        Raises: RedisError.
        """
        keys = [self._keys.dead, self._inbox, self._keys.totals]
        replayed = await self._scripts.run("replay", keys, [self._prefix, *filter(_is_letter_id, letter_ids)])
        return [
            Replayed(letter_id.decode(), event_id.decode(), customer.decode() or None, bool(outdated))
            for letter_id, event_id, customer, outdated in replayed
        ]

    async def drop(self, letter_ids: Sequence[str]) -> list[str]:
        """Delete letters for good; the ids of those that were there. Raises: RedisError."""
        usable = list(filter(_is_letter_id, letter_ids))
        async with self._redis.pipeline(transaction=True) as pipe:
            for letter_id in usable:
                pipe.xdel(self._keys.dead, letter_id)
            deleted = await pipe.execute()
        return [letter_id for letter_id, was_there in zip(usable, deleted, strict=True) if was_there]


def _is_letter_id(text: str) -> bool:
    # Redis refuses a whole script for one id that is none, and takes a part of one for a range.
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
        buried_at_ms=min(int(letter_id.partition("-")[0]), PLAUSIBLE),
        sent={name.removeprefix(SENT): value for name, value in fields.items() if name.startswith(SENT)},
    )


def _matching(form: re.Pattern[str], raw: bytes) -> str:
    """Return the text of a field; nothing if it has another form, because no script wrote it."""
    text = raw.decode(errors="replace")
    return text if form.fullmatch(text) else ""


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
