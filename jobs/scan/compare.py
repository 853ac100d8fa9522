"""Compare one customer on both sides: make the plan that a sync would make, and report it as findings. No I/O here.

Some findings need the lists of all customers, such as two customers with one `stripe_id`. No sync repairs those.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.events import CUSTOMER_ID_MAX
from jobs.plan.customer import (
    AUTUMN_ID,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    Mode,
    PaymentIntent,
    Payments,
    StripeCustomer,
    StripeView,
)
from jobs.plan.dry_run import dry_run
from jobs.plan.findings import DriftKind
from jobs.plan.plan import LinkState, Plan
from jobs.plan.policy import Policy
from jobs.plan.profile import divided, metadata_text
from jobs.plan.steps import SetReceiptEmail, Step, TakeBackReceiptEmail, UpdateStripe
from jobs.scan.report import ScanFinding

NAMED_AT_MOST: Final = 100
"""The most other customers that are read for one customer, and the most payments that a sync fetches."""


@dataclass(frozen=True)
class JoinedCustomer:
    """An Autumn customer, joined with what the lists show of it in Stripe.

    - `linked`: the Stripe customer under its `stripe_id`.
    - `ours`: the Stripe customers that carry its id, at most NAMED_AT_MOST.
    - `sharers`: the ids of other Autumn customers with the same `stripe_id`, at most NAMED_AT_MOST.
    - `payments`: the newest payments of the linked customer; None if they were not listed. One more than a sync
      fetches, which shows that there are more.
    - `is_checked`: False if Stripe's list lacks the linked customer and it was not looked up.
    """

    autumn: AutumnCustomer
    linked: StripeCustomer | None
    ours: tuple[StripeCustomer, ...] = ()
    sharers: tuple[str, ...] = ()
    payments: tuple[PaymentIntent, ...] | None = None
    is_checked: bool = True


NOTHING: Final = "nothing"
LINK_KINDS: Final[Mapping[LinkState, DriftKind]] = {
    LinkState.UNLINKED: "unlinked",
    LinkState.GONE: "gone",
    LinkState.FOREIGN: "foreign",
    LinkState.AMBIGUOUS: "ambiguous",
    LinkState.UNCLAIMED: "unclaimed",
    LinkState.WRONG_MODE: "wrong-mode",
}
BILLED_ELSEWHERE: Final = "billed-elsewhere"
SCAN_KINDS: Final[tuple[DriftKind, ...]] = (
    *LINK_KINDS.values(),
    BILLED_ELSEWHERE,
    "shared",
    "orphan",
    "profile-drift",
    "receipts-flag-drift",
    "receipt-email-drift",
    "receipt-not-set",
    "receipts-cannot-be-sent",
    "refused-by-stripe",
    "email-left-out",
    "metadata-left-out",
)
"""Every kind that a scan finds. A value that was cut to Stripe's limit is no finding: Stripe cannot hold more of it."""
_ID_FIELD: Final = f"metadata.{AUTUMN_ID}"
_FOR_A_PERSON: Final = frozenset({"receipts-cannot-be-sent", "receipt-not-set", "email-left-out", "metadata-left-out"})
"""Findings of a plan that no sync repairs, apart from those about the link."""
_NAMED: Final = 5


@dataclass(frozen=True)
class PlanInputs:
    """The inputs of a plan that are the same for all customers.

    `mode` is that of the Stripe key. `now` is in seconds since the epoch. `searched` is False if the Stripe account has
    no search: then a sync does not find every customer that a scan lists.
    """

    mode: Mode
    policy: Policy
    now: float
    searched: bool = True

    @property
    def skips_agreeing(self) -> Mode | None:
        """The mode, if the spool may skip customers that plainly agree; see `Spool.joined`. None if it may not."""
        return None if self.policy.reads_payments or self.policy.metadata_keys else self.mode


def findings_of(joined: JoinedCustomer, inputs: PlanInputs) -> list[ScanFinding]:
    """Return the findings about one Autumn customer; none if both sides agree."""
    if not joined.is_checked:
        return [*_shared(joined)]
    view = _view(joined, inputs)
    run = dry_run(joined.autumn, view, mode=inputs.mode, policy=inputs.policy, now=inputs.now)
    plan, steps = run.plan, run.steps
    if (plan.link is LinkState.UNCLAIMED and joined.sharers) or len(joined.autumn.id) > CUSTOMER_ID_MAX:
        # The customer that is synced first would get the claim. And an id that is too long fits into no event.
        steps = ()
    found = [*_link(joined, view, plan, steps), *_shared(joined), *_several(joined, plan)]
    if plan.link in {LinkState.LINKED, LinkState.UNCLAIMED} and joined.linked is not None:
        found += _profile(joined, joined.linked, plan, steps)
        found += _payments(joined, joined.linked, steps)
    return [*found, *_for_a_person(joined, plan)]


