"""The payment intents of the simulated Stripe account, and the receipts that Stripe would mail for them.

Nothing in here knows of HTTP, keys or limits; what an endpoint does is a method that takes the id from the path
and the validated parameters.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox import stripe_objects as objects
from sandbox.stripe_customers import Customers
from sandbox.stripe_errors import Json, missing
from sandbox.stripe_lists import newest_first, page


@dataclass(frozen=True)
class Mail:
    """A receipt that Stripe would have sent, in live mode."""

    payment_intent: str
    address: str


class Payments:
    """The payment intents by id in `intents`, their endpoints, and each receipt in `mails`, in order."""

    def __init__(self, customers: Customers, *, livemode: bool, clock: Callable[[], float], rng: random.Random) -> None:
        """`clock` gives seconds since the epoch, `rng` what the ids are made of."""
        self.intents: dict[str, Json] = {}
        self.mails: list[Mail] = []
        self._customers = customers
        self._livemode = livemode
        self._clock = clock
        self._random = rng

    def seed(self, **fields: Any) -> Json:
        """Put a payment intent in place; it mails nothing, whatever its status.

        Raises: ValueError for a field that a payment intent does not have.
        """
        seeded = objects.with_fields(self._blank(fields.pop("id", None)), fields)
        self.intents[seeded["id"]] = seeded
        return seeded

    def succeed(self, payment_intent_id: str) -> Json:
        """Let a payment intent be paid, which mails the receipt if there is an address.

        Raises: KeyError when there is no such payment intent.
        """
        before = self.intents[payment_intent_id]
        if before["status"] == "succeeded":
            return before
        paid = {
            "status": "succeeded",
            "amount_received": before["amount"],
            "latest_charge": objects.new_id("ch", 24, self._random),
        }
        return self._keep({**before, **paid}, before)

    def create(self, _id: str, params: Json) -> Json:
        """`POST /v1/payment_intents`. Raises: StripeError for no such customer, or too much metadata."""
        if params.get("customer"):
            self._customers.present(params["customer"], param="customer", status=400)
        blank = self._blank(None)
        return self._keep(objects.with_changes(blank, params), blank)

    def retrieve(self, payment_intent_id: str, _params: Json) -> Json:
        """`GET /v1/payment_intents/{id}`. Raises: StripeError when there is none."""
        return self._present(payment_intent_id)

    def update(self, payment_intent_id: str, params: Json) -> Json:
        """`POST /v1/payment_intents/{id}`. Raises: StripeError for no such intent, or too much metadata."""
        before = self._present(payment_intent_id)
        return self._keep(objects.with_changes(before, params), before)

    def listed(self, _id: str, params: Json) -> Json:
        """`GET /v1/payment_intents`. Raises: StripeError for a limit, a cursor or a customer that is none."""
        self._customers.check_filter(params)
        chosen = newest_first(self.intents, params, "customer")
        return page(chosen, params, url="/v1/payment_intents", kind="payment_intent")

    def _present(self, payment_intent_id: str) -> Json:
        if payment_intent_id not in self.intents:
            raise missing("payment_intent", payment_intent_id, param="intent")
        return self.intents[payment_intent_id]

    def _blank(self, payment_intent_id: str | None) -> Json:
        known = payment_intent_id or objects.new_id("pi", 24, self._random)
        return objects.payment_intent(known, created=int(self._clock()), livemode=self._livemode)

    def _keep(self, intent: Json, before: Json) -> Json:
        """Store it, and mail a receipt where an address and a success have come together just now."""
        self.intents[intent["id"]] = intent
        told = before["status"] == "succeeded" and before["receipt_email"] == intent["receipt_email"]
        if intent["status"] == "succeeded" and intent["receipt_email"] and not told:
            self.mails.append(Mail(intent["id"], intent["receipt_email"]))
        return intent
