"""A worker whose watch takes an edit in Stripe for drift: it reconciles at once, before Autumn knows the new value.

Its requests look like those of an app, so the sync overwrites values in Stripe that it did not write.
"""

from typing import Any

from jobs.watch.events import Hint, StripeEvent, judge
from tests.chaos.broken.parts import settings_with


def judge_edits_as_drift(event: StripeEvent, **known: Any) -> Hint:
    """Return the right hint, except for an edit: request a reconcile now, and remember nothing."""
    hint = judge(event, **known)
    return Hint("requested", "now") if hint.edits else hint


def id_of_an_app(event: StripeEvent, customer_id: str, *, later: bool) -> str:
    """Return an event id that does not tell the watch."""
    return f"app-{event.id}-{customer_id}-{later}"


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(judge=judge_edits_as_drift, request_id=id_of_an_app)
