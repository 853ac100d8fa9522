"""Decide what an event of Stripe leads to. No I/O, no clock.

An event is only a hint. It brings no value to Autumn or Stripe: it leads to a reconcile, which fetches both sides. Our
own writes lead to nothing, so the watch never follows itself.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from autumn_sync_client.values import UNFIT_TEXT
from jobs.events import CUSTOMER_ID_MAX, STRIPE_ID
from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS, Mode, normal_form
from jobs.plan.policy import Policy
from jobs.plan.profile import PROFILE
from jobs.plan.steps import RECEIPT_MARK
from jobs.stripe.events import OUR_KEY, EventAnswer, EventRequest

TYPES: Final = (
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "payment_intent.created",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.updated",
    "invoice.finalized",
)
"""The types of events that the watch follows. Stripe allows 20 in one request."""
_PAYMENTS: Final = "payment_intent."
AUTUMN_KEYS: Final = "autumn:"
"""The beginning of the idempotency keys of Autumn, and of ours."""
_CUSTOMER_ID: Final = re.compile(rf"[a-zA-Z0-9_:-]{{1,{CUSTOMER_ID_MAX}}}")
_ALWAYS_OURS: Final = frozenset({f"metadata.{AUTUMN_ID}", f"metadata.{SEND_EMAIL_RECEIPTS}"})
"""The fields that a sync writes to each linked customer."""

When = Literal["", "now", "later", "now+later"]
Outcome = Literal[
    "other_mode", "own", "autumn", "irrelevant", "receipt_sent", "requested", "deferred", "invoice_without_email"
]


class Cause(StrEnum):
    """The writer that caused an event, as far as the request shows."""

    SYNC = "sync"
    """A write of ours."""
    AUTUMN = "autumn"
    """A write of Autumn, but not its update of a name or e-mail, whose key looks like that of an app."""
    STRIPE = "stripe"
    """Stripe by itself."""
    APP = "app"
    """A request with another key. Stripe's SDKs always send one."""
    DASHBOARD = "dashboard"
    """A request without a key: the dashboard, or a request by hand."""


class Edited(NamedTuple):
    """A value that somebody wrote in Stripe, and the one before it; None if there was none."""

    value: str
    before: str | None


@dataclass(frozen=True)
class StripeEvent:
    """An event of Stripe, reduced to what the watch needs. Fields of another kind of object are empty.

    - `created`: in seconds since the epoch.
    - `live`: from `livemode`.
    - `stripe_id`: the Stripe customer that it is about; "" if none.
    - `owners`: the Autumn ids that a customer carries after and before the event.
    - `changed`: the changed fields: "name", "metadata.KEY", other top-level names.
    - `emptied`: those of name and e-mail that are empty since.
    - `edited`: those of name and e-mail with another value since: that value, and the one before.
    - `intent_id`: the payment intent; "" if none.
    - `receipt_email_set`, `has_receipt_mark`: whether a payment has an address for its receipt, and our mark.
    - `receipt_number`: the number of the charge's receipt. Stripe gives it when it has sent the receipt.
    - `customer_email_missing`: whether an invoice shows no e-mail address of its customer.
    """

    id: str
    type: str
    created: int
    cause: Cause
    live: bool
    stripe_id: str = ""
    owners: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    emptied: frozenset[str] = frozenset()
    edited: Mapping[str, Edited] = field(default_factory=dict, repr=False)
    intent_id: str = ""
    receipt_email_set: bool = False
    has_receipt_mark: bool = False
    receipt_number: str | None = None
    customer_email_missing: bool = False


@dataclass(frozen=True)
class Hint:
    """The decision about an event.

    - `outcome`: the word that it is counted under.
    - `when`: when to reconcile the customer; "" for no reconcile. "later" is `EDIT_SECONDS` after the
      watch saw the event (`jobs.plan.edits`).
    - `edits`: the name and e-mail that somebody wrote in Stripe. A sync before then must not overwrite them.
    """

    outcome: Outcome
    when: When = ""
    edits: Mapping[str, Edited] = field(default_factory=dict, repr=False)


def followed_types(policy: Policy) -> tuple[str, ...]:
    """Return the types of events to list: payments only if a sync would read them."""
    return tuple(each for each in TYPES if policy.reads_payments or not each.startswith(_PAYMENTS))


