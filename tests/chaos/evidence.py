"""The evidence of a run for the checker, and the checker's findings. Data only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from sandbox.audit.checks import Damage as AuditDamage
from sandbox.audit.expected import Profile
from sandbox.autumn.server import Call as AutumnCall
from sandbox.stripe.payments import Mail
from sandbox.stripe.server import Call as StripeCall
from sandbox.stripe.writes import Write

Writer = Literal["app", "person"]
"""Another app that updates Autumn itself, or a person who edits in Stripe's dashboard."""
Act = Literal["write", "empty", "unmark", "delete", "pay"]
"""An act of another writer: write values; in Stripe, also empty a name or e-mail, remove a key of our metadata, delete
the customer, or begin a payment."""
OfTheRun = Literal[
    "undone edits",
    "missing receipts",
    "out-of-order effects",
    "too many in flight",
    "over a rate limit",
    "not settled",
    "does not stop",
    "broke off",
]
"""The damage that only a run can show. The audit finds the rest on both sides."""
Damage = AuditDamage | OfTheRun
DAMAGES: Final[tuple[Damage, ...]] = (*get_args(AuditDamage), *get_args(OfTheRun))


@dataclass(frozen=True)
class Sent:
    """One event that Redis accepted. `changes` is None for a reconcile. Garbage must become a dead letter."""

    customer: str
    event_id: str
    changes: Mapping[str, Any] | None = None
    garbage: bool = False
    at: float = 0.0
    """The time in seconds since the epoch."""


@dataclass(frozen=True)
class Written:
    """One complete write of another writer: Autumn's fields for an app, Stripe's for a person.

    `is_withheld`: Stripe never made the event of it.
    """

    customer: str
    by: Writer
    changes: Mapping[str, Any]
    act: Act = "write"
    is_withheld: bool = False


@dataclass
class Drift:
    """An act of a person in Stripe, or a payment that began, and what was observed of it.

    `shown` are the written name and e-mail, or the names of the fields that were emptied or removed. `events` are the
    ids of its events that Stripe made. `is_calm`: no app writes to the customer. All times are in seconds since the
    epoch, and None if it never happened:

    - `noticed_at`: the watch has noted one of the events. `was_idle`: no sync of the customer ran then.
    - `agreed_at`: both sides agreed again, or the payment had its address.
    """

    customer: str
    stripe_id: str
    act: Act
    at: float
    shown: Mapping[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    intent: str = ""
    is_calm: bool = True
    noticed_at: float | None = None
    was_idle: bool = False
    agreed_at: float | None = None

    @property
    def is_withheld(self) -> bool:
        """Whether Stripe never made an event of it."""
        return not self.events


@dataclass(frozen=True)
class Copied:
    """The fields that Autumn copied from a webhook, as (before, after).

    `is_own`: an update of the worker caused the announced write, and no other writer did.
    """

    customer: str
    changed: Mapping[str, tuple[Any, Any]]
    is_own: bool = False


@dataclass(frozen=True)
class Evidence:
    """The state at one moment without activity. The seeds are the customers as they were before the run.

    `history` is, for each customer, in the order in which writes took effect. `outcomes` is the status by event id,
    `dead` are the dead letters' fields. `copied` is in order. `copied_keys` are the metadata keys that the worker
    copies to Stripe. `announces_all`: Stripe also announced writes that changed nothing. `drifts` are in order.
    """

    seeds: Mapping[str, Profile]
    history: Sequence[Sent | Written]
    outcomes: Mapping[str, str]
    dead: Sequence[Mapping[str, str]]
    autumn: Mapping[str, Mapping[str, Any]]
    stripe: Mapping[str, Mapping[str, Any]]
    autumn_calls: Sequence[AutumnCall]
    stripe_calls: Sequence[StripeCall]
    mails: Sequence[Mail]
    max_parallel_updates: Mapping[str, int]
    max_updates_in_flight: int
    allowed_in_flight: int
    copied: Sequence[Copied] = ()
    copied_keys: Sequence[str] = ()
    announces_all: bool = False
    stripe_writes: Sequence[Write] = ()
    drifts: Sequence[Drift] = ()
    paid: frozenset[str] = frozenset()
    """The payment intents that have succeeded."""

    @property
    def sent(self) -> list[Sent]:
        """The events of the history."""
        return [each for each in self.history if isinstance(each, Sent)]


@dataclass(frozen=True)
class Finding:
    """One piece of damage, with the data to investigate it."""

    damage: Damage
    about: str
    text: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.damage}: {self.about}: {self.text}"


@dataclass(frozen=True)
class Verdict:
    """The findings."""

    findings: tuple[Finding, ...] = ()

    @property
    def counts(self) -> dict[Damage, int]:
        """The number of findings of each damage, zeros included."""
        found = Counter(finding.damage for finding in self.findings)
        return {damage: found[damage] for damage in DAMAGES}
