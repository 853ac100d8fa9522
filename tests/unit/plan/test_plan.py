"""The plan: its steps in each state, its end, and the writes that it never makes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.plan.customer import AutumnCustomer, Mode, Payments, StripeCustomer, StripeView
from jobs.plan.plan import LinkState, Plan, Request, after_update, make_plan
from jobs.plan.policy import Policy
from jobs.plan.steps import CreateInStripe, Step, UpdateAutumn, UpdateStripe

ANN = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=True)
METADATA = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
STRIPE_ANN = StripeCustomer("cus_1", "Ann", "ann@example.com", "test", METADATA)

STRIPE_TWO = replace(STRIPE_ANN, id="cus_2")

TEXTS = st.sampled_from(["Ann", "Bob", None, ""])
MODES: st.SearchStrategy[Mode] = st.sampled_from(["test", "live"])
NOTHING = Request()
SAID = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXTS,
        "email": TEXTS,
        "metadata": st.just({"k": 1}),
        "billing_details": st.just({"tax_exempt": "none"}),
    },
)
asked = st.builds(
    lambda changes, cleared, accepts: Request(
        changes,
        cleared | {name for name in changes if not changes[name]},
        requested=frozenset(changes),
        autumn_accepts=accepts,
    ),
    SAID,
    st.frozensets(st.sampled_from(["name", "email", "stripe_id"])),
    st.booleans(),
)
AUTUMN = st.builds(
    AutumnCustomer,
    id=st.just("ann"),
    name=TEXTS,
    email=TEXTS,
    stripe_id=st.sampled_from(["cus_1", None]),
    mode=MODES | st.none(),
    send_email_receipts=st.booleans(),
    elsewhere=st.sampled_from([(), (), ("revenuecat",)]),
)


def stripe_customers(owners: list[str | None]) -> st.SearchStrategy[StripeCustomer]:
    def build(
        name: str | None, email: str | None, mode: Mode, owner: str | None, more: dict[str, str]
    ) -> StripeCustomer:
        return StripeCustomer("cus_1", name, email, mode, more | ({"autumn_id": owner} if owner else {}))

    more = st.dictionaries(st.sampled_from(["autumn_send_email_receipts", "theirs"]), st.sampled_from(["true", "x"]))
    return st.builds(build, name=TEXTS, email=TEXTS, mode=MODES, owner=st.sampled_from(owners), more=more)


VIEWS = st.builds(
    StripeView,
    linked=st.none() | stripe_customers(["ann", None, "bob"]),
    ours=st.lists(stripe_customers(["ann"]), max_size=2).map(tuple),
)


def fetched(autumn: AutumnCustomer, view: StripeView) -> StripeView:
    """Return the part of a view that a sync fetches: the linked customer, or those that carry the id."""
    if autumn.stripe_id and view.linked is not None:
        return StripeView(linked=view.linked)
    # Stripe's search does not find a customer that is missing.
    ours = tuple(each for each in view.ours if each.id != autumn.stripe_id)
    return StripeView(ours=ours, is_missing=bool(autumn.stripe_id))


def after_step(
    step: Step, autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> tuple[AutumnCustomer, StripeView, Request]:
    """Return both sides after a step, and the rest of the request."""
    match step:
        case UpdateAutumn(_, True):
            return autumn, view, replace(request, gone_confirmed=True, autumn_accepts=True)
        case UpdateAutumn(changes):
            seen = after_update(autumn, view, changes)
            fields = {name: changes[name] or None for name in ("name", "email", "stripe_id") if name in changes}
            assert seen is not None
            left = {name: value for name, value in request.changes.items() if name not in changes}
            after = replace(autumn, **fields)  # type: ignore[arg-type]  # all are texts
            return after, seen, replace(request, changes=left, autumn_accepts=True)
        case CreateInStripe(autumn_id):
            created = StripeCustomer("cus_new", None, None, mode, {"autumn_id": autumn_id})
            return autumn, replace(view, ours=(created,)), request
        case UpdateStripe():
            target = next(each for each in view.all_customers if each.id == step.stripe_id)
            name = target.name if step.name is None else step.name or None
            email = target.email if step.email is None else step.email or None
            metadata = {**target.metadata, **dict(step.metadata)}
            written = replace(target, name=name, email=email, metadata=metadata)
            return autumn, view.with_customer(written), request
        case _:
            raise AssertionError(f"unexpected step: {step}")


def plan_of(autumn: AutumnCustomer, view: StripeView, mode: Mode = "test", request: Request = NOTHING) -> Plan:
    return make_plan(autumn, view, request, mode=mode, policy=Policy(), now=0.0)


def steps_in_turn(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> Iterator[tuple[Step, AutumnCustomer, StripeView, Request]]:
    """Yield the steps of all plans, each with both sides and the request before it."""
    for _ in range(8):
        for step in plan_of(autumn, view, mode, request).steps:
            yield step, autumn, view, request
            autumn, view, request = after_step(step, autumn, view, mode, request)


def after_all_plans(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> tuple[AutumnCustomer, StripeView, Plan, list[Step]]:
    steps: list[Step] = []
    for _ in range(8):
        plan = plan_of(autumn, view, mode, request)
        if not plan.steps:
            return autumn, view, plan, steps
        for step in plan.steps:
            steps.append(step)
            autumn, view, request = after_step(step, autumn, view, mode, request)
    raise AssertionError(f"plans do not end: {steps}")


@given(AUTUMN, VIEWS, MODES, asked)
def test_plans_end_and_a_new_plan_has_no_steps(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    after, seen, _, _ = after_all_plans(autumn, fetched(autumn, view), mode, request)
    assert plan_of(after, seen, mode, replace(request, changes={})).steps == ()


@given(AUTUMN, VIEWS, MODES, asked)
def test_nothing_is_cleared_unless_the_event_sets_null(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    _, _, _, steps = after_all_plans(autumn, fetched(autumn, view), mode, request)
    for step in steps:
        if isinstance(step, UpdateStripe):
            assert step.name != "" or "name" in request.cleared
            assert step.email != "" or "email" in request.cleared
            assert all(value for _, value in step.metadata)


@given(AUTUMN, VIEWS, MODES, asked)
def test_wrong_mode_or_foreign_customer_is_never_written(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    seen = fetched(autumn, view)
    plan = plan_of(autumn, seen, mode, request)
    everyone = [*seen.ours, *([seen.linked] if seen.linked else [])]
    if autumn.mode != mode or any(customer.mode != mode for customer in everyone):
        assert plan == Plan(LinkState.WRONG_MODE)
    if seen.linked and seen.linked.metadata.get("autumn_id") not in {None, "ann"}:
        assert plan.steps == ()


@given(AUTUMN, VIEWS, MODES, asked)
def test_stripe_has_new_profile_before_autumn_writes_it(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    for step, before, seen, asked_for in steps_in_turn(autumn, fetched(autumn, view), mode, request):
        if isinstance(step, UpdateAutumn) and not step.expects_gone and asked_for.autumn_accepts:
            stripe_id = step.changes.get("stripe_id", before.stripe_id)
            target = next((each for each in seen.all_customers if each.id == stripe_id), None)
            # Billing details come after the link, which is sent alone then and changes nothing in Stripe.
            is_alone = bool(asked_for.changes) and step.changes.keys() == {"stripe_id"}
            for name in ("name", "email") if target is not None and not is_alone else ():
                value = asked_for.changes.get(name, getattr(before, name))
                if not getattr(before, name) and getattr(target, name):
                    continue  # Only Stripe has a value: it stays until Autumn has accepted another.
                assert not value or getattr(target, name) == value
                assert name not in asked_for.changes or value or not getattr(target, name)


@given(AUTUMN, VIEWS, MODES, asked)
def test_billing_details_are_sent_only_to_a_linked_customer(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    for step, before, seen, _ in steps_in_turn(autumn, fetched(autumn, view), mode, request):
        if isinstance(step, UpdateAutumn) and "billing_details" in step.changes:
            assert before.stripe_id is not None
            assert seen.linked is not None
            assert "stripe_id" not in step.changes


@pytest.mark.parametrize(
    ("elsewhere", "setting", "ours", "steps", "kind"),
    [
        (("revenuecat",), "report", (), (), "billed-elsewhere"),
        (("revenuecat",), "report", (STRIPE_ANN,), (), "billed-elsewhere"),
        (("revenuecat",), "create", (), (CreateInStripe("ann"),), None),
        (("revenuecat",), "create", (STRIPE_ANN,), (UpdateAutumn({"stripe_id": "cus_1"}),), None),
        ((), "report", (), (CreateInStripe("ann"),), None),
    ],
)
def test_customer_of_other_processors_alone_is_left_alone(
    elsewhere: tuple[str, ...],
    setting: Literal["create", "report"],
    ours: tuple[StripeCustomer, ...],
    steps: tuple[Step, ...],
    kind: str | None,
) -> None:
    autumn = replace(ANN, stripe_id=None, send_email_receipts=False, elsewhere=elsewhere)
    policy = Policy(when_unlinked_elsewhere=setting)
    plan = make_plan(autumn, StripeView(ours=ours), NOTHING, mode="test", policy=policy, now=0.0)
    assert (plan.link, plan.steps) == (LinkState.UNLINKED, steps)
    assert [finding.kind for finding in plan.findings] == ([kind] if kind else [])


@given(AUTUMN, VIEWS, MODES, asked)
def test_probe_writes_to_stripe_only_after_autumn_accepts(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    plan = plan_of(autumn, fetched(autumn, view), mode, replace(request, autumn_accepts=False))
    for step in plan.steps:
        assert isinstance(step, UpdateAutumn)


@given(AUTUMN, VIEWS, MODES, asked)
def test_linked_sides_agree_after_all_plans(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, request: Request
) -> None:
    after, seen, plan, _ = after_all_plans(autumn, fetched(autumn, view), mode, request)
    if plan.link is LinkState.LINKED:
        assert seen.linked is not None
        assert not after.name or seen.linked.name == after.name
        assert not after.email or seen.linked.email == after.email
        assert seen.linked.metadata["autumn_id"] == "ann"
        assert seen.linked.metadata["autumn_send_email_receipts"] == str(after.send_email_receipts).lower()


@pytest.mark.parametrize(
    ("autumn", "view", "link", "steps"),
    [
        (ANN, StripeView(STRIPE_ANN), LinkState.LINKED, ()),
        (
            ANN,
            StripeView(replace(STRIPE_ANN, metadata={})),
            LinkState.UNCLAIMED,
            (UpdateStripe("cus_1", metadata=tuple(METADATA.items())),),
        ),
        (
            replace(ANN, name="Ann Two"),
            StripeView(STRIPE_ANN),
            LinkState.LINKED,
            (UpdateStripe("cus_1", name="Ann Two"),),
        ),
        (replace(ANN, name=None), StripeView(STRIPE_ANN), LinkState.LINKED, ()),
        (replace(ANN, stripe_id=None), StripeView(), LinkState.UNLINKED, (CreateInStripe("ann"),)),
        (
            replace(ANN, stripe_id=None),
            StripeView(ours=(STRIPE_ANN,)),
            LinkState.UNLINKED,
            (UpdateAutumn({"stripe_id": "cus_1"}),),
        ),
        (ANN, StripeView(), LinkState.GONE, (CreateInStripe("ann"),)),
        (ANN, StripeView(is_missing=True), LinkState.GONE, (UpdateAutumn({}, expects_gone=True),)),
        (ANN, StripeView(ours=(STRIPE_TWO,)), LinkState.GONE, (UpdateAutumn({"stripe_id": "cus_2"}),)),
        (ANN, StripeView(replace(STRIPE_ANN, metadata={"autumn_id": "bob"})), LinkState.FOREIGN, ()),
        (
            replace(ANN, stripe_id=None),
            StripeView(ours=(STRIPE_ANN, replace(STRIPE_ANN, id="cus_2"))),
            LinkState.AMBIGUOUS,
            (),
        ),
        (replace(ANN, mode="live"), StripeView(STRIPE_ANN), LinkState.WRONG_MODE, ()),
        (replace(ANN, mode=None), StripeView(STRIPE_ANN), LinkState.WRONG_MODE, ()),
        (ANN, StripeView(replace(STRIPE_ANN, mode="live")), LinkState.WRONG_MODE, ()),
    ],
)
def test_each_link_state_has_its_steps(
    autumn: AutumnCustomer, view: StripeView, link: LinkState, steps: tuple[Step, ...]
) -> None:
    plan = plan_of(autumn, view)
    assert (plan.link, plan.steps) == (link, steps)


@pytest.mark.parametrize(
    ("autumn", "view", "ids"),
    [
        (ANN, StripeView(replace(STRIPE_ANN, metadata={"autumn_id": "bob"})), ["cus_1", "bob"]),
        (
            replace(ANN, stripe_id=None),
            StripeView(ours=(STRIPE_ANN, replace(STRIPE_ANN, id="cus_2"))),
            ["cus_1", "cus_2"],
        ),
    ],
)
def test_review_text_names_the_ids(autumn: AutumnCustomer, view: StripeView, ids: list[str]) -> None:
    refusal = plan_of(autumn, view).refusal
    assert refusal is not None
    assert refusal.code == "needs-review"
    assert all(each in refusal.text for each in ids)


def test_email_set_to_null_is_cleared_in_stripe() -> None:
    plan = plan_of(replace(ANN, email=None), StripeView(STRIPE_ANN), request=Request(cleared=frozenset({"email"})))
    assert plan.steps == (UpdateStripe("cus_1", email=""),)


def test_unclaimed_customer_is_linked_before_it_is_written() -> None:
    wanted = replace(STRIPE_TWO, metadata={}, name="Stale")
    plan = plan_of(ANN, StripeView(wanted=wanted), request=Request({"stripe_id": "cus_2", "name": "New"}))
    assert plan.steps == (UpdateAutumn({"stripe_id": "cus_2"}),)
    ours = replace(wanted, metadata={"autumn_id": "ann"})
    plan = plan_of(ANN, StripeView(wanted=ours), request=Request({"stripe_id": "cus_2", "name": "New"}))
    assert plan.steps == (UpdateAutumn({"stripe_id": "cus_2"}),)


def test_customer_linked_elsewhere_is_not_linked_again() -> None:
    view = StripeView(ours=(STRIPE_ANN,), linked_elsewhere={"cus_1": "bob"})
    for autumn in (replace(ANN, stripe_id=None), replace(ANN, stripe_id="cus_0")):
        plan = plan_of(autumn, view)
        assert plan.steps == ()
        assert plan.refusal is not None
        assert plan.refusal.code == "needs-review"
        assert all(each in plan.refusal.text for each in ("ann", "bob", "cus_1"))


def test_customer_unlinked_on_purpose_stays_unlinked() -> None:
    request = Request(cleared=frozenset({"stripe_id"}))
    plan = plan_of(replace(ANN, stripe_id=None), StripeView(ours=(STRIPE_ANN,)), request=request)
    assert plan.steps == ()


@pytest.mark.parametrize(
    ("autumn", "view", "reason"),
    [
        (ANN, StripeView(STRIPE_ANN), None),
        (replace(ANN, email=None), StripeView(replace(STRIPE_ANN, email=None)), "no e-mail address"),
        (replace(ANN, email=None), StripeView(STRIPE_ANN), None),
        (replace(ANN, stripe_id=None), StripeView(), "not linked"),
        (ANN, StripeView(), "the Stripe customer is gone"),
        (replace(ANN, stripe_id=None, send_email_receipts=False), StripeView(), None),
    ],
)
def test_finding_says_why_receipts_cannot_be_sent(autumn: AutumnCustomer, view: StripeView, reason: str | None) -> None:
    policy = Policy(when_unlinked="report", when_gone="report")
    plan = make_plan(autumn, view, NOTHING, mode="test", policy=policy, now=0.0)
    texts = [finding.text for finding in plan.findings if finding.kind == "receipts-cannot-be-sent"]
    assert texts == ([] if reason is None else [reason])


@pytest.mark.parametrize("names_link", [True, False])
@pytest.mark.parametrize("view", [StripeView(STRIPE_ANN), StripeView(replace(STRIPE_ANN, metadata={})), StripeView()])
def test_too_long_name_is_refused_before_any_write(view: StripeView, names_link: bool) -> None:
    changes = {"name": "x" * 257} | ({"stripe_id": "cus_2"} if names_link else {})
    wanted = STRIPE_TWO if names_link else None
    plan = plan_of(ANN, replace(view, wanted=wanted), request=Request(changes))
    assert (plan.steps, plan.refusal and plan.refusal.code) == ((), "too_long")


def test_nothing_is_created_without_search() -> None:
    view = StripeView(searched=False)
    unlinked = plan_of(replace(ANN, stripe_id=None), view)
    assert (unlinked.steps, unlinked.refusal) == ((), None)
    gone = plan_of(ANN, view, request=Request({"name": "Ann"}))
    assert gone.steps == ()
    assert gone.refusal is not None
    assert "no search" in gone.refusal.text


def test_flag_off_is_written_after_addresses_are_taken_back() -> None:
    autumn = replace(ANN, send_email_receipts=False, name="Ann Two")
    policy = Policy(receipts="open")
    before = make_plan(autumn, StripeView(STRIPE_ANN), NOTHING, mode="test", policy=policy, now=0.0)
    assert (before.steps, before.wants_payments) == ((), True)
    nothing_left = StripeView(STRIPE_ANN, payments=Payments(()))
    after = make_plan(autumn, nothing_left, NOTHING, mode="test", policy=policy, now=0.0)
    metadata = (("autumn_send_email_receipts", "false"),)
    assert after.steps == (UpdateStripe("cus_1", name="Ann Two", metadata=metadata),)


def test_ambiguous_finding_tells_lost_link_from_no_link() -> None:
    both = StripeView(ours=(STRIPE_ANN, STRIPE_TWO))
    lost, none = (plan_of(autumn, both).findings[0].text for autumn in (ANN, replace(ANN, stripe_id=None)))
    assert lost.startswith("ann is linked to cus_1, which is deleted or missing, and several")
    assert none.startswith("ann is not linked, and several")


def test_too_long_email_cannot_receive_receipts() -> None:
    autumn, stripe = replace(ANN, email=f"{'x' * 520}@example.com"), replace(STRIPE_ANN, email=None)
    kinds = [finding.kind for finding in plan_of(autumn, StripeView(linked=stripe)).findings]
    assert kinds == ["email-left-out", "receipts-cannot-be-sent"]
