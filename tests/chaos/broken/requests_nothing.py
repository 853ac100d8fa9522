"""A worker whose watch notes each event of Stripe as seen, and requests no reconcile."""

from typing import Any

from jobs.watch.events import Hint, StripeEvent
from tests.chaos.broken.parts import settings_with


def judge_all_irrelevant(_event: StripeEvent, **_known: Any) -> Hint:
    """Return a hint without a request."""
    return Hint("irrelevant")


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(judge=judge_all_irrelevant)
