"""The whole schedule of a run, made from a seed before anything runs: every event and every fault, with its time.

Pure: no clock, no I/O, no randomness except the seed's. So a run with findings can be repeated.
"""

import json
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sandbox.faults import Kind
from tests.chaos.options import Options
from tests.chaos.others_plan import OtherWrite, calm_acts, customers_with_others, other_writes

SeedState = Literal["linked", "unclaimed", "unlinked", "lost-link", "gone"]
Stale = Literal["", "name", "email"]
Strike = Literal["kill", "term", "stop", "redis-stop", "redis-kill", "wake"]
Service = Literal["autumn", "stripe"]

LEASE_SECONDS: Final = 15.0
METADATA_KEYS: Final = 5
HOT_SHARE, HOT_TRAFFIC = 0.05, 0.6
"""This share of the customers gets this share of the events."""
STALE_SHARE: Final = 0.45
"""This share of the Stripe customers begins with a stale field: a third of all customers."""
WITH_NAME: Final = 0.7
"""This share of the changes has a name, whose number tells older from newer."""
KINDS: Final[tuple[Kind, ...]] = ("429", "500", "503", "hang", "cut", "lost", "garbage")
PROBABILITY: Final[dict[Kind, float]] = {
    "429": 0.08,
    "500": 0.06,
    "503": 0.06,
    "hang": 0.03,
    "cut": 0.05,
    "lost": 0.06,
    "garbage": 0.03,
}
ALL_BUT_CREATES: Final = ("GET ", "POST /v1/customers/")
"""The routes of Stripe that may answer 500. Stripe stores a 500 under the key of a create. The worker may use another
key only after the slowest search would show the customer: an hour, which no run has."""
WITHOUT_ANSWER: Final[frozenset[Kind]] = frozenset({"cut", "lost", "garbage"})
UPDATES_WITHOUT_ANSWER: Final = 0.3
"""The share of updates that get no answer in the phases without answers, in which all reads of Autumn get none. The
worker holds the slot of such an update for a minute. Without the limit, a few updates would use all slots and stop the
run."""
READS, UPDATES = "customers.get", "customers.update"
OUTAGE_EVERY_SECONDS, OUTAGE_SECONDS = 60.0, 2.0
OUTAGES: Final[tuple[Kind, ...]] = ("503", "cut")
PHASE_SECONDS: Final = 5.0
GARBAGE: Final[tuple[dict[str, str], ...]] = (
    {"changes": '{"name": "nobody"}'},
    {"customer_id": "not a customer", "changes": '{"name": "nobody"}'},
    {"customer_id": "{customer}", "changes": '{"name": '},
    {"customer_id": "{customer}", "changes": '{"nmae": "typo"}'},
    {"customer_id": "{customer}", "changes": '{"email": "no address"}'},
    {"customer_id": "{customer}", "changes": '{"name": "x"}', "No field": "blue"},
)


@dataclass(frozen=True)
class Seeded:
    """A customer that exists before the run, its link to Stripe, and its stale field.

    `is_calm`: it gets no events of apps. `has_receipts`: its receipts are on.
    """

    customer: str
    state: SeedState
    stale: Stale = ""
    is_calm: bool = False
    has_receipts: bool = False


@dataclass(frozen=True)
class Entry:
    """One entry for the inbox. `changes` is None for a reconcile. Garbage must become a dead letter."""

    at_seconds: float
    customer: str
    event_id: str
    fields: dict[str, str]
    changes: dict[str, Any] | None = None
    garbage: bool = False


@dataclass(frozen=True)
class Disturbance:
    """One blow. `worker` is the slot that is struck (None: all); `seconds` is its duration."""

    at_seconds: float
    strike: Strike
    worker: int | None = None
    seconds: float = 0.0
    customer: str = ""


@dataclass(frozen=True)
class FaultPhase:
    """A time in which a service has one kind of fault."""

    at_seconds: float
    seconds: float
    service: Service
    kind: Kind
    probability: float
    hang_seconds: float = 0.0
    route: str = ""
    times: int | None = None


@dataclass(frozen=True)
class Plan:
    """All planned actions, each list by time."""

    customers: tuple[Seeded, ...]
    entries: tuple[Entry, ...]
    disturbances: tuple[Disturbance, ...]
    phases: tuple[FaultPhase, ...]
    others: tuple[OtherWrite, ...]