def from_answer(answer: EventAnswer) -> StripeEvent | None:
    """Return the event; None for an event of an unknown form, or of a type that the watch does not follow."""
    if answer.wrong or answer.data is None or answer.type not in TYPES:
        return None
    shown, before = answer.data.object, answer.data.previous_attributes or {}
    event = StripeEvent(
        answer.id,
        answer.type,
        answer.created,
        _cause(answer.request),
        live=bool(answer.livemode),
        changed=frozenset(name for name in _changed(shown, before) if not UNFIT_TEXT.search(name)),
    )
    match answer.type.partition(".")[0]:
        case "customer":
            return _of_customer(event, shown, before)
        case "payment_intent":
            return _of_payment(event, shown, intent=shown)
        case "charge":
            return _of_payment(event, shown, intent=shown.get("payment_intent"))
        case _:
            return replace(
                event,
                stripe_id=_id_of(shown.get("customer")),
                customer_email_missing=_is_empty("email", shown.get("customer_email")),
            )


def judge(event: StripeEvent, *, metadata_keys: Collection[str], mode: Mode) -> Hint:
    """Return what an event leads to.

    `metadata_keys` are copied from Autumn to Stripe. `mode` is that of our key. For an event about a payment, charge or
    invoice, the caller requests the reconcile only if the customer's receipts are on.
    """
    if event.live != (mode == "live"):
        return Hint("other_mode")
    if event.type.startswith("customer.") and event.cause is Cause.SYNC:
        return Hint("own")
    # A payment or a customer that Autumn begins has to be known all the same.
    if event.type in {"customer.updated", "customer.deleted"} and event.cause is Cause.AUTUMN:
        return Hint("autumn")
    match event.type:
        case "customer.updated":
            return _judge_update(event, metadata_keys)
        case "customer.created":
            return _now_if(bool(event.owners))
        case "charge.updated" | "charge.succeeded" if event.receipt_number:
            is_new = event.type == "charge.succeeded" or "receipt_number" in event.changed
            return Hint("receipt_sent" if is_new else "irrelevant")
        case "charge.updated":
            return Hint("irrelevant")
        case "invoice.finalized":
            return Hint("invoice_without_email", "now") if event.customer_email_missing else Hint("irrelevant")
        case "customer.deleted":
            return Hint("requested", "now")
        case _:
            return _now_if(not event.receipt_email_set and not event.has_receipt_mark)


def _judge_update(event: StripeEvent, metadata_keys: Collection[str]) -> Hint:
    ours = _ALWAYS_OURS | {f"metadata.{key}" for key in metadata_keys}
    at_once = bool(event.emptied or event.changed & ours)
    if event.edited:
        return Hint("requested", "now+later", event.edited) if at_once else Hint("deferred", "later", event.edited)
    return _now_if(at_once)


def _now_if(is_relevant: bool) -> Hint:
    return Hint("requested", "now") if is_relevant else Hint("irrelevant")


def _cause(request: EventRequest | None) -> Cause:
    key = (request and request.idempotency_key) or ""
    if key.startswith(OUR_KEY):
        return Cause.SYNC
    if key.startswith(AUTUMN_KEYS):
        return Cause.AUTUMN
    if request is None or request.id is None:
        return Cause.STRIPE
    return Cause.APP if key else Cause.DASHBOARD


def _of_customer(event: StripeEvent, shown: Mapping[str, Any], before: Mapping[str, Any]) -> StripeEvent:
    owners = (_metadata(shown).get(AUTUMN_ID), _metadata(before).get(AUTUMN_ID))
    values = {name: shown.get(name) for name in PROFILE if name in before}
    empty = frozenset(name for name, value in values.items() if _is_empty(name, value))
    return replace(
        event,
        stripe_id=_id_of(shown),
        owners=tuple(dict.fromkeys(each for each in owners if isinstance(each, str) and _CUSTOMER_ID.fullmatch(each))),
        emptied=empty,
        edited={name: Edited(str(value), _text(before[name])) for name, value in values.items() if name not in empty},
    )


def _of_payment(event: StripeEvent, shown: Mapping[str, Any], *, intent: object) -> StripeEvent:
    number = shown.get("receipt_number") if event.type.startswith("charge.") else None
    return replace(
        event,
        stripe_id=_id_of(shown.get("customer")),
        intent_id=_id_of(intent),
        receipt_email_set=not _is_empty("email", shown.get("receipt_email")),
        has_receipt_mark=bool(_metadata(shown).get(RECEIPT_MARK)),
        receipt_number=number if isinstance(number, str) and number and not UNFIT_TEXT.search(number) else None,
    )


def _changed(shown: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    for name, old in before.items():
        if name != "metadata":
            yield name
        else:
            # Old values of an unknown form may be those of any key.
            yield from (f"metadata.{key}" for key in (old if isinstance(old, dict) else _metadata(shown)))


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    found = item.get("metadata")
    return found if isinstance(found, dict) else {}


def _id_of(value: object) -> str:
    """Return the id of an object that is shown as a whole or by its id; "" for anything else."""
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) and re.fullmatch(STRIPE_ID, found) else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_empty(name: str, value: object) -> bool:
    return not isinstance(value, str) or not normal_form(name, value)
