"""One Stripe account: its customers and payments, and the function of each endpoint.

Nothing here knows about HTTP, keys or limits. A call has a name, an id from the path and validated parameters.
"""

import random
from collections.abc import Callable

from sandbox.stripe import objects
from sandbox.stripe.customers import Customers
from sandbox.stripe.errors import Json
from sandbox.stripe.lists import page
from sandbox.stripe.payments import Payments
from sandbox.stripe.writes import Change

Read = Callable[[str, Json], Json]
Writing = Callable[[str, Json], Change]


class Account:
    """The state of an account, and its reading and writing endpoints by name."""

    def __init__(self, *, livemode: bool, clock: Callable[[], float]) -> None:
        """Use a `clock` that returns seconds since the epoch."""
        rng = random.Random(0)
        self.id = objects.new_id("acct", 16, rng)
        self.customers = Customers(livemode=livemode, clock=clock, rng=rng)
        self.payments = Payments(self.customers, livemode=livemode, clock=clock, rng=rng)
        self.reads: dict[str, Read] = {
            "customers.list": self.customers.listed,
            "customers.search": self.customers.searched,
            "customers.retrieve": self.customers.retrieve,
            "payment_intents.list": self.payments.listed,
            "payment_intents.retrieve": self.payments.retrieve,
            "charges.list": self.payments.listed_charges,
            "charges.retrieve": self.payments.retrieve_charge,
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
