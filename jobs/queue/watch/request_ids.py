"""The event ids of the reconciles that the watch requests. They hold the time of Stripe's event.

The scripts of the watch add a hyphen and the time of the request, so each request is a new event.

The watch makes them, and a sync reads them: to tell such a request, and to measure the time from event to agreement.
"""

import hashlib
import re
from typing import Final, Protocol

EVENT_MAX: Final = 100
"""The most characters of a Stripe event's id in ours. A longer one is replaced by its digest."""
_KNOWN: Final = re.compile(rf"[A-Za-z0-9_]{{1,{EVENT_MAX}}}")
_FORM: Final = re.compile(
    rf"stripe-{_KNOWN.pattern}-[0-9a-f]{{8}}-(?P<later>later-)?(?P<created>[0-9]{{1,12}})(?:-[0-9]+)?"
)


class Happened(Protocol):
    """An event of Stripe: its id, and its time in seconds since the epoch."""

    @property
    def id(self) -> str:
        """The id in Stripe."""

    @property
    def created(self) -> int:
        """The time in seconds since the epoch."""


def request_id(event: Happened, customer_id: str, *, later: bool) -> str:
    """Return the event id of the reconcile that an event of Stripe leads to, of at most 200 characters.

    The same event and customer give the same id. `later`: the reconcile is deferred, and one at once may exist too.
    """
    known = event.id if _KNOWN.fullmatch(event.id) else _digest(event.id)[:40]
    return f"stripe-{known}-{_digest(customer_id)[:8]}-{'later-' if later else ''}{event.created}"


def is_from_watch(event_id: str) -> bool:
    """Return whether the watch requested the event with this id."""
    return _FORM.fullmatch(event_id) is not None


def happened_at_seconds(event_id: str) -> float | None:
    """Return the time of the Stripe event that led to this event id.

    None if the watch did not request it, or deferred it on purpose.
    """
    found = _FORM.fullmatch(event_id)
    return float(found["created"]) if found is not None and not found["later"] else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
