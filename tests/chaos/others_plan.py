"""The acts of other apps in Autumn and of people in Stripe's dashboard, planned so that the right result is certain.

The checker has to know the last value written on purpose. Two independent writers have an order only if one ends before
the other begins, so these rules hold:

1. The events of such a customer and the writes of others are one line. Another writer begins when every earlier event
   has its outcome and no sync of the customer runs. The next event is sent when that write has ended. So it never
   overlaps an update of the worker, which Autumn would lose because it has no lock. It also never writes a field of a
   waiting event.
2. No event waits for the webhook of another writer: the next event comes while that webhook is pending, so its late
   echo shows older values. The later write is the right one.
3. Two writes of others to one customer are further apart than the longest delay of a webhook, for any fields. A webhook
   has the whole profile, so no worker could distinguish two such webhooks that arrive in the wrong order.
4. Another writer comes only after the first sync of the customer. Before that, its write would announce the stale name
   or e-mail of the beginning, and no worker had a chance to repair it.
5. A value is unique, so no older value is ever written on purpose. The receipts flag has only two values, so either the
   events of a customer or other apps write it, never both.
6. A person empties a name or e-mail, removes our metadata or deletes the customer only while both sides agree.
   Otherwise Stripe alone may have the right value. None of these acts changes what is right, because Autumn does not
   copy an empty value.
7. If Stripe also announces writes that change nothing, every update of the worker has its own webhook. Then others
   write only when the webhooks of all earlier updates have arrived. After an edit in Stripe the next event waits for
   the webhook of the edit: it brings the edit to Autumn, and two pending webhooks have no certain order.
8. Nobody can know an edit whose event Stripe never made: it looks like drift. So it does not count as written. Others
   do not write while Stripe shows it, because the webhook of their write would bring it to Autumn.
   The event of a write of another app always comes, because a sync that trusts the watch cannot know of the write
   otherwise.
9. Calm customers get no events of apps, so only the watch can notice the acts of people on them. Their receipts flag
   never changes, so each of their payments needs its receipt. A customer's first payment begins only after its first
   sync and a due recheck have ended. Otherwise one of them would give the payment its address.

A recheck may begin while another writer writes. Then the worker may read half of a write. Such a write is repeated with
another value, see `others`.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.audit.expected import OWNER, RECEIPTS_FLAG
from tests.chaos.evidence import Act, Writer
from tests.chaos.options import Options

SHARE: Final = 0.3
"""This share of the customers that are linked from the start have other writers."""
SHARED_KEY, OWN_KEY, NOTE_KEY = "k0", "app0", "note"
"""Metadata keys: one that events also write, one of the apps, and one of Stripe's that people write."""
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
"""The fields that are written together."""
UNDONE: Final[dict[Act, tuple[tuple[str, ...], ...]]] = {
    "empty": (("name",), ("email",), ("name", "email")),
    "unmark": ((OWNER,), (RECEIPTS_FLAG,), (OWNER, RECEIPTS_FLAG)),
    "delete": ((),),
    "pay": ((),),
}
"""The fields that a person empties or removes together, by act."""
ACTS: Final[tuple[Act, ...]] = ("write", "empty", "unmark", "delete", "pay")
SHARED_ODDS, CALM_ODDS, PAYING_ODDS = (60, 15, 15, 10, 0), (30, 25, 25, 20, 0), (15, 15, 15, 10, 45)
"""The frequency of each of `ACTS`: to customers of apps, to calm ones, and to calm ones that pay."""
AT_ONCE: Final = 0.3
"""This share of the payments succeeds at once. The others take some seconds."""
PAID_SECONDS: Final = 25.0
"""The longest time of a payment. In a short run it is shorter: a sixth of the run."""
EARLIEST_SECONDS, LATEST_SECONDS = -1.5, 0.5
"""The distance of a write from an event of the same customer, so that the two meet."""
FIRST_SECONDS: Final = 5.0
"""The time for the first sync of the calm customers."""


@dataclass(frozen=True)
class OtherWrite:
    """An act of another writer. `number` is unique in the plan, `fields` are the written ones.

    `paid_seconds` is the time from the begin of a payment to its success. `is_withheld`: Stripe never makes its events.
    """

    at_seconds: float
    customer: str
    by: Writer
    number: int
    fields: tuple[str, ...]
    act: Act = "write"
    paid_seconds: float = 0.0
    is_withheld: bool = False

    def changes(self, attempt: int) -> dict[str, Any]:
        """Return the values to write, in the form of a request body. Those of a write differ at each attempt."""
        if self.act != "write":
            return _nested(dict.fromkeys(self.fields, ""))
        unique = f"{self.by}{self.number}.{attempt}"
        values: dict[str, Any] = {
            "name": f"{self.customer} {unique}",
            "email": f"{self.customer}-{unique}@example.com",
            "description": unique,
            "send_email_receipts": self.number % 2 == 0,
        }
        return _nested({name: values.get(name, unique) for name in self.fields})


def customers_with_others(linked: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """Return the customers that other apps and people write to, out of those that are linked from the start."""
    return tuple(rng.sample(list(linked), min(len(linked), max(1, round(SHARE * len(linked)))))) if linked else ()


def other_writes(options: Options, events: Sequence[tuple[float, str]], rng: random.Random) -> Iterator[OtherWrite]:
    """Return the writes. `events` are those of the customers with other writers, as (seconds, customer)."""
    first: dict[str, float] = {}
    for at_seconds, customer in events:
        first.setdefault(customer, at_seconds)
    later = [(at_seconds, customer) for at_seconds, customer in events if at_seconds > first[customer]]
    for number in range(options.other_writes if later else 0):
        event_seconds, customer = rng.choice(later)
        at_seconds = max(first[customer], event_seconds + rng.uniform(EARLIEST_SECONDS, LATEST_SECONDS))
        by: Writer = "app" if rng.random() < 0.6 else "person"
        act = rng.choices(ACTS, SHARED_ODDS)[0] if by == "person" else "write"
        fields = rng.choice(FIELDS[by] if act == "write" else UNDONE[act])
        is_withheld = by == "person" and rng.random() < options.withheld
        yield OtherWrite(at_seconds, customer, by, number, fields, act, is_withheld=is_withheld)


def calm_acts(
    options: Options, customers: Sequence[str], paying: Collection[str], rng: random.Random
) -> Iterator[OtherWrite]:
    """Return the acts on the calm customers. Those that are `paying` have their receipts on."""
    for number in range(options.calm_acts if customers else 0):
        customer = rng.choice(customers)
        at_seconds = rng.uniform(FIRST_SECONDS, max(FIRST_SECONDS, options.seconds))
        act = rng.choices(ACTS, PAYING_ODDS if customer in paying else CALM_ODDS)[0]
        fields = rng.choice(FIELDS["person"] if act == "write" else UNDONE[act])
        paid_seconds = 0.0 if rng.random() < AT_ONCE else rng.uniform(0.0, min(PAID_SECONDS, options.seconds / 6))
        is_withheld = rng.random() < options.withheld
        unique = options.other_writes + number
        yield OtherWrite(at_seconds, customer, "person", unique, fields, act, paid_seconds, is_withheld)


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name.removeprefix("metadata."): value for name, value in fields.items() if name.startswith("metadata.")}
    plain = {name: value for name, value in fields.items() if not name.startswith("metadata.")}
    return {**plain, "metadata": metadata} if metadata else plain
