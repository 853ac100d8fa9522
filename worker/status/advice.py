"""Tables of advice for a person: on findings, states of the link, failed syncs and dead letters.

Only texts belong here; `worker.status.customer_text` puts them together. `CUSTOMER` stands for the customer's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs.plan.findings import FindingKind
from jobs.plan.plan import LinkState


@dataclass(frozen=True)
class Advice:
    """The meaning of a finding for a customer, as a clause, and the action to take.

    With `is_right`, the customer still counts as in sync. Without it, a person is needed.
    """

    means: str
    to_do: str
    is_right: bool = False


FINDINGS: Final[Mapping[FindingKind, Advice]] = {
    "unlinked": Advice(
        "it is not linked to a Stripe customer",
        "If it should be linked, run customer-sync send CUSTOMER. That links it if STRIPE_WHEN_UNLINKED and the "
        "account's search allow it. A change with the stripe_id of an existing Stripe customer always links that one.",
    ),
    "billed-elsewhere": Advice(
        "it is a customer of another payment processor alone",
        "No action needed. To give such customers a Stripe customer, too, set STRIPE_WHEN_UNLINKED_ELSEWHERE=create.",
        is_right=True,
    ),
    "gone": Advice(
        "its Stripe customer is deleted or missing",
        "Send a change with the stripe_id of the right Stripe customer, or with null. Or let STRIPE_WHEN_GONE link or "
        "create one, and run customer-sync send CUSTOMER.",
    ),
    "foreign": Advice(
        "its Stripe customer carries the id of another Autumn customer",
        "This is urgent: each change of one customer may overwrite the other's profile in Autumn. Find out which of "
        "them owns the Stripe customer. Send a change with the right stripe_id, or with null. Or correct "
        "metadata.autumn_id in Stripe. Then replay the dead letters.",
    ),
    "ambiguous": Advice(
        "several Stripe customers carry its id",
        "Send a change with the stripe_id of the right one, and remove metadata.autumn_id from the others in Stripe. "
        "Then replay the dead letters.",
    ),
    "name-cut": Advice(
        "the name is longer than Stripe accepts and is truncated there",
        "No action needed. A shorter name in Autumn is written in full.",
        is_right=True,
    ),
    "email-left-out": Advice(
        "the e-mail address is longer than Stripe accepts, so Stripe keeps its own",
        "Send a change with a shorter address.",
    ),
    "metadata-cut": Advice(
        "a metadata value is longer than Stripe accepts and is truncated there",
        "No action needed. A shorter value is written in full. Or remove the key from STRIPE_METADATA_KEYS.",
        is_right=True,
    ),
    "metadata-left-out": Advice(
        "the Stripe customer has no room for a metadata key",
        "Remove unused metadata keys from the Stripe customer, and run customer-sync send CUSTOMER. Or remove the key "
        "from STRIPE_METADATA_KEYS.",
    ),
    "receipts-cannot-be-sent": Advice(
        "e-mail receipts are on, but none can be sent",
        "Give the customer an e-mail address, or link it to a Stripe customer. Or turn its receipts off.",
    ),
    "receipt-not-set": Advice(
        "a payment has no receipt address",
        "Open the payment in Stripe, and set the address there or send the receipt by hand. If the payment's "
        "metadata is full, remove a key and run customer-sync send CUSTOMER.",
    ),
    "payments-not-all-seen": Advice(
        "only its newest payments were checked",
        "No action needed, unless an older payment is still open. Set the receipt address of that one in Stripe.",
        is_right=True,
    ),
    "reapply-given-up": Advice(
        "something keeps reverting one of its changes, so the change is no longer reapplied",
        "Find out what else writes this customer in Autumn or in Stripe, and stop it. Then send the change again.",
    ),
    "refused-by-stripe": Advice(
        "Stripe refuses a value that Autumn has",
        "Send a change with a value that Stripe accepts. Until then, Stripe keeps its own value of that field. All "
        "other fields stay in sync.",
    ),
    "unexpected-answer-detail": Advice(
        "Autumn's answer has details in an unexpected form, which a sync does not use",
        "No action needed for this customer. If many customers have it, check AUTUMN_API_VERSION and report it.",
        is_right=True,
    ),
}

LINKS: Final[Mapping[LinkState, str]] = {
    LinkState.LINKED: "linked",
    LinkState.UNCLAIMED: "linked to a Stripe customer that carries no Autumn id",
    LinkState.UNLINKED: "not linked",
    LinkState.GONE: "linked to a Stripe customer that is deleted or missing",
    LinkState.FOREIGN: "linked to a Stripe customer of another Autumn customer",
    LinkState.AMBIGUOUS: "not linked to an existing Stripe customer, and several carry its id",
    LinkState.WRONG_MODE: "not known, because live and test mode are mixed",
}

FAILURES: Final[Mapping[str, str]] = {
    "timeout": "a service did not answer in time",
    "connection": "a service could not be reached",
    "no_connection": "a service could not be reached",
    "connection_lost": "the connection broke before the answer came",
    "service_unavailable": "a service was not available",
    "internal_error": "a service had an internal error",
    "rate_limit": "a rate limit was exceeded",
    "http_429": "a rate limit was exceeded",
    "stripe_rate_limit_exceeded": "a rate limit of Stripe was exceeded",
    "lock_timeout": "Stripe was busy with this customer",
    "create_failed_before": "an earlier create of its Stripe customer failed",
    "claimed_elsewhere": "another customer was being linked to the same Stripe customer",
    "sync_too_long": "the sync took too long",
    "stale_read": "Autumn still returned an older state",
    "wrong_mode": "live and test mode are mixed",
    "other_account": "the two keys belong to different Stripe accounts",
    "unexpected": "of an error in this software",
}
"""The clause after "because", by the error code of a failed sync. Other codes are shown as they are."""

WAITS: Final[Mapping[str, tuple[str, str]]] = {
    "create_failed_before": (
        "Stripe's search",
        "creating its Stripe customer failed, and the search will show if it exists nevertheless",
    ),
}
"""The thing that a customer waits for until a known time, and the reason, by the error code of the failed sync."""

REASONS: Final[Mapping[str, str]] = {
    "invalid_event": "The event is not valid. Correct the app that sends it, send it again, and drop this one.",
    "future_id": "Its id, or the id of an event before it, is ahead of the clock. Let every app add events with "
    "* as their id, then replay.",
    "mailbox_unusable": "The customer's mailbox accepts no event. Delete the key that the message names, then replay.",
    "customer_not_found": "Autumn does not know this customer. Create it there, then replay.",
    "other_customer": "This is Autumn's internal id of a customer. Send the event with your own id, and drop this one.",
    "not_linked": "The change needs a linked Stripe customer. The message says why it has none. Link it, then replay.",
    "unsupported_field": "Autumn's API may not know a field. Set AUTUMN_API_VERSION as the message says, then replay.",
    "needs-review": "A person has to decide about the link. Do what the message says, then replay.",
    "stripe_customer_missing": "The requested stripe_id is not in Stripe. Send one that exists, and drop this one.",
    "stripe_refused": "Stripe refuses a value. Send one that it accepts, and drop this one.",
    "too_long": "A value is longer than Stripe accepts. Send a shorter one, and drop this one.",
    "not_taken": "A value was written but reads back differently. Compare both sides with status --live, then replay.",
    "unexpected": "An error in this software. The message names the place. Replay when it is fixed.",
    "internal_error": "Autumn failed each time on this event, but not on others. Ask Autumn's support, then replay.",
}
"""The advice on a dead letter, by its reason."""
TO_DROP: Final = frozenset({"invalid_event", "other_customer", "stripe_customer_missing", "stripe_refused", "too_long"})
"""The reasons for which a replay cannot succeed, so another event has to be sent."""
OTHER_REASON: Final = "The message says why. Fix the cause, then replay. If the change is not wanted, drop it."
"""The advice for a reason that `REASONS` does not have."""