def make_plan(options: Options) -> Plan:
    """Return the plan of these options. The same options give the same plan."""
    # One random source for each part, so fewer kills do not change the events.
    parts = ("customers", "entries", "disturbances", "faults", "stale", "others", "calm")
    seeds, traffic, blows, faults, stale, others, calm = (random.Random(f"{options.seed} {part}") for part in parts)
    names = [f"c{index}" for index in range(options.customers)]
    customers = tuple(_seeded(name, seeds, stale) for name in names)
    hot = _hot(names)
    quiet = [each.customer for each in customers if each.state in {"linked", "unclaimed"} and each.customer not in hot]
    shared = customers_with_others(quiet, others)
    entries = tuple(_Traffic(options, names, traffic, shared).entries())
    events = [(entry.at_seconds, entry.customer) for entry in entries if entry.customer in shared and not entry.garbage]
    calm_ones = tuple(_calm(index) for index in range(options.calm_customers))
    paying = {each.customer for each in calm_ones if each.has_receipts}
    acts = calm_acts(options, [each.customer for each in calm_ones], paying, calm)
    return Plan(
        customers=(*customers, *calm_ones),
        entries=(*entries, *(_first_reconcile(each) for each in calm_ones)),
        disturbances=_disturbances(options, names, blows),
        phases=tuple(_phases(options, faults)),
        others=(*other_writes(options, events, others), *acts),
    )


def _seeded(name: str, rng: random.Random, stale_rng: random.Random) -> Seeded:
    states: Sequence[SeedState] = ("linked", "unclaimed", "unlinked", "lost-link", "gone")
    state = rng.choices(states, (62, 8, 20, 5, 5))[0]
    fields: Sequence[Stale] = ("name", "email", "")
    stale = stale_rng.choices(fields, (STALE_SHARE / 2, STALE_SHARE / 2, 1 - STALE_SHARE))[0]
    return Seeded(name, state, "" if state in {"unlinked", "gone"} else stale)


def _calm(index: int) -> Seeded:
    return Seeded(f"calm{index}", "linked", is_calm=True, has_receipts=index % 3 != 0)


def _first_reconcile(seeded: Seeded) -> Entry:
    """Return the event for the first sync of a calm customer: it makes the link known, as a scan does."""
    event_id = f"first-{seeded.customer}"
    fields = {"customer_id": seeded.customer, "type": "customer.reconcile", "event_id": event_id}
    return Entry(0.0, seeded.customer, event_id, fields)


def _hot(names: Sequence[str]) -> Sequence[str]:
    """Return the customers with most of the events."""
    return names[: max(1, int(len(names) * HOT_SHARE))]


@dataclass
class _Traffic:
    """The generator of the events, one after the other."""

    options: Options
    names: list[str]
    rng: random.Random
    flags_elsewhere: Collection[str] = ()
    """The customers whose receipts flag other apps write."""
    sent: list[Entry] = field(default_factory=list)
    sequence: dict[str, int] = field(default_factory=dict)

    def entries(self) -> Iterator[Entry]:
        """Yield entries by time. Events of one customer often come in bursts."""
        times = sorted(self.rng.uniform(0, self.options.seconds) for _ in range(self.options.events))
        hot = _hot(self.names)
        burst, customer, at_seconds = 0, "", 0.0
        for index, planned_seconds in enumerate(times):
            if not burst:
                customer = self.rng.choice(hot if self.rng.random() < HOT_TRAFFIC else self.names)
                burst = self.rng.choices((1, self.rng.randint(2, 12)), (0.9, 0.1))[0]
                at_seconds = planned_seconds
            burst -= 1
            yield self._entry(index, at_seconds, customer)

    def _entry(self, index: int, at_seconds: float, customer: str) -> Entry:
        event_id = f"e{index}"
        chance = self.rng.random()
        if chance < 0.03 and self.sent:
            again = self.rng.choice(self.sent[-200:])
            return Entry(at_seconds, again.customer, again.event_id, again.fields, again.changes)
        if chance < 0.06:
            reconcile = {"customer_id": customer, "type": "customer.reconcile", "event_id": event_id}
            return Entry(at_seconds, customer, event_id, reconcile)
        if chance < 0.08:
            raw = {name: value.replace("{customer}", customer) for name, value in self.rng.choice(GARBAGE).items()}
            return Entry(at_seconds, customer, event_id, {**raw, "event_id": event_id}, garbage=True)
        changes = self._changes(customer)
        fields = {"customer_id": customer, "event_id": event_id, "changes": json.dumps(changes)}
        self.sent.append(Entry(at_seconds, customer, event_id, fields, changes))
        return self.sent[-1]

    def _changes(self, customer: str) -> dict[str, Any]:
        number = self.sequence[customer] = self.sequence.get(customer, 0) + 1
        changes: dict[str, Any] = {"name": f"{customer} {number}"} if self.rng.random() < WITH_NAME else {}
        if changes or self.rng.random() < 0.5:
            changes["metadata"] = {f"k{number % METADATA_KEYS}": number}
        if not changes or self.rng.random() < 0.15:
            changes["email"] = None if self.rng.random() < 0.15 else f"{customer}-{number}@example.com"
        if self.rng.random() < 0.1 and customer not in self.flags_elsewhere:
            changes["send_email_receipts"] = self.rng.random() < 0.5
        return changes


