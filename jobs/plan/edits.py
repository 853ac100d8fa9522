"""The rules for a name or e-mail that somebody edited in Stripe. No I/O here.

Autumn copies such a value by its own webhook, usually within seconds. Until then Autumn shows the older value, so a
sync leaves the field alone. After `EDIT_SECONDS` without the webhook, a sync copies the value to Autumn itself.

A sync may overwrite an edit before the watch sees its event. Then only Autumn's webhook can bring the value back, so
rechecks go on until it comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from jobs.plan.customer import AutumnCustomer, StripeCustomer
from jobs.plan.profile import digest_of
from jobs.plan.recheck import Memory

EDIT_SECONDS: Final = 300.0
"""The time for which an edited value is left alone. Autumn's webhook usually takes seconds."""
AWAITED_SECONDS: Final = 3600.0
"""The time for which rechecks wait for the webhook of an edit that a sync overwrote."""


@dataclass(frozen=True)
class Edit:
    """A value that somebody wrote in Stripe: its digest (`digest_of`), and when the watch saw it.

    `at` is in seconds since the epoch, on the clock of Redis.
    """

    digest: str
    at: float


@dataclass(frozen=True)
class Edits:
    """The edits of one customer's name and e-mail, by field.

    `now` is when the batch was taken, on the same clock. Autumn refused the values of the fields in `refused`.
    """

    by_field: Mapping[str, Edit]
    now: float
    refused: frozenset[str] = frozenset()

    def held(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> frozenset[str]:
        """Return the fields to leave alone: Autumn will receive the edited value by webhook, or refuses it."""
        pending = self._pending(autumn, stripe)
        return frozenset(
            name for name in pending if name in self.refused or self.now < self.by_field[name].at + EDIT_SECONDS
        )

    def overdue(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> dict[str, JsonValue]:
        """Return the edited values to copy to Autumn, because its webhook did not come."""
        pending, held = self._pending(autumn, stripe), self.held(autumn, stripe)
        return {name: value for name, value in pending.items() if name not in held}

    def awaited(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, memory: Memory) -> frozenset[str]:
        """Return the fields in which a sync overwrote an edit whose webhook may still come: neither side shows it."""
        sides = [autumn] if stripe is None else [autumn, stripe]
        return frozenset(
            name
            for name, edit in self.by_field.items()
            if self.now < edit.at + AWAITED_SECONDS
            and memory.has_overwritten(name, edit.digest)
            and all(digest_of(autumn.id, name, getattr(side, name)) != edit.digest for side in sides)
        )

    def _pending(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> dict[str, JsonValue]:
        """Return the values that Stripe shows as they were edited, and that Autumn does not show."""
        if stripe is None or stripe.id != autumn.stripe_id or stripe.owner not in {None, autumn.id}:
            return {}
        found: dict[str, JsonValue] = {}
        for name, edit in self.by_field.items():
            shown, ours = (digest_of(autumn.id, name, getattr(each, name)) for each in (stripe, autumn))
            if shown == edit.digest != ours:
                found[name] = getattr(stripe, name)
        return found
