"""Autumn's rate limiter: windows of one second, and the rate limit headers of an answer.

It counts requests and never waits. It knows nothing about a customer except the id of its window.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.autumn.rows import pages_by_cursor

_PER_CUSTOMER = ("/v1/customers.get", "/v1/customers.get_or_create")
_PER_CUSTOMER_PER_SECOND = 10_000
_LISTS_PER_SECOND = 50
_OLD_LISTS_PER_SECOND = 5
_WINDOW_SECONDS = 1.0

Headers = dict[str, str]


@dataclass(frozen=True)
class Taken:
    """The limiter's decision for one request, and the headers of its answer."""

    allowed: bool
    headers: Headers


@dataclass
class Limiter:
    """The windows. `updates_per_second` applies to all endpoints without their own limit; None disables all limits.

    Autumn keeps its windows by organisation; one simulator is one organisation.
    """

    updates_per_second: int | None
    clock: Callable[[], float]
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, path: str, version: str, customer_id: object) -> Taken:
        """Count one request and return whether it is allowed."""
        if self.updates_per_second is None:
            return Taken(True, {})
        window, limit = self._window(path, version, customer_id, self.updates_per_second)
        now = self.clock()
        since, count = self.windows.get(window, (now, 0))
        if now - since >= _WINDOW_SECONDS:
            since, count = now, 0
        self.windows[window] = (since, count + 1)
        return Taken(count < limit, limit_headers(limit, remaining=max(limit - count - 1, 0)))

    def _window(self, path: str, version: str, customer_id: object, updates: int) -> tuple[str, int]:
        if path in _PER_CUSTOMER:
            return f"{path} {customer_id}", _PER_CUSTOMER_PER_SECOND
        if path == "/v1/customers.list":
            limit = _LISTS_PER_SECOND if pages_by_cursor(version) else _OLD_LISTS_PER_SECOND
            return f"{path} {limit}", limit
        return "everything else", updates


def limit_headers(limit: int, remaining: int) -> Headers:
    """Return the `ratelimit-*` headers of an answer."""
    return {
        "ratelimit-limit": str(limit),
        "ratelimit-policy": f"{limit};w=1",
        "ratelimit-remaining": str(remaining),
        "ratelimit-reset": "1",
    }
