"""The rules for a name or e-mail that somebody edited in Stripe. No I/O here.

Autumn copies such a value by its own webhook, usually within seconds. Until then Autumn shows the older value, so a
sync leaves the field alone. After `EDIT_SECONDS` without the webhook, a sync copies the value to Autumn itself, if
Autumn still shows the value before the edit. If it shows another one, somebody changed Autumn since.

A sync may overwrite an edit before the watch sees its event. Then only Autumn's webhook can bring the value back, so
rechecks go on until it comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from jobs.plan.customer import AutumnCustomer, StripeCustomer
from jobs.plan.profile import PROFILE, digest_of
from jobs.plan.recheck import Memory

EDIT_SECONDS: Final = 300.0
"""The time for which an edited value is left alone. Autumn's webhook usually takes seconds."""
AWAITED_SECONDS: Final = 3600.0
"""The time for which rechecks wait for the webhook of an edit that a sync overwrote."""


@dataclass(frozen=True)
class Edit:
    """A value that somebody wrote in Stripe, and when the watch saw it.

    `digest` and `before` are digests of the value and of the one before it (`digest_of`). `at` is in seconds since the
    epoch, on the clock of Redis. `written_at` is when the value was written, in whole seconds.
    """

    digest: str
    at: float
    before: str
    written_at: float = 0.0


@dataclass(frozen=True)
class Edits:
    """The edits of one customer's name and e-mail, by field.

    `now` is when the batch was taken, on the same clock. Autumn refused the values of the fields in `refused`.
    """

    by_field: Mapping[str, Edit]
    now: float
    refused: frozenset[str] = frozenset()
    keeps_unknown: bool = False
    """Whether only the watch requested the sync. Then it overwrites no name or e-mail in Stripe that no sync wrote: an
    edit may have been the reason, and its event may come later than another event of the customer."""

    def held(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, memory: Memory) -> frozenset[str]:
        """Return the fields to leave alone in Stripe: edits that Autumn will receive by webhook, or refuses."""
        edited = frozenset(
            name
            for name in self._shown(autumn, stripe, memory)
            if name in self.refused or self.now < self.by_field[name].at + EDIT_SECONDS
        )
        return edited | (self._unknown(autumn, stripe, memory) if self.keeps_unknown else frozenset())

    def overdue(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, memory: Memory) -> dict[str, JsonValue]:
        """Return the edited values to copy to Autumn, because its webhook did not come."""
        return {
            name: value
            for name, value in self._shown(autumn, stripe, memory).items()
            if self.now >= self.by_field[name].at + EDIT_SECONDS
            and digest_of(autumn.id, name, getattr(autumn, name)) == self.by_field[name].before
        }

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

    def _shown(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, memory: Memory) -> dict[str, JsonValue]:
        """Return the values that Stripe shows as they were edited, and that Autumn does not show.

        An edit does not count if Autumn shows a later one: a sync overwrote that one in Stripe, perhaps with the value
        of the earlier edit, and its webhook has come.
        """
        if stripe is None or stripe.id != autumn.stripe_id or stripe.owner not in {None, autumn.id}:
            return {}
        found: dict[str, JsonValue] = {}
        for name, edit in self.by_field.items():
            shown, ours = (digest_of(autumn.id, name, getattr(each, name)) for each in (stripe, autumn))
            if shown == edit.digest != ours and not memory.has_overwritten(name, ours, since=edit.written_at):
                found[name] = getattr(stripe, name)
        return found

    def _unknown(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, memory: Memory) -> frozenset[str]:
        """Return the fields with a value in Stripe that no sync wrote, unless Autumn shows the value of an edit."""
        if stripe is None:
            return frozenset()
        arrived = {
            name
            for name, edit in self.by_field.items()
            if digest_of(autumn.id, name, getattr(autumn, name)) == edit.digest
        }
        return frozenset(
            name
            for name in PROFILE
            if getattr(stripe, name) and name not in arrived and not memory.has_written(name, getattr(stripe, name))
        )
