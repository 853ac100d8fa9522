"""The acts of people in Stripe, and payments that begin, each with the drift that it leaves."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.audit.expected import flat
from sandbox.everything import Sandbox
from tests.chaos.drifts import PROFILE, Drifts
from tests.chaos.evidence import Drift
from tests.chaos.others_plan import OtherWrite

BEGIN: Final = ("requires_payment_method", "requires_action", "processing")


@dataclass
class People:
    """All people in Stripe's dashboard, and all who pay. `calm` are the customers that no app writes to."""

    box: Sandbox
    drifts: Drifts
    calm: frozenset[str] = frozenset()
    done: Counter[str] = field(default_factory=Counter)
    _withheld: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def act(self, planned: OtherWrite, changes: Mapping[str, Any]) -> bool:
        """Edit or delete the linked Stripe customer. Return whether Stripe never makes the event of it."""
        customer, stripe = planned.customer, self.box.stripe
        fields = flat(changes)
        shown = {name: value for name, value in fields.items() if name in PROFILE or planned.act != "write"}
        drift = self._drift(planned, shown)
        withheld = len(stripe.events.withheld_events)
        is_drift = bool(shown) or planned.act == "delete"
        with self._withholding(planned), self.drifts.of(drift) if is_drift else nullcontext():
            if planned.act == "delete":
                stripe.delete(drift.stripe_id)
            else:
                stripe.edit(drift.stripe_id, **changes)
        is_withheld = len(stripe.events.withheld_events) > withheld
        if is_withheld and planned.act == "write":
            self._withheld[customer] = shown
        return is_withheld

    def is_unknown_edit_shown(self, customer: str) -> bool:
        """Whether Stripe shows an edit that nobody can know, because its event was never made."""
        row = self.box.autumn.customers[customer]
        shown = self.box.stripe.customers.get(str(row["stripe_id"]), {})
        edits = self._withheld.get(customer, {})
        return any(shown.get(name) == value != row[name] for name, value in edits.items())

    def is_beyond_the_watch(self, customer: str) -> bool:
        """Whether a calm customer has drift that only the scan can notice. It never comes to rest before."""
        return any(each.is_withheld and each.act != "pay" for each in self.drifts.of_calm(customer))

    async def pay(self, planned: OtherWrite) -> None:
        """Begin a payment of the customer, and let it succeed some time later."""
        stripe = self.box.stripe
        drift = self._drift(planned, {})
        if stripe.customers[drift.stripe_id].get("deleted"):
            self.done["payments left out"] += 1
            return
        status = BEGIN[planned.number % len(BEGIN)] if planned.paid_seconds else "succeeded"
        with self._withholding(planned), self.drifts.of(drift):
            drift.intent = stripe.begin_payment(customer=drift.stripe_id, status=status)["id"]
        await asyncio.sleep(planned.paid_seconds)
        with self._withholding(planned), self.drifts.of(drift):
            stripe.succeed(drift.intent)
        self.drifts.paid.add(drift.intent)
        self.done["payments"] += 1

    @contextmanager
    def _withholding(self, planned: OtherWrite) -> Iterator[None]:
        """Let Stripe make no event in the block, or each one, as planned. The block must not wait for anything."""
        events = self.box.stripe.events
        before, events.withheld = events.withheld, 1.0 if planned.is_withheld else 0.0
        try:
            yield
        finally:
            events.withheld = before

    def _drift(self, planned: OtherWrite, shown: Mapping[str, Any]) -> Drift:
        stripe_id = str(self.box.autumn.customers[planned.customer]["stripe_id"])
        is_calm = planned.customer in self.calm
        return Drift(planned.customer, stripe_id, planned.act, time.time(), shown, is_calm=is_calm)
