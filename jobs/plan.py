"""What a sync would do, decided from what both sides say. Purely computational, no I/O here.

A plan names the next steps only. Whoever applies them looks at the result and plans again, until nothing is left:
creating a customer, linking it and copying the profile are three plans, and a plan that was cut short is simply made
again.
"""

from dataclasses import dataclass
from enum import StrEnum

from jobs.customer import AutumnCustomer, Mode, StripeCustomer, StripeView

AUTUMN_ID = "autumn_id"
NAME_MAX, EMAIL_MAX = 256, 512
"""Characters that Stripe takes."""
SEND_EMAIL_RECEIPTS = "autumn_send_email_receipts"


class LinkState(StrEnum):
    """How the two sides are connected."""

    LINKED = "linked"
    UNCLAIMED = "unclaimed"
    UNLINKED = "unlinked"
    GONE = "gone"
    FOREIGN = "foreign"
    AMBIGUOUS = "ambiguous"
    WRONG_MODE = "wrong-mode"


@dataclass(frozen=True)
class CreateInStripe:
    """Create the Stripe customer, with nothing but its `autumn_id`: the profile follows in an update."""

    autumn_id: str


@dataclass(frozen=True)
class LinkInAutumn:
    """Set Autumn's `stripe_id`."""

    stripe_id: str


@dataclass(frozen=True)
class UpdateStripe:
    """Write what differs. None leaves a field as it is, the empty text clears it."""

    stripe_id: str
    name: str | None = None
    email: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


Step = CreateInStripe | LinkInAutumn | UpdateStripe


@dataclass(frozen=True)
class Plan:
    """The state of the link, the next steps, and what a person should know.

    `needs_review` says why nothing may be written until a person has decided. `receipts` is the reason why no
    receipt can be sent although the flag is on.
    """

    link: LinkState
    steps: tuple[Step, ...] = ()
    needs_review: str | None = None
    receipts: str | None = None


def make_plan(autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str] = frozenset()) -> Plan:
    """The plan that brings Stripe to what Autumn says.

    `mode` is that of the Stripe key, `cleared` the fields that the changes being applied said to be null: only those
    may be blanked in Stripe, and a `stripe_id` among them means that the customer was unlinked on purpose.
    """
    link = _link_state(autumn, view, mode)
    match link:
        case LinkState.WRONG_MODE:
            return Plan(link)
        case LinkState.UNLINKED:
            return Plan(link, _connect(autumn, view, cleared), receipts=_no_receipts(autumn, view, "not linked"))
        case LinkState.GONE:
            review = f"the linked Stripe customer {autumn.stripe_id} is deleted or missing"
            return Plan(link, needs_review=review, receipts=_no_receipts(autumn, view, "the Stripe customer is gone"))
        case LinkState.FOREIGN:
            other = view.linked.metadata.get(AUTUMN_ID) if view.linked else None
            return Plan(link, needs_review=f"{autumn.stripe_id} belongs to the Autumn customer {other}")
        case LinkState.AMBIGUOUS:
            ids = ", ".join(customer.id for customer in view.ours)
            return Plan(link, needs_review=f"several Stripe customers carry this autumn_id: {ids}")
        case LinkState.LINKED | LinkState.UNCLAIMED:
            return Plan(link, _repair(autumn, view, cleared), receipts=_no_receipts(autumn, view, "no e-mail address"))


def _link_state(autumn: AutumnCustomer, view: StripeView, mode: Mode) -> LinkState:
    seen = [*view.ours, *([view.linked] if view.linked else [])]
    if autumn.mode != mode or any(customer.mode != mode for customer in seen):
        return LinkState.WRONG_MODE
    if autumn.stripe_id is None:
        return LinkState.AMBIGUOUS if len(view.ours) > 1 else LinkState.UNLINKED
    if view.linked is None:
        return LinkState.GONE
    owner = view.linked.metadata.get(AUTUMN_ID)
    if not owner:
        return LinkState.UNCLAIMED
    return LinkState.LINKED if owner == autumn.id else LinkState.FOREIGN


def _connect(autumn: AutumnCustomer, view: StripeView, cleared: frozenset[str]) -> tuple[Step, ...]:
    if "stripe_id" in cleared:
        return ()
    if view.ours:
        return (LinkInAutumn(view.ours[0].id),)
    return (CreateInStripe(autumn.id),)


def _repair(autumn: AutumnCustomer, view: StripeView, cleared: frozenset[str]) -> tuple[Step, ...]:
    stripe = view.linked
    if stripe is None:
        return ()
    metadata = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: str(autumn.send_email_receipts).lower()}
    # What Stripe would refuse must not hold up everything else: a long name is cut, a long address is left alone.
    name = autumn.name[:NAME_MAX] if autumn.name else autumn.name
    email = autumn.email if len(autumn.email or "") <= EMAIL_MAX else stripe.email
    update = UpdateStripe(
        stripe.id,
        name=_difference(name, stripe.name, "name" in cleared),
        email=_difference(email, stripe.email, "email" in cleared),
        metadata=tuple((key, value) for key, value in metadata.items() if stripe.metadata.get(key) != value),
    )
    return (update,) if update != UpdateStripe(stripe.id) else ()


def _difference(autumn: str | None, stripe: str | None, was_cleared: bool) -> str | None:
    """What to write so that Stripe's value becomes Autumn's: None for nothing, "" to clear."""
    if autumn:
        return autumn if autumn != stripe else None
    return "" if was_cleared and stripe else None


def _no_receipts(autumn: AutumnCustomer, view: StripeView, reason: str) -> str | None:
    can_be_mailed: StripeCustomer | None = view.linked
    will_have_address = can_be_mailed is not None and bool(autumn.email or can_be_mailed.email)
    return reason if autumn.send_email_receipts and not will_have_address else None
