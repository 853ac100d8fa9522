"""Decide the next steps of a sync from the state of both sides. No I/O here.

A plan holds only the next steps. The sync applies them, uses the result for the next plan, and stops when a plan has no
steps. To create a customer, link it and copy the profile takes three plans. So an interrupted sync just plans again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import JsonValue

from jobs.errors import GiveUp, Halt
from jobs.plan.customer import AUTUMN_ID, AutumnCustomer, Mode, StripeCustomer, StripeView
from jobs.plan.findings import Finding
from jobs.plan.policy import Policy
from jobs.plan.profile import (
    PROFILE,
    Refused,
    WriteRules,
    can_be_claimed,
    name_and_email_update,
    profile_update,
    too_long,
)
from jobs.plan.receipts import (
    may_have_been_on,
    receipt_findings,
    receipt_steps,
    wants_payments,
)
from jobs.plan.steps import CreateInStripe, ReceiptStep, Step, UpdateAutumn, UpdateStripe


class LinkState(StrEnum):
    """The state of the link between an Autumn customer and a Stripe customer."""

    LINKED = "linked"
    UNCLAIMED = "unclaimed"
    UNLINKED = "unlinked"
    GONE = "gone"
    FOREIGN = "foreign"
    AMBIGUOUS = "ambiguous"
    WRONG_MODE = "wrong-mode"


@dataclass(frozen=True)
class Request:
    """The request of a sync.

    - `changes`: the changes that Autumn has not received yet.
    - `cleared`: the fields (and `metadata.key`) that an event set to null, sent already or not. Only those may be
      cleared in Stripe. A `stripe_id` among them means that the customer was unlinked on purpose.
    - `gone_confirmed`: True if Autumn has confirmed that the linked customer is gone.
    - `suspicious`: True if a write may have arrived late.
    - `requested`: the fields that the events name, sent already or not.
    - `refused`, `forms`, `left`: see `WriteRules`.
    - `autumn_accepts`: False for a probe until Autumn has accepted an update. Nothing is written to Stripe before that.
    - `unaccepted`: the fields that Autumn has no value for, and that have a value of ours in Stripe that Autumn has not
      accepted.
    """

    changes: Mapping[str, JsonValue] = field(default_factory=dict)
    cleared: frozenset[str] = frozenset()
    gone_confirmed: bool = False
    suspicious: bool = False
    requested: frozenset[str] = frozenset()
    refused: tuple[Refused, ...] = ()
    forms: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    autumn_accepts: bool = True
    unaccepted: frozenset[str] = frozenset()

    @property
    def rules(self) -> WriteRules:
        """The rules for an update of Stripe."""
        return WriteRules(self.cleared, self.requested, self.refused, self.forms, self.left)


@dataclass(frozen=True)
class Refusal:
    """The reason why nothing may be written. `text` names the ids and says what a person can do."""

    code: str
    text: str


NEEDS_REVIEW = "needs-review"
BILLING_DETAILS = "billing_details"


def needs_link(changes: Mapping[str, JsonValue]) -> bool:
    """Return whether Autumn takes the changes only for a linked customer: it stores billing details in Stripe."""
    return bool(changes.get(BILLING_DETAILS))


@dataclass(frozen=True)
class Plan:
    """The state of the link, the next steps, and what a person should know."""

    link: LinkState
    steps: tuple[Step, ...] = ()
    wants_payments: bool = False
    """True if the next steps depend on payments that were not fetched."""
    refusal: Refusal | None = None
    findings: tuple[Finding, ...] = ()

    def raise_if_blocked(self, autumn: AutumnCustomer) -> None:
        """Raise Halt if the modes differ, and GiveUp if a person has to decide."""
        if self.link is LinkState.WRONG_MODE:
            what = f"Autumn answered for {autumn.mode} mode" if autumn.mode else "Autumn's environment is unknown"
            fix = "set AUTUMN_SECRET_KEY and STRIPE_API_KEY to keys of the same mode"
            raise Halt("stripe", "wrong_mode", f"{what}: {fix}")
        if self.refusal is not None:
            raise GiveUp("stripe", self.refusal.code, self.refusal.text)


def make_plan(
    autumn: AutumnCustomer, view: StripeView, request: Request, *, mode: Mode, policy: Policy, now: float
) -> Plan:
    """Return the next steps that fulfil the request and make Stripe agree with Autumn.

    `mode` is that of the Stripe key. `now` is in seconds since the epoch.
    """
    link = link_state(autumn, view, mode)
    if link is LinkState.WRONG_MODE:
        return Plan(link)
    plan = (
        _relink(autumn, view, request)
        if "stripe_id" in request.changes
        else _plan(link, autumn, view, request, policy, now)
    )
    if request.autumn_accepts or all(isinstance(step, UpdateAutumn) for step in plan.steps):
        return plan
    # The probe sends no changes, because Stripe may still refuse some, and they must not be applied in part.
    return replace(plan, steps=(UpdateAutumn({}),))


def _plan(
    link: LinkState, autumn: AutumnCustomer, view: StripeView, request: Request, policy: Policy, now: float
) -> Plan:
    match link:
        case LinkState.FOREIGN:
            return _foreign(autumn, view)
        case LinkState.AMBIGUOUS:
            return _ambiguous(autumn, view)
        case LinkState.UNLINKED:
            return _unlinked(autumn, view, request, policy)
        case LinkState.GONE:
            return _gone(autumn, view, request, policy)
        case _:
            return _linked(link, autumn, view, request, policy, now)


def link_state(autumn: AutumnCustomer, view: StripeView, mode: Mode) -> LinkState:
    """Return the current state of the link, without regard to the request."""
    if autumn.mode != mode or any(customer.mode != mode for customer in view.all_customers):
        return LinkState.WRONG_MODE
    if view.linked is None and len(view.ours) > 1:
        return LinkState.AMBIGUOUS
    if autumn.stripe_id is None:
        return LinkState.UNLINKED
    if view.linked is None:
        return LinkState.GONE
    owner = view.linked.owner
    if owner is None:
        return LinkState.UNCLAIMED
    return LinkState.LINKED if owner == autumn.id else LinkState.FOREIGN


def _relink(autumn: AutumnCustomer, view: StripeView, request: Request) -> Plan:
    """Plan changes that set `stripe_id`: they link or unlink, whatever the state of the link is."""
    wanted = request.changes["stripe_id"]
    if not wanted:
        return Plan(LinkState.UNLINKED, (UpdateAutumn(request.changes),))
    if view.wanted is None:
        text = f"changes.stripe_id: {wanted} is deleted or unknown to Stripe; send the id of an existing customer"
        return Plan(LinkState.GONE, refusal=Refusal("stripe_customer_missing", text))
    if view.wanted.owner not in {None, autumn.id}:
        text = (
            f"changes.stripe_id: {wanted} belongs to the Autumn customer {view.wanted.owner} (its metadata.autumn_id); "
            "send another id, or remove that metadata in Stripe if it is wrong"
        )
        return Plan(LinkState.FOREIGN, refusal=Refusal(NEEDS_REVIEW, text))
    if view.wanted.id in view.linked_elsewhere:
        return _shared_by_rename(LinkState.FOREIGN, autumn, view.wanted.id, view.linked_elsewhere[view.wanted.id])
    # Autumn may still refuse this customer, so it is linked before it is claimed and written to.
    link = LinkState.LINKED if view.wanted.owner else LinkState.UNCLAIMED
    alone = Plan(link, (UpdateAutumn({"stripe_id": view.wanted.id}),))
    return _no_room(link, view.wanted) or _unfit(link, request) or alone


def _no_room(link: LinkState, stripe: StripeCustomer) -> Plan | None:
    """Return the plan for a customer without room for the claim; None if there is room."""
    if can_be_claimed(stripe):
        return None
    fact = f"{stripe.id} has as many metadata keys as Stripe allows, and no room for {AUTUMN_ID}"
    refusal = Refusal(NEEDS_REVIEW, f"{fact}: remove a key in Stripe, and replay this dead letter")
    return Plan(link, refusal=refusal, findings=(Finding("metadata-left-out", fact),))


def _foreign(autumn: AutumnCustomer, view: StripeView) -> Plan:
    owner = view.linked.owner if view.linked else None
    fact = (
        f"{autumn.id} is linked to {autumn.stripe_id}, which belongs to the Autumn customer {owner} (its "
        f"metadata.autumn_id). This is urgent: each change of {owner} may overwrite the name and e-mail of {autumn.id} "
        "in Autumn"
    )
    advice = (
        f"{fact}. Send an event for {autumn.id} with the right stripe_id, or with stripe_id null. Or, if "
        f"{autumn.stripe_id} is right, correct its metadata.autumn_id in Stripe. Then replay this dead letter"
    )
    return Plan(LinkState.FOREIGN, refusal=Refusal(NEEDS_REVIEW, advice), findings=(Finding("foreign", fact),))


def _ambiguous(autumn: AutumnCustomer, view: StripeView) -> Plan:
    ids = ", ".join(sorted(customer.id for customer in view.ours))
    link = f"linked to {autumn.stripe_id}, which is deleted or missing" if autumn.stripe_id else "not linked"
    fact = f"{autumn.id} is {link}, and several Stripe customers carry it as metadata.autumn_id: {ids}"
    advice = (
        f"{fact}. Send an event for {autumn.id} with the stripe_id of the right one, and remove that metadata from the "
        "others. Then replay this dead letter"
    )
    return Plan(LinkState.AMBIGUOUS, refusal=Refusal(NEEDS_REVIEW, advice), findings=(Finding("ambiguous", fact),))


def _unlinked(autumn: AutumnCustomer, view: StripeView, request: Request, policy: Policy) -> Plan:
    link = LinkState.UNLINKED
    on_purpose = "stripe_id" in request.cleared
    is_left_alone = policy.leaves_alone(autumn)
    if not on_purpose and not is_left_alone:
        if view.ours and policy.when_unlinked != "report":
            return _linked_elsewhere(link, autumn, view) or _send(link, autumn, view.ours[0], request)
        if not view.ours and view.searched and policy.when_unlinked == "create":
            return _create(link, autumn, request)
    why = _why_not(view, f"STRIPE_WHEN_UNLINKED is {policy.when_unlinked}")
    found = Finding("unlinked", "unlinked by an event" if on_purpose else why)
    if is_left_alone:
        text = f"it is a customer of {' and '.join(autumn.elsewhere)}, and STRIPE_WHEN_UNLINKED_ELSEWHERE is report"
        found = Finding("billed-elsewhere", text)
    findings = (found, *_no_receipts(autumn, "not linked"))
    if needs_link(request.changes):
        advice = f"{found.text}. {policy.how_to_link(autumn.elsewhere, view)}. Then replay this dead letter"
        text = f"changes.{BILLING_DETAILS}: needs a linked Stripe customer, and {advice}"
        return Plan(link, refusal=Refusal("not_linked", text), findings=findings)
    steps = (UpdateAutumn(request.changes),) if request.changes else ()
    return Plan(link, steps, findings=findings)


def _gone(autumn: AutumnCustomer, view: StripeView, request: Request, policy: Policy) -> Plan:
    link = LinkState.GONE
    may_link = policy.when_gone != "report" and bool(view.ours)
    may_create = policy.when_gone == "create" and view.searched and not view.ours
    is_certain = request.gone_confirmed or (request.autumn_accepts and not view.is_missing)
    if (may_link or may_create or request.changes) and not is_certain:
        # Confirm it first, before anything is linked, created or refused.
        return Plan(link, (UpdateAutumn({}, expects_gone=True),))
    if may_link:
        return _linked_elsewhere(link, autumn, view) or _send(link, autumn, view.ours[0], request)
    if may_create:
        return _create(link, autumn, request)
    why = _why_not(view, f"STRIPE_WHEN_GONE is {policy.when_gone}")
    text = f"the linked Stripe customer {autumn.stripe_id} is deleted or missing: {why}"
    findings = (Finding("gone", text), *_no_receipts(autumn, "the Stripe customer is gone"))
    if not request.changes:
        return Plan(link, findings=findings)
    advice = (
        f"{text}. Autumn refuses every change of this customer. Send an event with another stripe_id or null, and "
        "replay this dead letter"
    )
    return Plan(link, refusal=Refusal(NEEDS_REVIEW, advice), findings=findings)


def _why_not(view: StripeView, setting: str) -> str:
    if view.ours:
        return f"{view.ours[0].id} carries its id and could be linked, but {setting}"
    if not view.searched:
        return "no customer with its e-mail carries its id. This Stripe account has no search, so none is created"
    return f"no Stripe customer carries its id, and {setting}"


def _create(link: LinkState, autumn: AutumnCustomer, request: Request) -> Plan:
    return _unfit(link, request) or Plan(link, (CreateInStripe(autumn.id),))


def _linked_elsewhere(link: LinkState, autumn: AutumnCustomer, view: StripeView) -> Plan | None:
    """Return the plan if another Autumn customer is linked to the one that carries our id; else None.

    A rename in Autumn leaves such a state.
    """
    target = view.ours[0].id
    is_elsewhere = target in view.linked_elsewhere
    return _shared_by_rename(link, autumn, target, view.linked_elsewhere[target]) if is_elsewhere else None


def _shared_by_rename(link: LinkState, autumn: AutumnCustomer, target: str, other: str) -> Plan:
    owner_text = f"the Autumn customer {other} is linked to it" if other else "its current Autumn customer is unknown"
    fact = f"{target} carries {autumn.id} as its metadata.autumn_id, is older than {autumn.id}, and {owner_text}"
    advice = (
        f"{fact}. If {autumn.id} was renamed, correct metadata.autumn_id of {target} in Stripe. Or send an event for "
        f"{autumn.id} with the right stripe_id. Then replay this dead letter"
    )
    return Plan(link, refusal=Refusal(NEEDS_REVIEW, advice), findings=(Finding("foreign", fact),))


def _send(link: LinkState, autumn: AutumnCustomer, target: StripeCustomer, request: Request) -> Plan:
    """Plan to send the changes and the link to `target`, which carries our id."""
    if target.id != autumn.stripe_id and needs_link(request.changes):
        return _unfit(link, request) or Plan(link, (UpdateAutumn({"stripe_id": target.id}),))
    changes = request.changes if target.id == autumn.stripe_id else {**request.changes, "stripe_id": target.id}
    return _unfit(link, request) or _stripe_first(link, autumn, target, UpdateAutumn(changes), request)


def _stripe_first(
    link: LinkState, autumn: AutumnCustomer, target: StripeCustomer, update: UpdateAutumn, request: Request
) -> Plan:
    """Write the future name and e-mail to Stripe before Autumn receives the update.

    If Autumn writes to a Stripe customer, a webhook brings the whole profile back to Autumn, and may overwrite newer
    values. If Stripe already has the new profile, Autumn has nothing to write.
    """
    will_be: dict[str, Any] = {}
    for name in PROFILE:
        now, value = getattr(autumn, name), request.changes.get(name, getattr(autumn, name))
        # If Autumn refuses, a value that only Stripe has could not be restored, so it stays until Autumn accepts. One
        # that Autumn never accepted is ours, and is cleared now.
        stays = getattr(target, name) and not now and name not in request.unaccepted
        will_be[name] = getattr(target, name) if stays else str(value) if value else None
    cleared = frozenset(name for name in request.cleared if getattr(autumn, name, True) or name in request.unaccepted)
    rules = replace(request.rules, cleared=cleared)
    write, findings = name_and_email_update(replace(autumn, **will_be), target, rules)
    return Plan(link, (update,) if write.writes_nothing else (write,), findings=tuple(findings))


def _unfit(link: LinkState, request: Request) -> Plan | None:
    """Return the plan for changes that Stripe would refuse when Autumn forwards them; None if it would not."""
    text = too_long(request.changes)
    return Plan(link, refusal=Refusal("too_long", text)) if text is not None else None


def _linked(
    link: LinkState, autumn: AutumnCustomer, view: StripeView, request: Request, policy: Policy, now: float
) -> Plan:
    stripe = view.linked
    if stripe is None:
        raise ValueError("view.linked: must be set for a linked customer")
    refused = _no_room(link, stripe) or _unfit(link, request)
    if refused is not None:
        return refused
    if request.changes:
        return _stripe_first(link, autumn, stripe, UpdateAutumn(request.changes), request)
    update, cut = profile_update(autumn, stripe, request.rules, policy.metadata_keys)
    write = () if update.writes_nothing else (update,)
    wants = wants_payments(autumn, stripe, policy, suspicious=request.suspicious)
    takes_back = wants and may_have_been_on(stripe) and not autumn.send_email_receipts
    address = stripe.email if update.email is None else update.email
    findings = (*cut, *(() if address else _no_receipts(autumn, "no e-mail address")))
    if takes_back and link is LinkState.UNCLAIMED:
        # Claim the customer before anything is written to its payments.
        return Plan(link, (UpdateStripe(stripe.id, metadata=((AUTUMN_ID, autumn.id),)),), findings=findings)
    if write and not takes_back:
        # The profile comes first. But "off" is written last, after every address of "on" is removed.
        return Plan(link, write, findings=findings)
    if wants and view.payments is None:
        return Plan(link, wants_payments=True, findings=findings)
    receipts: tuple[ReceiptStep, ...] = ()
    if wants and view.payments is not None:
        receipts = receipt_steps(autumn, stripe, view.payments, policy, now)
        findings = (*findings, *receipt_findings(autumn, stripe, view.payments, policy, now))
    return Plan(link, receipts or write, findings=findings)


def _no_receipts(autumn: AutumnCustomer, reason: str) -> tuple[Finding, ...]:
    return (Finding("receipts-cannot-be-sent", reason),) if autumn.send_email_receipts else ()


def after_update(autumn: AutumnCustomer, view: StripeView, changes: Mapping[str, JsonValue]) -> StripeView | None:
    """Return the view after Autumn accepted `changes`; None if it cannot be derived from the view before.

    `autumn` is the state before. Autumn itself writes a changed name or e-mail to Stripe.
    """
    stripe_id = changes.get("stripe_id", autumn.stripe_id)
    if not stripe_id:
        # The view before an unlink lacks `ours`, because nothing was searched.
        return None if "stripe_id" in changes else view
    linked = next((customer for customer in view.all_customers if customer.id == stripe_id), None)
    if linked is None:
        return None
    name, email = changes.get("name"), changes.get("email")
    if isinstance(name, str) and name != autumn.name:
        linked = replace(linked, name=name or None)
    if isinstance(email, str) and email != autumn.email:
        linked = replace(linked, email=email)
    return StripeView(linked=linked, payments=view.payments if linked.id == autumn.stripe_id else None)