def orphan(stripe: StripeCustomer) -> ScanFinding:
    """Return the finding about a Stripe customer whose `autumn_id` Autumn does not know."""
    owner = stripe.owner or ""
    reason = f"{stripe.id} carries the id {owner}, and Autumn has no such customer: it was deleted or renamed in Autumn"
    return ScanFinding(owner, "orphan", (stripe.id,), _ID_FIELD, None, owner, reason, NOTHING, is_repairable=False)


def _view(joined: JoinedCustomer, inputs: PlanInputs) -> StripeView:
    """Return the view that a sync would fetch. A sync searches for `ours` only if nothing is linked."""
    payments = None
    if inputs.policy.reads_payments and joined.payments is not None:
        newest = joined.payments[:NAMED_AT_MOST]
        payments = Payments(newest, all_seen=len(newest) == len(joined.payments))
    is_missing = joined.linked is None and joined.autumn.stripe_id is not None
    ours = joined.ours if joined.linked is None else ()
    if not inputs.searched:
        ours = tuple(each for each in ours if each.email and each.email == joined.autumn.email)
    return StripeView(
        linked=joined.linked, is_missing=is_missing, ours=ours, searched=inputs.searched, payments=payments
    )


def _link(joined: JoinedCustomer, view: StripeView, plan: Plan, steps: tuple[Step, ...]) -> Iterator[ScanFinding]:
    kind = LINK_KINDS.get(plan.link)
    if kind is None:
        return
    if any(finding.kind == BILLED_ELSEWHERE for finding in plan.findings):
        kind = BILLED_ELSEWHERE
    autumn, linked = joined.autumn, joined.linked
    field, ours, theirs = "stripe_id", autumn.stripe_id, joined.ours[0].id if joined.ours else None
    if plan.link in {LinkState.FOREIGN, LinkState.UNCLAIMED} and linked is not None:
        field, ours, theirs = _ID_FIELD, autumn.id, linked.owner
    elif plan.link is LinkState.AMBIGUOUS:
        theirs = _named(customer.id for customer in joined.ours)
    elif plan.link is LinkState.WRONG_MODE:
        field, ours, theirs = "mode", autumn.mode, linked.mode if linked else None
    stripe_ids = (linked.id,) if linked else tuple(customer.id for customer in joined.ours)
    if autumn.stripe_id is not None and linked is None:
        stripe_ids = (autumn.stripe_id, *stripe_ids)
    would = ", then ".join(step.describe() for step in steps) or NOTHING
    reason = _reason(joined, view, plan, kind)
    yield ScanFinding(autumn.id, kind, stripe_ids, field, ours, theirs, reason, would, is_repairable=bool(steps))


def _reason(joined: JoinedCustomer, view: StripeView, plan: Plan, kind: DriftKind) -> str:
    is_searchless = not view.searched and not view.ours and kind != BILLED_ELSEWHERE
    if is_searchless and plan.link in {LinkState.UNLINKED, LinkState.GONE}:
        return _without_search(joined)
    text = next((finding.text for finding in plan.findings if finding.kind == kind), None)
    if text is not None:
        return text
    if plan.refusal is not None:
        return plan.refusal.text
    stripe_id = joined.autumn.stripe_id
    match plan.link:
        case LinkState.GONE:
            return f"{stripe_id} is deleted, or not of this account"
        case LinkState.UNCLAIMED:
            return f"{stripe_id} is linked and carries no {AUTUMN_ID}"
        case LinkState.UNLINKED if joined.ours:
            return f"{joined.ours[0].id} carries its id, and Autumn has no link"
        case LinkState.UNLINKED:
            return "Autumn has no link, and no Stripe customer carries its id"
        case _:
            return "one side is live and the other test, or its environment is unknown"


def _without_search(joined: JoinedCustomer) -> str:
    """Explain why a customer stays unlinked, and what to do."""
    if joined.ours:
        stripe_id = joined.ours[0].id
        return (
            f"{stripe_id} carries its id and another e-mail address. This Stripe account has no search, so a sync does "
            f"not find it. If it is the right one, send an event with the stripe_id {stripe_id}"
        )
    return (
        "no Stripe customer carries its id and its e-mail address. This Stripe account has no search, so a sync "
        "creates none. Send an event with the stripe_id of the right one"
    )


