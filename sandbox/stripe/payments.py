"""The payment intents of the simulated Stripe account, their charges, and the e-mail receipts.

Nothing here knows about HTTP, keys or limits. Each endpoint is a method that takes the id from the path and the
validated parameters.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.customers import Customers
from sandbox.stripe.errors import Json, missing
from sandbox.stripe.lists import newest_first, page
from sandbox.stripe.writes import Change


@dataclass(frozen=True)
class Mail:
    """A receipt that Stripe mails in live mode."""

    payment_intent: str
    address: str


class Payments:
    """Payment intents and charges by id, their endpoints, and all mailed receipts in order."""

    def __init__(self, customers: Customers, *, livemode: bool, clock: Callable[[], float], rng: random.Random) -> None:
        """Use a `clock` of seconds since the epoch and an `rng` for the ids."""
        self.intents: dict[str, Json] = {}
        self.charges: dict[str, Json] = {}
        self.mails: list[Mail] = []
        self._customers = customers
        self._livemode = livemode
        self._clock = clock
        self._random = rng

    def seed(self, *, succeeded_at: float | None = None, **fields: Any) -> Json:
        """Seed a payment intent; that mails no receipt.

        A succeeded one gets a charge. It was created at `succeeded_at`, in seconds since the epoch, or with the intent.

        Raises: ValueError for a field that a payment intent does not have, or a `succeeded_at` without success.
        """
        seeded = objects.with_fields(self._blank(fields.pop("id", None)), fields)
        if seeded["status"] == "succeeded":
            paid_at = seeded["created"] if succeeded_at is None else succeeded_at
            seeded = self._paid(seeded, seeded["latest_charge"] or self._new_charge_id(), paid_at)
        elif succeeded_at is not None:
            raise ValueError(f"A payment_intent that is {seeded['status']} has no succeeded_at.")
        self.intents[seeded["id"]] = seeded
        return seeded

    def succeed(self, payment_intent_id: str) -> Json:
        """Pay a payment intent, which mails the receipt if there is an address.

        Raises: KeyError if there is no such payment intent.
        """
        before = self.intents[payment_intent_id]
        if before["status"] == "succeeded":
            return before
        return self._keep(self._paid(before, self._new_charge_id(), self._clock()), before)

    def expanded(self, answer: Json, paths: Sequence[str]) -> Json:
        """Return a copy of the answer with the charges of `paths` in place of their ids."""
        if "data.latest_charge" in paths:
            return {**answer, "data": [self._with_charge(intent) for intent in answer["data"]]}
        return self._with_charge(answer) if "latest_charge" in paths else answer

    def create(self, _id: str, params: Json) -> Change:
        """Serve `POST /v1/payment_intents`. Raises: StripeError for no such customer, or too much metadata."""
        if params.get("customer"):
            self._customers.present(params["customer"], param="customer", status=400)
        blank = self._blank(None)
        # An amount and a currency are required, so the values of the blank object are not earlier values.
        before = {**blank, "amount": None, "currency": None}
        return Change(before, self._keep(objects.with_changes(blank, params), blank))

    def retrieve(self, payment_intent_id: str, _params: Json) -> Json:
        """Serve `GET /v1/payment_intents/{id}`. Raises: StripeError if there is none."""
        return self._present(payment_intent_id)

    def update(self, payment_intent_id: str, params: Json) -> Change:
        """Serve `POST /v1/payment_intents/{id}`. Raises: StripeError for no such intent, or too much metadata."""
        before = self._present(payment_intent_id)
        return Change(before, self._keep(objects.with_changes(before, params), before))

    def listed(self, _id: str, params: Json) -> Json:
        """Serve `GET /v1/payment_intents`. Raises: StripeError for an invalid limit, cursor or customer."""
        self._customers.check_filter(params)
        chosen = newest_first(self.intents, params, "customer")
        return page(chosen, params, url="/v1/payment_intents", kind="payment_intent")

    def listed_charges(self, _id: str, params: Json) -> Json:
        """Serve `GET /v1/charges`. Raises: StripeError for an invalid limit, cursor or customer."""
        self._customers.check_filter(params)
        chosen = newest_first(self.charges, params, "customer")
        if "payment_intent" in params:
            chosen = [charge for charge in chosen if charge["payment_intent"] == params["payment_intent"]]
        return page(chosen, params, url="/v1/charges", kind="charge")

    def retrieve_charge(self, charge_id: str, _params: Json) -> Json:
        """Serve `GET /v1/charges/{id}`. Raises: StripeError if there is none."""
        if charge_id not in self.charges:
            raise missing("charge", charge_id)
        return self.charges[charge_id]

    def _present(self, payment_intent_id: str) -> Json:
        if payment_intent_id not in self.intents:
            raise missing("payment_intent", payment_intent_id, param="intent")
        return self.intents[payment_intent_id]

    def _blank(self, payment_intent_id: str | None) -> Json:
        known = payment_intent_id or objects.new_id("pi", 24, self._random)
        return objects.payment_intent(known, created=int(self._clock()), livemode=self._livemode)

    def _new_charge_id(self) -> str:
        return objects.new_id("ch", 24, self._random)

    def _paid(self, intent: Json, charge_id: str, at: float) -> Json:
        """Return the intent after its success. The charge is stored; the caller stores the intent."""
        self.charges[charge_id] = objects.charge(charge_id, intent, created=int(at))
        received = intent["amount_received"] or intent["amount"]
        return {**intent, "status": "succeeded", "amount_received": received, "latest_charge": charge_id}

    def _with_charge(self, intent: Json) -> Json:
        # A seeded failure has the id of a charge, but no charge.
        charge_id = intent["latest_charge"]
        return {**intent, "latest_charge": self.charges.get(charge_id, charge_id)}

    def _keep(self, intent: Json, before: Json) -> Json:
        """Store an intent, and mail a receipt if it now has both an address and a success."""
        self.intents[intent["id"]] = intent
        was_mailed = before["status"] == "succeeded" and before["receipt_email"] == intent["receipt_email"]
        if intent["status"] == "succeeded" and intent["receipt_email"] and not was_mailed:
            self.mails.append(Mail(intent["id"], intent["receipt_email"]))
            # In Stripe, the address of a charge is the one that the receipt was sent to.
            paid = self.charges[intent["latest_charge"]]
            self.charges[paid["id"]] = {**paid, "receipt_email": intent["receipt_email"]}
        return intent
