"""The checks of both sides after events. Each one knows one rule and returns its violations as findings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.audit.expected import Profile, RightValues, flat
from sandbox.audit.sides import Record, Sides

Service = Literal["Autumn", "Stripe"]
Damage = Literal[
    "lost",
    "stale",
    "reverted by an echo",
    "duplicate Stripe customers",
    "overlapping updates",
    "duplicate receipts",
]


@dataclass(frozen=True)
class WrongValue:
    """A field of one service that has none of its right values. Null and the empty text are the same."""

    service: Service
    field: str
    has: Any
    right: tuple[Any, ...]

    def __str__(self) -> str:
        """Return the field, its value and its right values as one clause."""
        right = " or ".join(repr(value) for value in self.right)
        return f"{self.field} in {self.service} is {self.has!r}, should be {right}"


@dataclass(frozen=True)
class Finding:
    """One violation, with the customer, event or payment that it is about."""

    damage: Damage
    about: str
    text: str
    value: WrongValue | None = None
    """The value, if a single field is wrong."""

    def __str__(self) -> str:
        """Return the text with what it is about, as one line."""
        return f"{self.about}: {self.text}"


def check_customer(
    customer_id: str, expected: Profile, sides: Sides, metadata_keys: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield each difference of both sides from the expected profile, and the faults of the link between them."""
    row = sides.autumn.get(customer_id)
    if row is None:
        yield Finding("stale", customer_id, "is not in Autumn")
        return
    yield from check_values(customer_id, "Autumn", row, expected.in_autumn())
    yield from check_link(customer_id, sides)
    stripe = sides.linked(customer_id)
    if stripe is not None:
        yield from check_values(customer_id, "Stripe", stripe, expected.in_stripe(customer_id, metadata_keys))


def check_values(
    about: str, service: Service, held: Record, right: RightValues, *, is_all_metadata: bool = True
) -> Iterator[Finding]:
    """Yield each field that has none of its right values; all other metadata must be absent if `is_all_metadata`."""
    values = flat(held)
    others = [name for name in values if name.startswith("metadata.") and name not in right]
    for name in [*right, *(others if is_all_metadata else [])]:
        allowed = tuple(_none_if_empty(value) for value in right.get(name, (None,)))
        if _none_if_empty(values.get(name)) not in allowed:
            wrong = WrongValue(service, name, values.get(name), allowed)
            yield Finding("stale", about, str(wrong), wrong)


def check_link(customer_id: str, sides: Sides) -> Iterator[Finding]:
    """Yield a finding if the customer is not linked to a living Stripe customer."""
    stripe_id = sides.autumn[customer_id]["stripe_id"]
    if not stripe_id:
        yield Finding("stale", customer_id, "is not linked to a Stripe customer")
    elif sides.living(stripe_id) is None:
        yield Finding("stale", customer_id, f"is linked to {stripe_id}, which is deleted or missing in Stripe")


def check_owners(sides: Sides) -> Iterator[Finding]:
    """Yield each Autumn id that more than one living Stripe customer carries."""
    owners = Counter(sides.owner(stripe_id) for stripe_id in sides.stripe)
    for owner, count in owners.items():
        if owner and count > 1:
            text = f"{count} Stripe customers carry this autumn_id"
            yield Finding("duplicate Stripe customers", owner, text)


def check_parallel_updates(most_by_customer: Mapping[str, int]) -> Iterator[Finding]:
    """Yield each customer with two updates at a time: Autumn has no lock, so one loses what the other wrote."""
    for customer_id, most in most_by_customer.items():
        if most > 1:
            yield Finding("overlapping updates", customer_id, f"had {most} parallel updates")


def check_receipts(mailed: Iterable[str]) -> Iterator[Finding]:
    """Yield each payment that has more than one e-mail receipt; `mailed` has the payment of each receipt."""
    for payment, count in Counter(mailed).items():
        if count > 1:
            yield Finding("duplicate receipts", payment, f"{count} receipts were mailed for one payment")


def check_outcomes(expected: Mapping[str, str], found: Mapping[str, str], *, absent: str) -> Iterator[Finding]:
    """Yield each event with another outcome than expected; `absent` is the outcome of one that has none recorded."""
    for event, outcome in expected.items():
        has = found.get(event, absent)
        if has != outcome:
            yield Finding("lost", event, f"expected outcome {outcome}, found {has}")


def check_echo(customer_id: str, changed: Mapping[str, tuple[Any, Any]], source: str) -> Iterator[Finding]:
    """Yield each field that Autumn copied from the webhook of a write that nobody but the worker caused."""
    for name, (before, after) in changed.items():
        text = f"{name} in Autumn was changed from {before!r} to {after!r} by {source}"
        yield Finding("reverted by an echo", customer_id, text)


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value
