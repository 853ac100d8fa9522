"""The demo's everyday traffic: many customers with a few changes each, one with a burst, duplicates and bad events.

Purely computational, no I/O here: the same seed gives the same traffic. Code that sends events or checks results
belongs elsewhere.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final

from sandbox.audit.expected import Profile
from sandbox.demo.world import APPLIED, DUPLICATE, Changes, Entry, InStripe, SeededCustomer, Traffic, entry_of

LINKED: Final = 12
LINK_LOST: Final = 2
"""Customers that are not linked in Autumn, although a Stripe customer has their id."""
NEW: Final = 3
STRANGERS: Final = 2
FURTHER: Final = 91
BURST: Final = 100
DUPLICATES: Final = 8
FIRST_SECONDS: Final = 1.0
TRAFFIC_SECONDS: Final = 2.0
BURST_AT_SECONDS: Final = 1.0
BURST_SECONDS: Final = 0.5

_FIRST = "Ada Bruno Chidi Dana Emeka Freya Goran Hana Ines Jürgen Kofi Lena Mateo Noémie Omar Priya Åsa Tariq Vera Zoë"
_LAST = (
    "Almeida Baker Castillo Dubois Eriksson Fischer Garcia Haddad Ito Jensen Kowalski Lindqvist Moreau Nakamura Okafor"
)
_PLANS = ("free", "pro", "team", "scale")


def make_traffic(seed: int) -> Traffic:
    """Return the traffic of a seed."""
    random = Random(seed)
    customers = tuple(_customer(random, number) for number in range(LINKED + LINK_LOST + NEW))
    # They have the address of a new customer: an equal address must not link the two.
    strangers = tuple(
        InStripe(f"cus_sandboxother{number}", _name(random), seeded.profile.email or "")
        for number, seeded in enumerate(customers[-STRANGERS:])
    )
    writer = _Writer(random, {seeded.customer_id: seeded.profile for seeded in customers})
    for at_seconds, customer_id, kind in sorted(_moments(random, customers)):
        writer.write(at_seconds, customer_id, kind)
    return Traffic(customers, tuple(writer.entries), writer.profiles, strangers)


def _customer(random: Random, number: int) -> SeededCustomer:
    customer_id = f"user_{1001 + number}"
    name = _name(random)
    profile = Profile(name, _email(random, name), random.random() < 0.5, {"plan": random.choice(_PLANS), "trial": True})
    if number >= LINKED + LINK_LOST:
        return SeededCustomer(customer_id, profile)
    linked = number < LINKED
    carries_id = not linked or number % 2 == 0
    older = InStripe(
        id=f"cus_sandbox{1001 + number}",
        name=name if number % 3 else _name(random),
        email=f"old.{profile.email}",
        metadata={"autumn_id": customer_id} if carries_id else {},
    )
    return SeededCustomer(customer_id, profile, older.id if linked else None, (older,))


def _moments(random: Random, customers: tuple[SeededCustomer, ...]) -> list[tuple[float, str, str]]:
    """Return the time, customer and kind of each event. Each customer has one or more; one has a burst."""
    moments = []
    for number, seeded in enumerate(customers):
        known = "reconcile" if number % 5 == 0 else random.choice(_MANY)
        moments.append((random.uniform(0.0, FIRST_SECONDS), seeded.customer_id, known if seeded.stripe else "joined"))
    for _ in range(FURTHER):
        customer_id = customers[int(len(customers) * random.random() ** 3)].customer_id
        moments.append((random.uniform(0.5, TRAFFIC_SECONDS), customer_id, random.choice(_MANY)))
    for number in range(BURST):
        at_seconds = BURST_AT_SECONDS + BURST_SECONDS * number / BURST
        moments.append((at_seconds, customers[1].customer_id, random.choice(_MANY)))
    for kind in [*["again"] * DUPLICATES, *_BAD, *_BAD]:
        at_seconds = random.uniform(BURST_AT_SECONDS, TRAFFIC_SECONDS)
        moments.append((at_seconds, random.choice(customers).customer_id, kind))
    return moments


def _name(random: Random) -> str:
    return f"{random.choice(_FIRST.split())} {random.choice(_LAST.split())}"


def _email(random: Random, name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return f"{plain.lower().replace(' ', '.')}.{random.randrange(1000, 10_000)}@example.com"


def _new_address(random: Random, profile: Profile) -> Changes:
    return {"email": _email(random, profile.name or "no name")}


def _new_name(random: Random, _: Profile) -> Changes:
    return {"name": _name(random)}


def _cleared_name(_: Random, __: Profile) -> Changes:
    return {"name": None}


def _flipped_receipts(_: Random, profile: Profile) -> Changes:
    return {"send_email_receipts": not profile.send_email_receipts}


def _new_metadata(random: Random, _: Profile) -> Changes:
    trial = {"trial": None} if random.random() < 0.3 else {}
    return {"metadata": {"plan": random.choice(_PLANS), "seats": random.randrange(1, 50), **trial}}


def _whole_profile(_: Random, profile: Profile) -> Changes:
    return {
        "name": profile.name,
        "email": profile.email,
        "send_email_receipts": profile.send_email_receipts,
        "metadata": dict(profile.metadata),
    }


_KINDS: Final[dict[str, Callable[[Random, Profile], Changes]]] = {
    "e-mail": _new_address,
    "name": _new_name,
    "name cleared": _cleared_name,
    "receipts": _flipped_receipts,
    "metadata": _new_metadata,
    "joined": _whole_profile,
}
_MANY: Final = ("e-mail",) * 6 + ("name",) * 5 + ("receipts",) * 5 + ("metadata",) * 6 + ("name cleared",)
_BAD: Final[dict[str, tuple[Changes, str]]] = {
    "unknown change": ({"name": "Not To Be Seen", "emial": "ann@example.com"}, "invalid_event"),
    "wrong e-mail": ({"name": "Not To Be Seen", "email": "ann at example.com"}, "invalid_event"),
    "unknown customer": ({"name": "Nobody"}, "customer_not_found"),
    "no customer_id": ({"name": "Nobody"}, "invalid_event"),
}


class _Writer:
    """Writes entries in order, and keeps the expected profile of each customer."""

    def __init__(self, random: Random, profiles: Mapping[str, Profile]) -> None:
        self.entries: list[Entry] = []
        self.profiles = dict(profiles)
        self._random = random

    def write(self, at_seconds: float, customer_id: str, kind: str) -> None:
        """Add one entry."""
        if kind == "again":
            self._add_duplicate(at_seconds)
        elif kind in _BAD:
            self._add_bad(at_seconds, customer_id, kind)
        elif kind == "reconcile":
            fields = {"customer_id": customer_id, "type": "customer.reconcile"}
            self._add(Entry(at_seconds, fields, APPLIED, kind))
        else:
            changes = _KINDS[kind](self._random, self.profiles[customer_id])
            self.profiles[customer_id] = self.profiles[customer_id].after(changes)
            turned = {"receipts": " on" if changes.get("send_email_receipts") else " off"}.get(kind, "")
            self._add(entry_of(at_seconds, customer_id, changes, kind + turned))

    def _add(self, entry: Entry) -> None:
        # Apps may leave the event_id out.
        named = {"event_id": f"evt_{len(self.entries):04d}"} if self._random.random() < 0.7 else {}
        self.entries.append(replace(entry, fields={**entry.fields, **named}))

    def _add_duplicate(self, at_seconds: float) -> None:
        """Send an earlier event again. A worker that applies it twice brings old values back."""
        known = [entry for entry in self.entries if entry.outcome == APPLIED and "event_id" in entry.fields]
        first = self._random.choice(known)
        self.entries.append(replace(first, at_seconds=at_seconds, outcome=DUPLICATE, about=f"{first.about}, again"))

    def _add_bad(self, at_seconds: float, customer_id: str, kind: str) -> None:
        changes, reason = _BAD[kind]
        if kind == "unknown customer":
            customer_id = f"user_{9001 + len(self.entries)}"
        bad = entry_of(at_seconds, customer_id, changes, kind, reason)
        if kind == "no customer_id":
            bad = replace(bad, fields={"changes": bad.fields["changes"]})
        self._add(bad)
