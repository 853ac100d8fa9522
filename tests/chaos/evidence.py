"""What a run leaves behind for the checker, and what the checker says. Data only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from sandbox.autumn import Call as AutumnCall
from sandbox.stripe import Call as StripeCall
from sandbox.stripe_payments import Mail

Damage = Literal[
    "lost",
    "stale",
    "duplicate Stripe customers",
    "overlapping updates",
    "duplicate receipts",
    "out-of-order effects",
    "too many in flight",
]
DAMAGES: Final[tuple[Damage, ...]] = get_args(Damage)


@dataclass(frozen=True)
class Profile:
    """What a customer is expected to be, from what was there and what was said since."""

    name: str | None
    email: str | None
    send_email_receipts: bool
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """One event that Redis accepted. `changes` is None for a reconcile; garbage has to become a dead letter."""

    customer: str
    event_id: str
    changes: Mapping[str, Any] | None = None
    garbage: bool = False


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end. `sent` is in stream order; the seeds are the customers as they were before.

    `outcomes` is the status by event id, `dead` are the dead letters' fields.
    """

    seeds: Mapping[str, Profile]
    sent: Sequence[Sent]
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


@dataclass(frozen=True)
class Finding:
    """One piece of damage, with what is needed to look into it."""

    damage: Damage
    about: str
    text: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.damage}: {self.about}: {self.text}"


@dataclass(frozen=True)
class Verdict:
    """What the checker found."""

    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[Damage, int]:
        """How many findings there are of each damage, zeros included."""
        found = Counter(finding.damage for finding in self.findings)
        return {damage: found[damage] for damage in DAMAGES}
