"""The Redis commands that add events to the inbox and read their outcomes, for any client of Redis.

The worker uses them, too. No I/O and no import of a client belongs here.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from autumn_sync_client.events import CustomerUpdate
from autumn_sync_client.outcomes import Outcome, event_buckets, events_key, parse_outcome

INBOX_STREAM: Final = "customer-updates"
KEY_PREFIX: Final = "customer-sync"
URL_FORM: Final = "redis://USER:PASSWORD@HOST:PORT/0, with / ? # @ in the password as %2F %3F %23 %40"
"""The form of an address of Redis, for errors."""
Command = tuple[str, ...]


def add_event(update: CustomerUpdate, stream: str) -> Command:
    """Return the command that adds an event to the inbox."""
    return ("XADD", stream, "*", *(part for pair in update.fields().items() for part in pair))


def id_of(update: CustomerUpdate, entry_id: bytes | str) -> str:
    """Return the id by which the outcome is known: the `event_id`, or the id of the entry if there is none."""
    if update.event_id is not None:
        return update.event_id
    return entry_id.decode() if isinstance(entry_id, bytes) else entry_id


def get_outcome(event_id: str, prefix: str) -> Sequence[Command]:
    """Return the commands whose answers `outcome_in` reads."""
    return [("HGET", events_key(prefix, bucket), event_id) for bucket in event_buckets(time.time())]


def outcome_in(answers: Iterable[Any]) -> Outcome | None:
    """Return the outcome in the answers of `get_outcome`; None if the event is not known.

    A key of the wrong type holds no outcome. Raises any other error that is among the answers.
    """
    outcomes = []
    for answer in answers:
        if not isinstance(answer, Exception):
            outcomes.append(parse_outcome(answer))
        elif "WRONGTYPE" not in str(answer):
            raise answer
    return next((outcome for outcome in outcomes if outcome is not None), None)