def _shared(joined: JoinedCustomer) -> Iterator[ScanFinding]:
    autumn = joined.autumn
    if not joined.sharers or autumn.stripe_id is None:
        return
    owner = joined.linked.owner if joined.linked else None
    reason = (
        f"{autumn.stripe_id} is also the stripe_id of {_named(joined.sharers)}. This is urgent: each change of one may "
        "overwrite the other's name and e-mail in Autumn"
    )
    yield ScanFinding(
        autumn.id, "shared", (autumn.stripe_id,), "stripe_id", autumn.stripe_id, owner, reason, NOTHING, False
    )


def _several(joined: JoinedCustomer, plan: Plan) -> Iterator[ScanFinding]:
    """Report other Stripe customers that carry the id of a linked customer. A sync does not search for them."""
    is_claimable = plan.link is LinkState.UNCLAIMED and joined.linked is not None
    ids = {customer.id for customer in joined.ours} | ({joined.linked.id} if is_claimable and joined.linked else set())
    if plan.link is LinkState.AMBIGUOUS or len(ids) <= 1:
        return
    autumn, named = joined.autumn, _named(sorted(ids))
    reason = f"several Stripe customers carry its id: {named}. Remove metadata.{AUTUMN_ID} from all but the right one"
    yield ScanFinding(
        autumn.id, "ambiguous", tuple(sorted(ids)), "stripe_id", autumn.stripe_id, named, reason, NOTHING, False
    )


def _profile(
    joined: JoinedCustomer, linked: StripeCustomer, plan: Plan, steps: tuple[Step, ...]
) -> Iterator[ScanFinding]:
    for step in steps:
        if not isinstance(step, UpdateStripe):
            continue
        for part in divided(step):
            ((field, value),) = part.written.items()
            is_flag = field == f"metadata.{SEND_EMAIL_RECEIPTS}"
            theirs = _value_at(linked, field)
            if plan.link is LinkState.UNCLAIMED and (field == _ID_FIELD or (is_flag and theirs is None)):
                continue  # The finding "unclaimed" covers it.
            kind: DriftKind = "receipts-flag-drift" if is_flag else "profile-drift"
            reason = f"{field} is missing in Stripe" if theirs is None else f"{field} differs"
            would = part.describe()
            yield ScanFinding(
                joined.autumn.id, kind, (linked.id,), field, value, theirs, reason, would, is_repairable=True
            )


def _payments(joined: JoinedCustomer, linked: StripeCustomer, steps: tuple[Step, ...]) -> Iterator[ScanFinding]:
    addresses = {intent.id: intent.receipt_email for intent in joined.payments or ()}
    for step in steps:
        if not isinstance(step, SetReceiptEmail | TakeBackReceiptEmail):
            continue
        wanted = step.address or None
        reason = (
            "receipts are on, and this payment has no address" if wanted else "receipts are off, and our address is set"
        )
        yield ScanFinding(
            joined.autumn.id,
            "receipt-email-drift",
            (linked.id, step.intent_id),
            "receipt_email",
            wanted,
            addresses.get(step.intent_id),
            reason,
            step.describe(),
            is_repairable=True,
        )


def _for_a_person(joined: JoinedCustomer, plan: Plan) -> Iterator[ScanFinding]:
    """Report what the plan leaves to a person, such as receipts that cannot be sent."""
    autumn, linked = joined.autumn, joined.linked
    stripe_ids = () if autumn.stripe_id is None else (autumn.stripe_id,)
    for finding in plan.findings:
        is_about_the_link = plan.link is LinkState.UNCLAIMED and plan.refusal is not None
        if finding.kind not in _FOR_A_PERSON or is_about_the_link:
            continue
        field, ours = "email", autumn.email
        if finding.kind == "metadata-left-out":
            field = finding.text.partition(":")[0]
            ours = _metadata_value(autumn, field.removeprefix("metadata."))
        theirs = None if linked is None else _value_at(linked, field)
        yield ScanFinding(
            autumn.id, finding.kind, stripe_ids, field, ours, theirs, finding.text, NOTHING, is_repairable=False
        )


def _metadata_value(autumn: AutumnCustomer, key: str) -> str | None:
    """Return the value that a key of Stripe's metadata should have."""
    if key == SEND_EMAIL_RECEIPTS:
        return metadata_text(autumn.send_email_receipts)
    value = autumn.metadata.get(key)
    return None if value is None else metadata_text(value)


def _value_at(stripe: StripeCustomer, field: str) -> str | None:
    if field.startswith("metadata."):
        return stripe.metadata.get(field.removeprefix("metadata."))
    return stripe.name if field == "name" else stripe.email


def _named(ids: Iterable[str]) -> str:
    """Join the first few ids for a sentence."""
    every_id = list(ids)
    more = len(every_id) - _NAMED
    return ", ".join(every_id[:_NAMED]) + (f" and {more} or more others" if more > 0 else "")
