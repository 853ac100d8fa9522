"""The plan: what it does in each state, that it comes to an end, and what it never does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.customer import AutumnCustomer, Mode, StripeCustomer, StripeView
from jobs.plan import CreateInStripe, LinkInAutumn, LinkState, Plan, Step, UpdateStripe, make_plan

ANN = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=True)
METADATA = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
STRIPE_ANN = StripeCustomer("cus_1", "Ann", "ann@example.com", "test", METADATA)

TEXTS = st.sampled_from(["Ann", "Bob", None, ""])
MODES: st.SearchStrategy[Mode] = st.sampled_from(["test", "live"])
CLEARED = st.frozensets(st.sampled_from(["name", "email", "stripe_id"]))
AUTUMN = st.builds(
    AutumnCustomer,
    id=st.just("ann"),
    name=TEXTS,
    email=TEXTS,
    stripe_id=st.sampled_from(["cus_1", None]),
    mode=MODES | st.none(),
    send_email_receipts=st.booleans(),
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


def look(autumn: AutumnCustomer, view: StripeView) -> StripeView:
    """What the sync would have looked at: the linked customer, or those that carry the id."""
    return StripeView(linked=view.linked) if autumn.stripe_id else StripeView(ours=view.ours)


def take(step: Step, autumn: AutumnCustomer, view: StripeView, mode: Mode) -> tuple[AutumnCustomer, StripeView]:
    """Both sides after a step, as the services would have them."""
    match step:
        case CreateInStripe(autumn_id):
            return autumn, StripeView(ours=(StripeCustomer("cus_1", None, None, mode, {"autumn_id": autumn_id}),))
        case LinkInAutumn(stripe_id):
            return replace(autumn, stripe_id=stripe_id), StripeView(linked=view.ours[0])
        case UpdateStripe():
            assert view.linked is not None
            name = view.linked.name if step.name is None else step.name or None
            email = view.linked.email if step.email is None else step.email or None
            metadata = {**view.linked.metadata, **dict(step.metadata)}
            return autumn, StripeView(linked=replace(view.linked, name=name, email=email, metadata=metadata))


def take_all(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str]
) -> tuple[AutumnCustomer, StripeView, Plan, list[Step]]:
    steps: list[Step] = []
    for _ in range(5):
        plan = make_plan(autumn, view, mode, cleared)
        if not plan.steps:
            return autumn, view, plan, steps
        for step in plan.steps:
            steps.append(step)
            autumn, view = take(step, autumn, view, mode)
    raise AssertionError(f"no end after {steps}")


@given(AUTUMN, VIEWS, MODES, CLEARED)
def test_applying_plans_comes_to_an_end_and_planning_again_gives_nothing(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str]
) -> None:
    after, seen, _, _ = take_all(autumn, look(autumn, view), mode, cleared)
    assert make_plan(after, seen, mode, cleared).steps == ()


@given(AUTUMN, VIEWS, MODES, CLEARED)
def test_nothing_is_erased_unless_the_change_said_null(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str]
) -> None:
    _, _, _, steps = take_all(autumn, look(autumn, view), mode, cleared)
    for step in steps:
        if isinstance(step, UpdateStripe):
            assert step.name != "" or "name" in cleared
            assert step.email != "" or "email" in cleared
            assert all(value for _, value in step.metadata)


@given(AUTUMN, VIEWS, MODES, CLEARED)
def test_nothing_is_written_in_the_wrong_mode_or_to_what_is_not_ours(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str]
) -> None:
    seen = look(autumn, view)
    plan = make_plan(autumn, seen, mode, cleared)
    everyone = [*seen.ours, *([seen.linked] if seen.linked else [])]
    if autumn.mode != mode or any(customer.mode != mode for customer in everyone):
        assert plan == Plan(LinkState.WRONG_MODE)
    if seen.linked and seen.linked.metadata.get("autumn_id") not in {None, "ann"}:
        assert plan.steps == ()


@given(AUTUMN, VIEWS, MODES, CLEARED)
def test_at_the_end_of_a_link_both_sides_agree(
    autumn: AutumnCustomer, view: StripeView, mode: Mode, cleared: frozenset[str]
) -> None:
    after, seen, plan, _ = take_all(autumn, look(autumn, view), mode, cleared)
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
        (replace(ANN, stripe_id=None), StripeView(ours=(STRIPE_ANN,)), LinkState.UNLINKED, (LinkInAutumn("cus_1"),)),
        (ANN, StripeView(), LinkState.GONE, ()),
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
def test_each_state_has_its_steps(
    autumn: AutumnCustomer, view: StripeView, link: LinkState, steps: tuple[Step, ...]
) -> None:
    plan = make_plan(autumn, view, "test")
    assert (plan.link, plan.steps) == (link, steps)


@pytest.mark.parametrize(
    ("autumn", "view", "ids"),
    [
        (ANN, StripeView(), ["cus_1"]),
        (ANN, StripeView(replace(STRIPE_ANN, metadata={"autumn_id": "bob"})), ["cus_1", "bob"]),
        (
            replace(ANN, stripe_id=None),
            StripeView(ours=(STRIPE_ANN, replace(STRIPE_ANN, id="cus_2"))),
            ["cus_1", "cus_2"],
        ),
    ],
)
def test_what_needs_review_names_the_ids_that_are_involved(
    autumn: AutumnCustomer, view: StripeView, ids: list[str]
) -> None:
    review = make_plan(autumn, view, "test").needs_review
    assert review is not None
    assert all(each in review for each in ids)


def test_an_email_that_was_said_to_be_null_is_cleared_in_stripe() -> None:
    plan = make_plan(replace(ANN, email=None), StripeView(STRIPE_ANN), "test", frozenset({"email"}))
    assert plan.steps == (UpdateStripe("cus_1", email=""),)


def test_a_customer_that_was_unlinked_on_purpose_stays_unlinked() -> None:
    plan = make_plan(replace(ANN, stripe_id=None), StripeView(ours=(STRIPE_ANN,)), "test", frozenset({"stripe_id"}))
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
def test_a_plan_says_why_receipts_cannot_be_sent(autumn: AutumnCustomer, view: StripeView, reason: str | None) -> None:
    assert make_plan(autumn, view, "test").receipts == reason
