"""What a person can do about what a customer's record says: findings, states of the link, failures, reasons.

Tables of texts and nothing else. What is shown where, worker.status.customer_text decides. `CUSTOMER` stands for the
customer's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs.plan.findings import FindingKind
from jobs.plan.plan import LinkState


@dataclass(frozen=True)
class Advice:
    """What a finding means for a customer, as half a sentence, and what can be done about it.

    `is_right` where the customer is as right as it can be all the same; else a person is needed.
    """

    means: str
    to_do: str
    is_right: bool = False


FINDINGS: Final[Mapping[FindingKind, Advice]] = {
    "unlinked": Advice(
        "it is not linked to a Stripe customer",
        "If it should be: customer-sync send CUSTOMER links it again, as far as STRIPE_WHEN_UNLINKED and the account's "
        "search allow. A change with the stripe_id of an existing Stripe customer links that one in any case.",
    ),
    "gone": Advice(
        "its Stripe customer is deleted or missing",
        "Send a change with the stripe_id of the right Stripe customer, or with null; or let STRIPE_WHEN_GONE link or "
        "create one, and run customer-sync send CUSTOMER.",
    ),
    "foreign": Advice(
        "its Stripe customer carries the id of another Autumn customer",
        "This is urgent: each change of the owner may overwrite the profile of the other in Autumn. Find out whose "
        "it is. Send a change with the right stripe_id, or with null; or correct metadata.autumn_id in Stripe. Then "
        "replay what was given up.",
    ),
    "ambiguous": Advice(
        "several Stripe customers carry its id",
        "Send a change with the stripe_id of the right one, and remove metadata.autumn_id from the others in Stripe. "
        "Then replay what was given up.",
    ),
    "name-cut": Advice(
        "the name is longer than Stripe takes and is cut there",
        "Nothing has to be done. A shorter name in Autumn is shown whole.",
        is_right=True,
    ),
    "email-left-out": Advice(
        "the e-mail address is longer than Stripe takes, and Stripe keeps the one it has",
        "Send a change with a shorter address.",
    ),
    "metadata-cut": Advice(
        "a metadata value is longer than Stripe takes and is cut there",
        "Nothing has to be done. A shorter value is shown whole; or take the key out of STRIPE_METADATA_KEYS.",
        is_right=True,
    ),
    "metadata-left-out": Advice(
        "Stripe has no room for a metadata key",
        "Remove keys from the Stripe customer that nobody needs, and run customer-sync send CUSTOMER; or take the key "
        "out of STRIPE_METADATA_KEYS.",
    ),
    "receipts-cannot-be-sent": Advice(
        "e-mail receipts are on and none can be sent",
        "Give the customer an e-mail address, or link it to a Stripe customer; or turn its receipts off.",
    ),
    "receipt-not-set": Advice(
        "a payment did not get its receipt's address",
        "Look at the payment in Stripe, and set the address there or mail the receipt by hand. If the payment's "
        "metadata is full, remove a key and run customer-sync send CUSTOMER.",
    ),
    "payments-not-all-seen": Advice(
        "only its newest payments were looked at",
        "Nothing has to be done, unless an older payment is still open: set its receipt's address in Stripe by hand.",
        is_right=True,
    ),
    "reapply-given-up": Advice(
        "something undoes a change of it each time, and it was left so",
        "Find out what else writes this customer in Autumn or in Stripe, and stop it. Then send the change again.",
    ),
    "refused-by-stripe": Advice(
        "Stripe refuses a value that Autumn holds",
        "Send a change with a value that Stripe takes. Until then Stripe keeps its own value of that field; all others "
        "are kept in sync.",
    ),
    "unexpected-answer-detail": Advice(
        "Autumn's answer has details of an unexpected form, which a sync does not use",
        "Nothing has to be done for this customer. If many customers have it, check AUTUMN_API_VERSION and report it.",
        is_right=True,
    ),
}

LINKS: Final[Mapping[LinkState, str]] = {
    LinkState.LINKED: "linked",
    LinkState.UNCLAIMED: "linked to a Stripe customer that carries no customer's id",
    LinkState.UNLINKED: "not linked",
    LinkState.GONE: "linked to a Stripe customer that is deleted or missing",
    LinkState.FOREIGN: "linked to a Stripe customer of another Autumn customer",
    LinkState.AMBIGUOUS: "without a Stripe customer that is there, and several carry its id",
    LinkState.WRONG_MODE: "not known: live and test mode are mixed",
}

FAILURES: Final[Mapping[str, str]] = {
    "timeout": "a service did not answer in time",
    "connection": "a service could not be reached",
    "no_connection": "a service could not be reached",
    "connection_lost": "the connection broke before the answer came",
    "service_unavailable": "a service was not available",
    "internal_error": "a service failed within itself",
    "rate_limit": "a rate limit was met",
    "http_429": "a rate limit was met",
    "stripe_rate_limit_exceeded": "a rate limit of Stripe was met",
    "lock_timeout": "Stripe was busy with this customer",
    "create_failed_before": "creating its Stripe customer failed before",
    "claimed_elsewhere": "another customer was just being linked to the same Stripe customer",
    "sync_too_long": "it took too long",
    "stale_read": "Autumn still showed an older state",
    "wrong_mode": "live and test mode are mixed",
    "other_account": "the two keys belong to different Stripe accounts",
    "unexpected": "of an error in this software",
}
"""Codes of failed syncs, as what follows "because"; a code that is not here has to speak for itself."""

WAITS: Final[Mapping[str, tuple[str, str]]] = {
    "create_failed_before": (
        "Stripe's search",
        "creating its Stripe customer failed, and the search will show whether one was made all the same",
    ),
}
"""What a customer waits for until a known time, and why, by the code of the failed sync."""

REASONS: Final[Mapping[str, str]] = {
    "invalid_event": "The event is not valid. Correct what sends it, send it anew, and drop this one.",
    "future_id": "Its id, or that of an event before it, was chosen ahead of the clock. Let every app add events with "
    "* as their id, then replay.",
    "mailbox_unusable": "The customer's mailbox takes no event. Delete the key that the message names, then replay.",
    "customer_not_found": "Autumn does not know this customer. Create it there, then replay.",
    "other_customer": "Autumn knows this id as its internal one. Send the event with the customer's own id, drop this.",
    "needs-review": "A person has to decide about the link. Do what the message says, then replay.",
    "stripe_customer_missing": "The stripe_id that was sent is not in Stripe. Send one that is, and drop this one.",
    "stripe_refused": "Stripe does not take a value. Send one that it takes, and drop this one.",
    "too_long": "A value is longer than Stripe takes. Send a shorter one, and drop this one.",
    "not_taken": "What was written reads back otherwise. Compare both sides with status --live, then replay.",
    "unexpected": "An error in this software; the message names the place. Replay when it is mended.",
    "internal_error": "Autumn failed at it each time while others worked. Ask Autumn, then replay.",
}
TO_DROP: Final = frozenset({"invalid_event", "other_customer", "stripe_customer_missing", "stripe_refused", "too_long"})
"""The reasons for which another event has to be sent, so that the letter is of no more use."""
OTHER_REASON: Final = "The message says why. When the cause is mended, replay; if the change is not wanted, drop it."
"""What can be done about dead letters, by reason; the last for a reason that is not here."""
