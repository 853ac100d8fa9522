"""One Stripe account: its customers and payment intents, what the endpoints do, and the mails it would send.

Nothing in here knows of HTTP, keys or limits; a call is a name, an id from the path and validated parameters.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sandbox import stripe_objects as objects
from sandbox.stripe_errors import Json, StripeError, missing
from sandbox.stripe_lists import found, page, within

Operation = Callable[[str, Json], Json]

# Stripe says that its search is up to an hour behind during an outage: no older state is ever asked for.
_LONGEST_SEARCH_LAG_SECONDS = 3600.0


@dataclass(frozen=True)
class Mail:
    """A receipt that Stripe would have sent, in live mode."""

    payment_intent: str
    address: str


class Account:
    """The state of an account, and its endpoints by name in `operations`."""

    def __init__(self, *, livemode: bool, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self.customers: dict[str, Json] = {}
        self.payment_intents: dict[str, Json] = {}
        self.mails: list[Mail] = []
        self.livemode = livemode
        self.search_available = True
        self.search_lag_seconds = 0.0
        self._clock = clock
        self._random = random.Random(0)
        self.id = objects.new_id("acct", 16, self._random)
        self._versions: dict[str, list[tuple[float, Json]]] = {}
        self.operations: dict[str, Operation] = {
            "customers.create": self._create_customer,
            "customers.list": self._list_customers,
            "customers.search": self._search_customers,
            "customers.retrieve": self._retrieve_customer,
            "customers.update": self._update_customer,
            "customers.delete": self._delete_customer,
            "payment_intents.create": self._create_payment_intent,
            "payment_intents.list": self._list_payment_intents,
            "payment_intents.retrieve": self._retrieve_payment_intent,
            "payment_intents.update": self._update_payment_intent,
            "subscriptions.list": self._list_subscriptions,
            "subscription_schedules.list": self._list_schedules,
            "account.retrieve": lambda _id, _params: objects.account(self.id),
        }

    def seed_customer(self, **fields: Any) -> Json:
        """Put a customer in place that has long been there; `deleted=True` for one that is gone.

        Raises: ValueError for a field that a customer does not have.
        """
        customer_id = fields.pop("id", None) or objects.new_id("cus", 14, self._random)
        if fields.pop("deleted", False):
            seeded = objects.deleted_customer(customer_id)
        else:
            seeded = _with_fields(self._new_customer(customer_id), fields)
        return self._keep(seeded, since=float("-inf"))

    def seed_payment_intent(self, **fields: Any) -> Json:
        """Put a payment intent in place; it mails nothing, whatever its status.

        Raises: ValueError for a field that a payment intent does not have.
        """
        seeded = _with_fields(self._new_payment_intent(fields.pop("id", None)), fields)
        self.payment_intents[seeded["id"]] = seeded
        return seeded

    def succeed(self, payment_intent_id: str) -> Json:
        """Let a payment intent be paid, which mails the receipt if there is an address.

        Raises: KeyError when there is no such payment intent.
        """
        before = self.payment_intents[payment_intent_id]
        if before["status"] == "succeeded":
            return before
        paid = {
            "status": "succeeded",
            "amount_received": before["amount"],
            "latest_charge": objects.new_id("ch", 24, self._random),
        }
        return self._keep_payment_intent({**before, **paid}, before)

    def _create_customer(self, _id: str, params: Json) -> Json:
        blank = self._new_customer(objects.new_id("cus", 14, self._random))
        return self._keep(objects.with_changes(blank, params))

    def _retrieve_customer(self, customer_id: str, _params: Json) -> Json:
        if customer_id not in self.customers:
            raise missing("customer", customer_id)
        return self.customers[customer_id]

    def _update_customer(self, customer_id: str, params: Json) -> Json:
        return self._keep(objects.with_changes(self._present(customer_id), params))

    def _delete_customer(self, customer_id: str, _params: Json) -> Json:
        self._present(customer_id)
        return self._keep(objects.deleted_customer(customer_id))

    def _list_customers(self, _id: str, params: Json) -> Json:
        chosen = _newest_first(self.customers, params, "email")
        # Stripe keeps the customers of test clocks out of its lists.
        chosen = [customer for customer in chosen if customer["test_clock"] is None]
        return page(chosen, params, url="/v1/customers", kind="customer")

    def _search_customers(self, _id: str, params: Json) -> Json:
        if not self.search_available:
            raise StripeError(400, "Search is not available for merchants in your region.")
        return found(self._searchable(), params, url="/v1/customers/search")

    def _create_payment_intent(self, _id: str, params: Json) -> Json:
        if params.get("customer"):
            self._present(params["customer"], param="customer", status=400)
        blank = self._new_payment_intent(None)
        return self._keep_payment_intent(objects.with_changes(blank, params), blank)

    def _retrieve_payment_intent(self, payment_intent_id: str, _params: Json) -> Json:
        if payment_intent_id not in self.payment_intents:
            raise missing("payment_intent", payment_intent_id, param="intent")
        return self.payment_intents[payment_intent_id]

    def _update_payment_intent(self, payment_intent_id: str, params: Json) -> Json:
        before = self._retrieve_payment_intent(payment_intent_id, {})
        return self._keep_payment_intent(objects.with_changes(before, params), before)

    def _list_payment_intents(self, _id: str, params: Json) -> Json:
        self._check_filter(params)
        chosen = _newest_first(self.payment_intents, params, "customer")
        return page(chosen, params, url="/v1/payment_intents", kind="payment_intent")

    def _list_subscriptions(self, _id: str, params: Json) -> Json:
        self._check_filter(params)
        return page([], params, url="/v1/subscriptions", kind="subscription")

    def _list_schedules(self, _id: str, params: Json) -> Json:
        self._check_filter(params)
        return page([], params, url="/v1/subscription_schedules", kind="subscription_schedule")

    def _check_filter(self, params: Json) -> None:
        """A list by a customer who never was is refused; a deleted one still has its lists."""
        if "customer" in params and params["customer"] not in self.customers:
            raise missing("customer", params["customer"], param="customer")

    def _present(self, customer_id: str, *, param: str = "id", status: int = 404) -> Json:
        customer = self.customers.get(customer_id)
        if customer is None or customer.get("deleted"):
            raise missing("customer", customer_id, param=param, status=status)
        return customer

    def _new_customer(self, customer_id: str) -> Json:
        prefix = f"{self._random.randrange(16**8):08X}"
        return objects.customer(customer_id, created=int(self._clock()), livemode=self.livemode, invoice_prefix=prefix)

    def _new_payment_intent(self, payment_intent_id: str | None) -> Json:
        known = payment_intent_id or objects.new_id("pi", 24, self._random)
        return objects.payment_intent(known, created=int(self._clock()), livemode=self.livemode)

    def _keep(self, customer: Json, *, since: float | None = None) -> Json:
        now = self._clock()
        versions = self._versions.setdefault(customer["id"], [])
        versions.append((now if since is None else since, customer))
        while len(versions) > 1 and versions[1][0] <= now - _LONGEST_SEARCH_LAG_SECONDS:
            del versions[0]
        self.customers[customer["id"]] = customer
        return customer

    def _keep_payment_intent(self, intent: Json, before: Json) -> Json:
        """Store it, and mail a receipt where an address and a success have come together just now."""
        self.payment_intents[intent["id"]] = intent
        told = before["status"] == "succeeded" and before["receipt_email"] == intent["receipt_email"]
        if intent["status"] == "succeeded" and intent["receipt_email"] and not told:
            self.mails.append(Mail(intent["id"], intent["receipt_email"]))
        return intent

    def _searchable(self) -> list[Json]:
        if not self.search_lag_seconds:
            return _newest_first(self.customers, {})
        seen_until = self._clock() - self.search_lag_seconds
        indexed: dict[str, Json] = {}
        for customer_id, versions in self._versions.items():
            for since, version in versions:
                if since <= seen_until:
                    indexed[customer_id] = version
        return _newest_first(indexed, {})


def _newest_first(stored: dict[str, Json], params: Json, filter_by: str = "") -> list[Json]:
    """What is not deleted and passes the filters: `created`, and one field that has to be equal."""
    # Of the same second, the later one first: sorting keeps the order of equals.
    chosen = [item for item in reversed(stored.values()) if "deleted" not in item]
    if filter_by in params:
        chosen = [item for item in chosen if item[filter_by] == params[filter_by]]
    if "created" in params:
        chosen = [item for item in chosen if within(item["created"], params["created"])]
    chosen.sort(key=itemgetter("created"), reverse=True)
    return chosen


def _with_fields(blank: Json, fields: Json) -> Json:
    unknown = fields.keys() - blank.keys()
    if unknown:
        raise ValueError(f"A {blank['object']} has no {', '.join(sorted(unknown))}.")
    return {**blank, **fields}
