"""Both sides of a customer now and the steps of a dry run, as lines for a person.

Pure. The lines hold names and addresses, so they may go only to the person who requested them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from jobs.autumn.errors import NOT_IN_AUTUMN
from jobs.errors import Halt, Limited, SyncError, TryAgain
from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS, StripeCustomer, StripeView
from jobs.plan.plan import LinkState
from jobs.plan.profile import metadata_text
from jobs.plan.steps import Step
from jobs.sync.preview import Preview
from worker.formatting import time_text
from worker.status.advice import FINDINGS, LINKS
from worker.status.customer_text import finding_lines, plural

ADDRESSES = {"autumn": "AUTUMN_API_URL", "stripe": "STRIPE_API_BASE"}


@dataclass(frozen=True)
class LiveVerdict:
    """The judgment of both sides now: a word for machines and a sentence for a person."""

    kind: Literal["in-sync", "out-of-sync", "needs-a-person"]
    text: str


def live_verdict_of(preview: Preview) -> LiveVerdict:
    """Return if both sides agree now, and if not, whether a sync or a person has to act."""
    plan = preview.plan
    if plan.link is LinkState.WRONG_MODE:
        return LiveVerdict(
            "needs-a-person", "needs a person: live and test mode are mixed, so a sync would write nothing"
        )
    if plan.steps:
        return LiveVerdict("out-of-sync", "not in sync: a sync has something to write")
    wrong = [FINDINGS[each.kind].means for each in plan.findings if not FINDINGS[each.kind].is_right]
    if wrong:
        return LiveVerdict("needs-a-person", f"needs a person: {', and '.join(dict.fromkeys(wrong))}")
    if plan.refusal is not None:
        return LiveVerdict("needs-a-person", "needs a person: a sync would refuse to write")
    return LiveVerdict("in-sync", "in sync")


def preview_lines(preview: Preview, waiting_events: int) -> list[str]:
    """Return both sides, the state of the link, the next steps of a sync, and the findings."""
    plan = preview.plan
    return [
        f"{preview.autumn.id}, both sides fetched at {time_text(preview.at_ms)}: {live_verdict_of(preview).text}",
        f"link: {LINKS[plan.link]}",
        f"in Autumn: {_autumn_text(preview)}",
        *(f"in Stripe: {text}" for text in _stripe_texts(preview)),
        *([f"a sync would write nothing: {plan.refusal.text}"] if plan.refusal is not None else []),
        *_next_steps(plan.steps),
        *_waiting(waiting_events),
        *finding_lines(plan.findings, preview.autumn.id),
    ]


def preview_failure_text(error: SyncError, customer: str) -> str:
    """Return why there is no preview, and what to do."""
    service = error.service.capitalize()
    if isinstance(error, Halt):
        return error.message
    if isinstance(error, Limited):
        return f"{service} is limiting requests ({error.code}): try again in a moment"
    if isinstance(error, TryAgain):
        return f"{service} gave no usable answer ({error.code}): check {ADDRESSES[error.service]} and the network"
    if error.code == NOT_IN_AUTUMN:
        return f"Autumn does not know the customer {customer}"
    return f"{service} refused the request ({error.code}): {error.message}"


def _autumn_text(preview: Preview) -> str:
    autumn = preview.autumn
    fields = {
        "name": autumn.name,
        "e-mail": autumn.email,
        "receipts": "on" if autumn.send_email_receipts else "off",
        "stripe_id": autumn.stripe_id,
        "mode": autumn.mode,
        **{f"metadata.{key}": _metadata_value(autumn.metadata.get(key)) for key in preview.metadata_keys},
    }
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _stripe_texts(preview: Preview) -> Iterator[str]:
    """Yield a line for each Stripe customer that was found, or one that says why there is none."""
    view = preview.stripe
    if preview.autumn.stripe_id is not None and view.linked is None:
        yield f"{preview.autumn.stripe_id} is {'not known to this key' if view.is_missing else 'deleted'}"
    for customer in view.all_customers:
        yield _stripe_text(customer, preview.metadata_keys)
    if not view.all_customers:
        yield "no customer carries its id" + ("" if view.searched else " (without a search)")
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


def _metadata_value(value: JsonValue) -> str | None:
    return None if value is None else metadata_text(value)


def _value(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _payments_text(view: StripeView) -> str:
    intents = view.payments.intents if view.payments is not None else ()
    without = sum(not intent.receipt_email for intent in intents)
    return f"{plural(len(intents), 'payment')} checked, {without} without a receipt address"


def _next_steps(steps: tuple[Step, ...]) -> Iterator[str]:
    if not steps:
        return
    yield "a sync would:"
    yield from (f"  {step.describe()}" for step in steps)
    yield "  then fetch both sides again, until no step is left"


def _waiting(events: int) -> Iterator[str]:
    if events:
        verb = "is" if events == 1 else "are"
        yield f"{plural(events, 'waiting event')} {verb} not included"