def _disturbances(options: Options, names: Sequence[str], rng: random.Random) -> tuple[Disturbance, ...]:
    def moment(first: float = 0.03) -> float:
        return rng.uniform(first, 0.97) * options.seconds

    def slot() -> int:
        return rng.randrange(options.workers)

    planned = []
    for index in range(options.kills):
        # Every eighth blow hits all workers at once, like a platform that goes down.
        struck = None if index % 8 == 7 else slot()
        planned.append(Disturbance(moment(), "term" if index % 3 == 2 else "kill", struck))
    for index in range(options.stops):
        # Longer than the lease, so the worker continues without it; or short, so it continues with it.
        seconds = LEASE_SECONDS + rng.uniform(0.5, 5.0) if index % 2 == 0 else rng.uniform(0.5, 4.0)
        latest = max(0.1 * options.seconds, 0.97 * options.seconds - seconds)
        planned.append(Disturbance(rng.uniform(0.03 * options.seconds, latest), "stop", slot(), seconds))
    for index in range(options.redis_restarts):
        strike: Strike = "redis-kill" if index % 2 == 0 else "redis-stop"
        planned.append(Disturbance(moment(0.1), strike, seconds=rng.uniform(0.1, 2.0)))
    hot = _hot(names)
    planned += [Disturbance(moment(), "wake", customer=rng.choice(hot)) for _ in range(options.doubled_wakeups)]
    return tuple(sorted(planned, key=lambda blow: blow.at_seconds))


def _phases(options: Options, rng: random.Random) -> Iterator[FaultPhase]:
    if not options.faults:
        return
    services: tuple[Service, ...] = ("autumn", "stripe")
    count = max(len(KINDS), int(options.seconds / PHASE_SECONDS))
    length = options.seconds / count
    for index in range(count):
        for place, service in enumerate(services):
            # Never both hang at a time: Autumn waits for Stripe, and the two together would outlast the worker.
            for kind in (KINDS[(index + 3 * place) % len(KINDS)], KINDS[(index + 3 * place + 2) % len(KINDS)]):
                probability = min(1.0, PROBABILITY[kind] * options.faults * rng.uniform(0.3, 1.0))
                hang = rng.uniform(0.4, 1.0) * options.hang_seconds
                hits_update = rng.random() < UPDATES_WITHOUT_ANSWER
                for route, times in _routes(service, kind, hits_update=hits_update):
                    yield FaultPhase(index * length, length, service, kind, probability, hang, route, times)
    for index in range(max(1, int(options.seconds / OUTAGE_EVERY_SECONDS))):
        begin = (index + rng.uniform(0.2, 0.8)) * min(OUTAGE_EVERY_SECONDS, options.seconds)
        service, kind = services[index % 2], rng.choice(OUTAGES)
        for route, _ in _routes(service, kind, hits_update=False):
            yield FaultPhase(begin, OUTAGE_SECONDS, service, kind, 1.0, route=route)


def _routes(service: Service, kind: Kind, *, hits_update: bool) -> Sequence[tuple[str, int | None]]:
    """Return the routes that a fault hits, and how often."""
    if service == "autumn" and kind in WITHOUT_ANSWER:
        return [(READS, None), *([(UPDATES, 1)] if hits_update else [])]
    if (service, kind) == ("stripe", "500"):
        return [(route, None) for route in ALL_BUT_CREATES]
    return [("", None)]
