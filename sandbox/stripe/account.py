"""One Stripe account: its customers, payments and invoices, and the function of each endpoint.

Nothing here knows about HTTP, keys or limits. A call has a name, an id from the path and validated parameters.
"""

import random
from collections.abc import Callable, Mapping

from sandbox.stripe import objects
from sandbox.stripe.customers import Customers
from sandbox.stripe.errors import Json
from sandbox.stripe.events import Events
from sandbox.stripe.lists import page
from sandbox.stripe.payments import Invoices, Payments
from sandbox.stripe.writes import Change

Read = Callable[[str, Json], Json]
Writing = Callable[[str, Json], Change]


class Account:
    """The state of an account, and its reading and writing endpoints by name."""

    def __init__(self, events: Events, *, livemode: bool, clock: Callable[[], float]) -> None:
        """Record in `events` what happens by itself. Use a `clock` that returns seconds since the epoch."""
        rng = random.Random(0)
        self.id = objects.new_id("acct", 16, rng)
        self.customers = Customers(livemode=livemode, clock=clock, rng=rng)
        self.payments = Payments(self.customers, events, livemode=livemode, clock=clock, rng=rng)
        self.invoices = Invoices(self.customers, self.payments, events, clock=clock)
        self.reads: dict[str, Read] = {
            "customers.list": self.customers.listed,
            "customers.search": self.customers.searched,
            "customers.retrieve": self.customers.retrieve,
            "payment_intents.list": self.payments.listed,
            "payment_intents.retrieve": self.payments.retrieve,
            "charges.list": self.payments.listed_charges,
            "charges.retrieve": self.payments.retrieve_charge,
            "events.list": events.listed,
            "events.retrieve": events.retrieve,
            "subscriptions.list": self._list_of_none("/v1/subscriptions", "subscription"),
            "subscription_schedules.list": self._list_of_none("/v1/subscription_schedules", "subscription_schedule"),
            "account.retrieve": lambda _id, _params: objects.account(self.id),
        }
        self.writes: dict[str, Writing] = {
            "customers.create": self.customers.create,
            "customers.update": self.customers.update,
            "customers.delete": self.customers.delete,
            "payment_intents.create": self.payments.create,
            "payment_intents.update": self.payments.update,
        }

    def _list_of_none(self, url: str, kind: str) -> Read:
        def listed(_id: str, params: Json) -> Json:
            self.customers.check_filter(params)
            return page([], params, url=url, kind=kind)

        return listed

    def about_others(self, answer: Json) -> Json:
        """Return the answer with another stored customer or payment intent in place of each one.

        The other one is the next in the order of creation. Empty lists and other answers stay the same.

        Raises: LookupError if the account has no other object of the kind.
        """
        if answer["object"] in {"list", "search_result"}:
            return {**answer, "data": [self.about_others(each) for each in answer["data"]]}
        stored = {"customer": self.customers.stored, "payment_intent": self.payments.intents}.get(answer["object"])
        return answer if stored is None else _next(answer["id"], stored)


def _next(object_id: str, stored: Mapping[str, Json]) -> Json:
    ids = list(stored)
    others = [*ids[ids.index(object_id) + 1 :], *ids[: ids.index(object_id)]]
    if not others:
        raise LookupError(f"There is no object except {object_id}.")
    return stored[others[0]]
