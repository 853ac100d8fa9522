"""The text of an open circuit breaker, which page, terminal, /readyz and each waiting customer show. Pure."""

from jobs.queue.breaker import OpenBreaker
from worker.formatting import short_time


def breaker_text(breaker: OpenBreaker) -> str:
    """Return since when work is stopped and why, in whole sentences.

    The message of a halt, which says what to fix, is left out: /readyz answers anybody.
    """
    since = short_time(breaker.since_ms)
    if breaker.kind == "halt":
        return f"Syncs have been halted since {since} ({breaker.service} {breaker.reason})."
    return (
        f"{breaker.service.capitalize()} has been failing since {since} ({breaker.reason}). "
        "Retrying one customer at a time until it recovers."
    )
