"""What both sides of a customer say now and what a sync would do about it, told in lines for a person.

Pure, as worker.status.customer_text is. The lines hold names and addresses: they are for the terminal of whoever asked,
and for nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jobs.errors import Halt, Limited, SyncError, TryAgain
from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS, StripeCustomer, StripeView
from jobs.plan.plan import LinkState
from jobs.plan.steps import Step
from jobs.sync.preview import Preview
from worker.formatting import time_text
from worker.status.advice import FINDINGS, LINKS
from worker.status.customer_text import plural, tell_findings

ADDRESSES = {"autumn": "AUTUMN_API_URL", "stripe": "STRIPE_API_BASE"}


@dataclass(frozen=True)
class LiveVerdict:
    """Whether both sides agree now, as a word for machines and a sentence for a person."""

    kind: Literal["in-sync", "out-of-sync", "needs-a-person"]
    text: str


def live_verdict_of(preview: Preview) -> LiveVerdict:
    """Whether both sides agree now, and if not, who is to act."""
    plan = preview.plan
    if plan.link is LinkState.WRONG_MODE:
        return LiveVerdict(
            "needs-a-person", "needs a person: live and test mode are mixed, so nothing would be written"
        )
    if plan.steps:
        return LiveVerdict("out-of-sync", "not in sync: a sync has something to write")
    wrong = [FINDINGS[each.kind].means for each in plan.findings if not FINDINGS[each.kind].is_right]
    if wrong:
        return LiveVerdict("needs-a-person", f"needs a person: {', and '.join(dict.fromkeys(wrong))}")
    if plan.refusal is not None:
        return LiveVerdict("needs-a-person", "needs a person: a sync would refuse to write")
    return LiveVerdict("in-sync", "in sync")


def tell_preview(preview: Preview, waiting_events: int) -> list[str]:
    """Both sides, the state of the link, what a sync would do next, and what is to be known."""
    plan = preview.plan
    return [
        f"{preview.autumn.id}, looked at on both sides at {time_text(preview.at_ms)}: {live_verdict_of(preview).text}",
        f"link: {LINKS[plan.link]}",
        f"in Autumn: {_autumn_text(preview)}",
        *(f"in Stripe: {text}" for text in _stripe_texts(preview)),
        *([f"a sync would write nothing: {plan.refusal.text}"] if plan.refusal is not None else []),
        *_next_steps(plan.steps),
        *_waiting(waiting_events),
        *tell_findings(plan.findings, preview.autumn.id),
    ]


def tell_failure(error: SyncError, customer: str) -> str:
    """Why there is no preview, and what can be done about it."""
    service = error.service.capitalize()
    if isinstance(error, Halt):
        return error.message
    if isinstance(error, Limited):
        return f"{service} asks to go slower ({error.code}): ask again in a moment"
    if isinstance(error, TryAgain):
        return f"{service} gives no usable answer ({error.code}): is {ADDRESSES[error.service]} right, is it reachable?"
    if error.code == "customer_not_found":
        return f"Autumn does not know the customer {customer}"
    return f"{service} refuses the look ({error.code}): {error.message}"


def _autumn_text(preview: Preview) -> str:
    autumn = preview.autumn
    fields = {
        "name": autumn.name,
        "e-mail": autumn.email,
        "receipts": "on" if autumn.send_email_receipts else "off",
        "stripe_id": autumn.stripe_id,
        "mode": autumn.mode,
        **{f"metadata.{key}": autumn.metadata.get(key) for key in preview.metadata_keys},
    }
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _stripe_texts(preview: Preview) -> Iterator[str]:
    """A line for each Stripe customer that was seen, or one that says why there is none."""
    view = preview.stripe
    if preview.autumn.stripe_id is not None and view.linked is None:
        yield f"{preview.autumn.stripe_id} is {'not known to this key' if view.is_missing else 'deleted'}"
    for customer in view.all_customers:
        yield _stripe_text(customer, preview.metadata_keys)
    if not view.all_customers:
        yield "no customer carries its id" + ("" if view.searched else ", as far as can be told without a search")
    if view.payments is not None:
        yield _payments_text(view)


def _stripe_text(customer: StripeCustomer, metadata_keys: tuple[str, ...]) -> str:
    shown = (AUTUMN_ID, SEND_EMAIL_RECEIPTS, *metadata_keys)
    fields = {
        "name": customer.name,
        "e-mail": customer.email,
        "mode": customer.mode,
        **{f"metadata.{key}": customer.metadata.get(key) for key in shown},
    }
    return f"{customer.id}: " + ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _payments_text(view: StripeView) -> str:
    intents = view.payments.intents if view.payments is not None else ()
    without = sum(not intent.receipt_email for intent in intents)
    return f"{plural(len(intents), 'payment')} looked at, {without} without a receipt's address"


def _next_steps(steps: tuple[Step, ...]) -> Iterator[str]:
    if not steps:
        return
    yield "a sync would:"
    yield from (f"  {step.describe()}" for step in steps)
    yield "  then look again, until nothing is left to do"


def _waiting(events: int) -> Iterator[str]:
    if events:
        wait = "waits and is" if events == 1 else "wait and are"
        yield f"{plural(events, 'event')} {wait} not part of this"
