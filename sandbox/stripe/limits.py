"""The state that Stripe keeps between requests: rate windows, idempotency keys and locks of objects.

It decides whether a request may run, and returns the answer if it may not. It knows nothing about customers.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.stripe.errors import Json, key_in_use, key_reused, key_too_long, locked, rate_limited

_WINDOW_SECONDS = 1.0
_KEEP_KEYS_SECONDS = 24 * 3600.0
_LONGEST_KEY = 255


class RateLimits:
    """Sliding windows of one second; a refused request does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Use a `clock` that returns seconds."""
        self._clock = clock
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def spend(self, windows: list[tuple[str, int | None, str]]) -> None:
        """Count a request in windows of (name, requests per second or None, reason).

        Raises: StripeError with the reason of the first full window; no window then counts the request.
        """
        now = self._clock()
        for name, most, reason in windows:
            times = self._times[name]
            while times and times[0] <= now - _WINDOW_SECONDS:
                times.popleft()
            if most is not None and len(times) >= most:
                raise rate_limited(reason)
        for name, _, _ in windows:
            self._times[name].append(now)


@dataclass(frozen=True)
class Outcome:
    """The first answer under an idempotency key, with its request."""

    path: str
    params: Json
    status: int
    text: str
    request_id: str
    stored_at: float


class IdempotencyKeys:
    """The stored answers, for 24 hours each, and the keys whose first request is still running."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Use a `clock` that returns seconds."""
        self._clock = clock
        self._outcomes: dict[str, Outcome] = {}
        self._running: set[str] = set()

    def stored(self, key: str, path: str, params: Json) -> Outcome | None:
        """Return the answer to replay, if there is one.

        Raises: StripeError if the key was first used for another request.
        """
        outcome = self._kept(key)
        if outcome is not None and (outcome.path, outcome.params) != (path, params):
            raise key_reused(key, outcome.path, path)
        return outcome

    def store(self, key: str, outcome: Outcome) -> None:
        """Store an answer, unless the key has one already."""
        if self._kept(key) is None:
            self._outcomes[key] = outcome

    def _kept(self, key: str) -> Outcome | None:
        outcome = self._outcomes.get(key)
        expired = outcome is not None and self._clock() - outcome.stored_at >= _KEEP_KEYS_SECONDS
        return None if expired else outcome

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """Hold the key while its request runs. Raises: StripeError if it is too long or held already."""
        if len(key) > _LONGEST_KEY:
            raise key_too_long()
        if key in self._running:
            raise key_in_use(key)
        self._running.add(key)
        try:
            yield
        finally:
            self._running.discard(key)


class Locks:
    """The objects that a request is writing."""

    def __init__(self) -> None:
        """Begin without locks."""
        self._held: set[str] = set()

    @contextmanager
    def writing(self, object_id: str) -> Iterator[None]:
        """Hold the object for a write. Raises: StripeError if another write holds it."""
        if object_id in self._held:
            raise locked()
        self._held.add(object_id)
        try:
            yield
        finally:
            self._held.discard(object_id)
