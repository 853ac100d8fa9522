"""The payment intents of the simulated Stripe account, their charges, the e-mail receipts, and the invoices.

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
from sandbox.stripe.events import BY_STRIPE, By, Cause, Events
from sandbox.stripe.lists import newest_first, page
from sandbox.stripe.writes import Change

NEW = "requires_payment_method"
"""The status of a payment intent that has just begun."""
LATER = ("requires_action", "processing", "succeeded")
"""The statuses that a payment intent may have later, as far as the simulator knows them."""


@dataclass(frozen=True)
class Mail:
    """A receipt that Stripe mails in live mode."""

    payment_intent: str
    address: str


class Payments:
    """Payment intents and charges by id, their endpoints, and all mailed receipts in order."""

    def __init__(
        self, customers: Customers, events: Events, *, livemode: bool, clock: Callable[[], float], rng: random.Random
    ) -> None:
        """Use a `clock` of seconds since the epoch and an `rng` for the ids."""
        self.intents: dict[str, Json] = {}
        self.charges: dict[str, Json] = {}
        self.mails: list[Mail] = []
        self._customers = customers
        self._events = events
        self._livemode = livemode
        self._clock = clock
        self._random = rng

    def seed(self, *, succeeded_at: float | None = None, **fields: Any) -> Json:
        """Seed an old payment intent; that mails no receipt and makes no event.

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

    def begin(self, *, status: str = NEW, by: By = "app", **fields: Any) -> Json:
        """Begin a payment now, and bring it to `status` at once: requires_action, processing or succeeded.

        Raises:
            StripeError: no such customer.
            ValueError: a field that a payment intent does not have, or another status.
        """
        if fields.get("customer"):
            self._customers.present(fields["customer"], param="customer", status=400)
        cause = self._events.cause(by)
        begun = objects.with_fields(self._blank(fields.pop("id", None)), fields)
        if status != NEW and status not in LATER:
            raise ValueError(f"A payment_intent does not begin as {status}.")
        self.intents[begun["id"]] = begun
        self._events.record("payment_intent.created", begun, cause)
        return self._advance(begun, status, cause)

    def advance(self, payment_intent_id: str, status: str) -> Json:
        """Bring a payment intent to requires_action, processing or succeeded. Stripe does that by itself.

        A success makes a charge, and mails the receipt if there is an address. A succeeded one stays as it is.

        Raises:
            KeyError: no such payment intent.
            ValueError: another status.
        """
        if status not in LATER:
            raise ValueError(f"A payment_intent does not become {status}.")
        return self._advance(self.intents[payment_intent_id], status, BY_STRIPE)

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

    def _advance(self, before: Json, status: str, cause: Cause) -> Json:
        if status == before["status"] or before["status"] == "succeeded":
            return before
        if status != "succeeded":
            after = {**before, "status": status}
            self.intents[after["id"]] = after
            self._events.record(f"payment_intent.{status}", after, cause)
            return after
        after = self._paid(before, self._new_charge_id(), self._clock())
        self._events.record("charge.succeeded", self.charges[after["latest_charge"]], cause)
        self._events.record("payment_intent.succeeded", after, cause)
        return self._keep(after, before)

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
            self._mail(intent)
        return intent

    def _mail(self, intent: Json) -> None:
        self.mails.append(Mail(intent["id"], intent["receipt_email"]))
        before = self.charges[intent["latest_charge"]]
        # In Stripe, the address of a charge is the one that the receipt was sent to.
        after = {**before, "receipt_email": intent["receipt_email"]}
        if self._livemode:
            # In test mode a customer gets no receipt, so there is no number.
            after["receipt_number"] = before["receipt_number"] or _receipt_number(len(self.mails))
        self.charges[after["id"]] = after
        previous = {name: before[name] for name in before if before[name] != after[name]}
        if self._livemode and previous:
            self._events.record("charge.updated", after, BY_STRIPE, previous)


class Invoices:
    """The invoices by id in `stored`, and the payment intent of each in `payment_intents`.

    Stripe itself finalizes and pays them, so they have no endpoints. The payment begins when the invoice is finalized.
    As in Stripe, the invoice does not name it, because only an expanded `payments` would.
    """

    def __init__(self, customers: Customers, payments: Payments, events: Events, *, clock: Callable[[], float]) -> None:
        """Use a `clock` of seconds since the epoch."""
        self.stored: dict[str, Json] = {}
        self.payment_intents: dict[str, str] = {}
        self._customers = customers
        self._payments = payments
        self._events = events
        self._clock = clock

    def finalize(self, customer_id: str, *, amount: int = 1000) -> Json:
        """Finalize a new invoice of a customer, and begin its payment. It keeps the customer's present e-mail.

        The e-mail may be None; then Stripe mails no receipt of the invoice, even if the customer gets one later.

        Raises: StripeError if there is no such customer.
        """
        customer = self._customers.present(customer_id, param="customer", status=400)
        invoice_id = f"in_{len(self.stored):024d}"
        invoice = objects.invoice(invoice_id, customer, created=int(self._clock()), amount=amount)
        self.stored[invoice_id] = invoice
        self._events.record("invoice.finalized", invoice, BY_STRIPE)
        payment = self._payments.begin(by="stripe", customer=customer_id, amount=amount)
        self.payment_intents[invoice_id] = payment["id"]
        return invoice

    def pay(self, invoice_id: str) -> Json:
        """Pay an invoice by its payment intent. A paid one stays as it is. Raises: KeyError if there is no such one."""
        before = self.stored[invoice_id]
        if before["status"] == "paid":
            return before
        self._payments.advance(self.payment_intents[invoice_id], "succeeded")
        paid = {
            **before,
            "amount_paid": before["amount_due"],
            "amount_remaining": 0,
            "attempt_count": 1,
            "attempted": True,
            "status": "paid",
            "status_transitions": {**before["status_transitions"], "paid_at": int(self._clock())},
        }
        self.stored[invoice_id] = paid
        self._events.record("invoice.paid", paid, BY_STRIPE)
        return paid


def _receipt_number(count: int) -> str:
    return f"{1000 + count // 10_000}-{count % 10_000:04d}"
