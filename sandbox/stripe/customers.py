"""The customers of the simulated Stripe account, and the search that trails behind them.

Nothing in here knows of HTTP, keys or limits; what an endpoint does is a method that takes the id from the path
and the validated parameters.
"""

import random
from collections.abc import Callable
from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.errors import Json, StripeError, missing
from sandbox.stripe.lists import found, newest_first, page
from sandbox.stripe.writes import Change

# Stripe says that its search is up to an hour behind during an outage: no older state is ever asked for.
_LONGEST_SEARCH_LAG_SECONDS = 3600.0


class Customers:
    """The customers by id in `stored`, and their endpoints; of a deleted one only id, object and deleted are left."""

    def __init__(self, *, livemode: bool, clock: Callable[[], float], rng: random.Random) -> None:
        """`clock` gives seconds since the epoch, `rng` what the ids are made of."""
        self.stored: dict[str, Json] = {}
        self.search_available = True
        self.search_lag_seconds = 0.0
        self._livemode = livemode
        self._clock = clock
        self._random = rng
        self._versions: dict[str, list[tuple[float, Json]]] = {}

    def seed(self, **fields: Any) -> Json:
        """Put a customer in place that has long been there; `deleted=True` for one that is gone.

        Raises: ValueError for a field that a customer does not have.
        """
        customer_id = fields.pop("id", None) or objects.new_id("cus", 14, self._random)
        if fields.pop("deleted", False):
            seeded = objects.deleted_customer(customer_id)
        else:
            seeded = objects.with_fields(self._blank(customer_id), fields)
        return self._keep(seeded, since=float("-inf"))

    def present(self, customer_id: str, *, param: str = "id", status: int = 404) -> Json:
        """The customer, unless deleted. Raises: StripeError, about `param` and with `status`, when there is none."""
        customer = self.stored.get(customer_id)
        if customer is None or customer.get("deleted"):
            raise missing("customer", customer_id, param=param, status=status)
        return customer

    def check_filter(self, params: Json) -> None:
        """Pass a list by a customer, deleted or not. Raises: StripeError when that customer never was."""
        if "customer" in params and params["customer"] not in self.stored:
            raise missing("customer", params["customer"], param="customer")

    def create(self, _id: str, params: Json) -> Change:
        """`POST /v1/customers`. Raises: StripeError for too much metadata."""
        blank = self._blank(objects.new_id("cus", 14, self._random))
        return Change(blank, self._keep(objects.with_changes(blank, params)))

    def retrieve(self, customer_id: str, _params: Json) -> Json:
        """`GET /v1/customers/{id}`, deleted or not. Raises: StripeError when there never was one."""
        if customer_id not in self.stored:
            raise missing("customer", customer_id)
        return self.stored[customer_id]

    def update(self, customer_id: str, params: Json) -> Change:
        """`POST /v1/customers/{id}`. Raises: StripeError for no such customer, or too much metadata."""
        before = self.present(customer_id)
        return Change(before, self._keep(objects.with_changes(before, params)))

    def delete(self, customer_id: str, _params: Json) -> Change:
        """`DELETE /v1/customers/{id}`. Raises: StripeError when there is no such customer."""
        before = self.present(customer_id)
        return Change(before, self._keep(objects.deleted_customer(customer_id)))

    def listed(self, _id: str, params: Json) -> Json:
        """`GET /v1/customers`. Raises: StripeError for a limit or a cursor that is none."""
        chosen = newest_first(self.stored, params, "email")
        # Stripe keeps the customers of test clocks out of its lists.
        chosen = [customer for customer in chosen if customer["test_clock"] is None]
        return page(chosen, params, url="/v1/customers", kind="customer")

    def searched(self, _id: str, params: Json) -> Json:
        """`GET /v1/customers/search`. Raises: StripeError for an unreadable query, or where there is no search."""
        if not self.search_available:
            raise StripeError(400, "Search is not available for merchants in your region.")
        return found(self._searchable(), params, url="/v1/customers/search")

    def _blank(self, customer_id: str) -> Json:
        prefix = f"{self._random.randrange(16**8):08X}"
        return objects.customer(customer_id, created=int(self._clock()), livemode=self._livemode, invoice_prefix=prefix)

    def _keep(self, customer: Json, *, since: float | None = None) -> Json:
        now = self._clock()
        versions = self._versions.setdefault(customer["id"], [])
        versions.append((now if since is None else since, customer))
        while len(versions) > 1 and versions[1][0] <= now - _LONGEST_SEARCH_LAG_SECONDS:
            del versions[0]
        self.stored[customer["id"]] = customer
        return customer

    def _searchable(self) -> list[Json]:
        if not self.search_lag_seconds:
            return newest_first(self.stored, {})
        seen_until = self._clock() - self.search_lag_seconds
        indexed: dict[str, Json] = {}
        for customer_id, versions in self._versions.items():
            for since, version in versions:
                if since <= seen_until:
                    indexed[customer_id] = version
        return newest_first(indexed, {})
