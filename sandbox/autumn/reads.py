"""The sources of a read of the Autumn simulator: the database, a replica that lags behind it, and the cache.

Only reads go through here. Code that writes a customer calls `changed`, for the cache and the replica.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sandbox.autumn.rows import Row

CACHE_SECONDS = 60.0
"""The lifetime of a cache entry; the real one is not known."""
NEWEST_VERSIONS: Final = ("2.3", "2.4", "2.5")
"""The newest versions that a simulated server may support. The recorded server supports no later one than the first."""


@dataclass(eq=False, repr=False)
class Behaviour:
    """The options of a simulated Autumn that may be set while it serves."""

    stale_reads: bool = False
    """Whether a get without `x-skip-cache` lags as well, by `replica_lag_seconds`."""
    caches: bool = False
    """Whether a get without `x-skip-cache` is answered from a cache. Requests and webhooks update the cache. A direct
    change of the database is not visible until the entry is `CACHE_SECONDS` old."""
    broken_second_page: bool = True
    """Whether a list with `created_at_range` answers 500 for all pages after the first, as Autumn does."""
    largest_page: int = 1000
    """The largest `limit` that a list accepts from this organisation; a larger one is refused."""
    newest_version: str = NEWEST_VERSIONS[0]
    """The newest API version that the server supports, one of `NEWEST_VERSIONS`."""
    stripe_retry_pause_seconds: float = 0.01
    """The pause before Autumn's Stripe client retries after a 5xx; it makes three attempts."""


class Reads:
    """The replica and the cache of an organisation's customers; `rows` is its database, by the key of each row."""

    def __init__(self, rows: dict[str, Row], clock: Callable[[], float], behaviour: Behaviour) -> None:
        """`clock` gives seconds since the epoch."""
        self._rows = rows
        self._clock = clock
        self._behaviour = behaviour
        self._lag_seconds = 0.0
        self._versions: dict[str, list[tuple[float, Row | None]]] = {}
        self._cache: dict[str, tuple[float, Row]] = {}

    @property
    def lag_seconds(self) -> float:
        """Return the lag of the replica. When the lag begins, the replica has the state of that moment."""
        return self._lag_seconds

    @lag_seconds.setter
    def lag_seconds(self, seconds: float) -> None:
        begins = seconds > 0 and not self._lag_seconds
        if begins or not seconds:
            self._versions.clear()
        self._lag_seconds = seconds
        for key in self._rows if begins else ():
            self.planted(key)

    def planted(self, key: str) -> None:
        """Note that a row is old, so that the replica has it too."""
        if self._lag_seconds:
            self._versions[key] = [(float("-inf"), copy.deepcopy(self._rows[key]))]

    def changed(self, key: str) -> None:
        """Note that a request or a webhook wrote or deleted the row with this key."""
        self._notice(key)
        if self._behaviour.caches and key in self._rows:
            self._put(key)
        else:
            self._cache.pop(key, None)

    def one(self, customer_id: str, *, skips_cache: bool) -> Row | None:
        """Return the customer with this id or internal id, as a get sees it."""
        if self._lag_seconds and (skips_cache or self._behaviour.stale_reads):
            past = self._past(customer_id)
            return past if past or not customer_id.startswith("cus_") else found(self.listed(), customer_id)
        if skips_cache or not self._behaviour.caches:
            return found(self._rows, customer_id)
        expires_at, row = self._cache.get(customer_id, (0.0, None))
        if row is None or self._clock() >= expires_at:
            return self._put(customer_id) if customer_id in self._rows else found(self._rows, customer_id)
        return row

    def listed(self) -> Mapping[str, Row]:
        """Return all customers by their keys, as a list sees them."""
        if not self._lag_seconds:
            return self._rows
        past = {key: self._past(key) for key in {**self._versions, **self._rows}}
        return {key: row for key, row in past.items() if row is not None}

    def _past(self, key: str) -> Row | None:
        """Return the row as it was `lag_seconds` ago."""
        self._notice(key)
        versions, until = self._versions.get(key, []), self._clock() - self._lag_seconds
        while len(versions) > 1 and versions[1][0] <= until:
            del versions[0]
        return versions[0][1] if versions and versions[0][0] <= until else None

    def _notice(self, key: str) -> None:
        """Note the row's present values if they changed. A direct change of the database is noted at the next read."""
        if not self._lag_seconds:
            return
        row, versions = self._rows.get(key), self._versions.setdefault(key, [])
        if row != (versions[-1][1] if versions else None):
            versions.append((self._clock(), copy.deepcopy(row)))

    def _put(self, key: str) -> Row:
        row = copy.deepcopy(self._rows[key])
        self._cache[key] = (self._clock() + CACHE_SECONDS, row)
        return row


def found(rows: Mapping[str, Row], customer_id: str) -> Row | None:
    """Return a customer by its id or its internal id."""
    row = rows.get(customer_id)
    if row is None and customer_id.startswith("cus_"):
        return next((row for row in rows.values() if row["internal_id"] == customer_id), None)
    return row
