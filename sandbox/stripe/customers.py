"""The customers of the simulated Stripe account, and their search, which lags.

Nothing here knows about HTTP, keys or limits. Each endpoint is a method that takes the id from the path and the
validated parameters.
"""

import random
from collections.abc import Callable
from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.errors import Json, StripeError, missing
from sandbox.stripe.lists import found, newest_first, page
from sandbox.stripe.writes import Change

# Stripe documents a search lag of up to an hour during an outage, so older states are not needed.
_LONGEST_SEARCH_LAG_SECONDS = 3600.0


class Customers:
    """The customers by id in `stored`, and their endpoints. A deleted one has only id, object and deleted."""

    def __init__(self, *, livemode: bool, clock: Callable[[], float], rng: random.Random) -> None:
        """Use a `clock` of seconds since the epoch and an `rng` for the ids."""
        self.stored: dict[str, Json] = {}
        self.search_available = True
        self.search_lag_seconds = 0.0
        self._livemode = livemode
        self._clock = clock
        self._random = rng
        self._versions: dict[str, list[tuple[float, Json]]] = {}

    def seed(self, **fields: Any) -> Json:
        """Seed an old customer; `deleted=True` seeds a deleted one.

        Raises: ValueError for a field that a customer does not have.
        """
        customer_id = fields.pop("id", None) or objects.new_id("cus", 14, self._random)
        if fields.pop("deleted", False):
            seeded = objects.deleted_customer(customer_id)
        else:
            seeded = objects.with_fields(self._blank(customer_id), fields)
        return self._keep(seeded, since=float("-inf"))

    def present(self, customer_id: str, *, param: str = "id", status: int = 404) -> Json:
        """Return a customer that is not deleted. Raises: StripeError with `param` and `status` if there is none."""
        customer = self.stored.get(customer_id)
        if customer is None or customer.get("deleted"):
            raise missing("customer", customer_id, param=param, status=status)
        return customer

    def check_filter(self, params: Json) -> None:
        """Check the customer filter of a list. Raises: StripeError if the customer never existed."""
        if "customer" in params and params["customer"] not in self.stored:
            raise missing("customer", params["customer"], param="customer")

    def create(self, _id: str, params: Json) -> Change:
        """Serve `POST /v1/customers`. Raises: StripeError for too much metadata."""
        blank = self._blank(objects.new_id("cus", 14, self._random))
        return Change(blank, self._keep(objects.with_changes(blank, params)))

    def retrieve(self, customer_id: str, _params: Json) -> Json:
        """Serve `GET /v1/customers/{id}`, deleted or not. Raises: StripeError if it never existed."""
        if customer_id not in self.stored:
            raise missing("customer", customer_id)
        return self.stored[customer_id]

    def update(self, customer_id: str, params: Json) -> Change:
        """Serve `POST /v1/customers/{id}`. Raises: StripeError for no such customer, or too much metadata."""
        before = self.present(customer_id)
        return Change(before, self._keep(objects.with_changes(before, params)))

    def delete(self, customer_id: str, _params: Json) -> Change:
        """Serve `DELETE /v1/customers/{id}`. Raises: StripeError if there is no such customer."""
        before = self.present(customer_id)
        return Change(before, self._keep(objects.deleted_customer(customer_id)))

    def listed(self, _id: str, params: Json) -> Json:
        """Serve `GET /v1/customers`. Raises: StripeError for an invalid limit or cursor."""
        chosen = newest_first(self.stored, params, "email")
        # Stripe does not list the customers of test clocks.
        chosen = [customer for customer in chosen if customer["test_clock"] is None]
        return page(chosen, params, url="/v1/customers", kind="customer")

    def searched(self, _id: str, params: Json) -> Json:
        """Serve `GET /v1/customers/search`. Raises: StripeError for an invalid query, or if there is no search."""
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
