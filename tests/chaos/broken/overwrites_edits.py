"""A worker whose watch takes an edit in Stripe for drift: it reconciles at once, before Autumn knows the new value."""

from typing import Any

from jobs.plan.edits import Edits
from jobs.watch.events import Hint, StripeEvent, judge
from tests.chaos.broken.parts import settings_with


def judge_edits_as_drift(event: StripeEvent, **known: Any) -> Hint:
    """Return the right hint, except for an edit: request a reconcile now, and remember nothing."""
    hint = judge(event, **known)
    return Hint("requested", "now") if hint.edits else hint


class NeverHeld(Edits):
    """Edits that no sync leaves alone."""

    def held(self, *_sides: Any) -> frozenset[str]:
        """Return no field."""
        return frozenset()


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(judge=judge_edits_as_drift, edits_type=NeverHeld)
