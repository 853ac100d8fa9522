"""The writes of other apps to Autumn and of people in Stripe's dashboard, planned so that the right end is certain.

The checker has to know the last value that was written on purpose. Two writers that know nothing of each other have an
order only where one has ended before the other begins, so these rules hold:

1. All that happens to one of these customers is one line: its events and the writes of others. Another writer begins
   when every event before it has its outcome and no sync of the customer runs, and the next event is sent when it has
   ended. So it never overlaps an update of the worker (Autumn has no lock: it would lose one of the two), and never
   writes a field for which events wait.
2. Nothing waits after another writer: the next event comes while the webhook of that write is still on its way, and its
   late echo shows older values then. The later write is the right one.
3. Two writes of others to one customer are further apart than a webhook can be late, whatever their fields: a webhook
   carries the whole profile, and no worker could tell two such webhooks apart that arrive in the wrong order.
4. Another writer comes only after the first sync of the customer. Before that, its write would announce the stale name
   or e-mail that the customer began with, and no worker had a chance to repair it.
5. A value is unique, so that no older value is ever written on purpose. Only the receipts flag has but two values: it
   belongs to the events of a customer or to other apps, never to both.
6. A person fills fields and never empties one: Autumn does not take an empty value over.
7. Where Stripe also announces writes that change nothing, every update of the worker has a webhook of its own. Then
   others write only when those of all updates before have arrived, and after an edit in Stripe the next event waits for
   the webhook of the edit: it brings the edit to Autumn, and which of two webhooks arrives last is nobody's choice.

A recheck may begin while another writer writes. What the worker reads then is half of a write. Such a write is made
again, with another value, see `others`.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.evidence import Writer
from tests.chaos.options import Options

SHARE: Final = 0.3
"""So many of the customers that are linked from the start have other writers."""
SHARED_KEY, OWN_KEY, NOTE_KEY = "k0", "app0", "note"
"""Metadata keys: one that events write as well, one of the apps' own, one of Stripe's that people write."""
FIELDS: Final[dict[Writer, tuple[tuple[str, ...], ...]]] = {
    "app": (
        ("name",),
        ("email",),
        ("name", "email"),
        ("name", f"metadata.{OWN_KEY}"),
        ("send_email_receipts",),
        (f"metadata.{OWN_KEY}",),
        (f"metadata.{SHARED_KEY}", "email"),
        ("name", "send_email_receipts", f"metadata.{SHARED_KEY}"),
    ),
    "person": (("name",), ("email",), ("name", "email"), ("description",), (f"metadata.{NOTE_KEY}",)),
}
"""What is written together."""
EARLIEST_SECONDS, LATEST_SECONDS = -1.5, 0.5
"""How far a write is from an event of the same customer, so that the two meet."""


@dataclass(frozen=True)
class OtherWrite:
    """A write of somebody else. `number` is unique in the plan, `fields` are what it writes."""

    at_seconds: float
    customer: str
    by: Writer
    number: int
    fields: tuple[str, ...]

    def changes(self, attempt: int) -> dict[str, Any]:
        """The values to write, other ones at each attempt, as a request body names them."""
        unique = f"{self.by}{self.number}.{attempt}"
        values: dict[str, Any] = {
            "name": f"{self.customer} {unique}",
            "email": f"{self.customer}-{unique}@example.com",
            "description": unique,
            "send_email_receipts": self.number % 2 == 0,
        }
        metadata = {name.removeprefix("metadata."): unique for name in self.fields if name.startswith("metadata.")}
        plain = {name: values[name] for name in self.fields if name in values}
        return {**plain, "metadata": metadata} if metadata else plain


def customers_with_others(linked: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """The customers that other apps and people write to, out of those that are linked from the start."""
    return tuple(rng.sample(list(linked), min(len(linked), max(1, round(SHARE * len(linked)))))) if linked else ()


def other_writes(options: Options, events: Sequence[tuple[float, str]], rng: random.Random) -> Iterator[OtherWrite]:
    """The writes; `events` are those of the customers with other writers, as (seconds, customer)."""
    first: dict[str, float] = {}
    for at_seconds, customer in events:
        first.setdefault(customer, at_seconds)
    later = [(at_seconds, customer) for at_seconds, customer in events if at_seconds > first[customer]]
    for number in range(options.other_writes if later else 0):
        event_seconds, customer = rng.choice(later)
        at_seconds = max(first[customer], event_seconds + rng.uniform(EARLIEST_SECONDS, LATEST_SECONDS))
        by: Writer = "app" if rng.random() < 0.6 else "person"
        yield OtherWrite(at_seconds, customer, by, number, rng.choice(FIELDS[by]))
