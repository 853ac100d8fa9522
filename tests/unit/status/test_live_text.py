"""Both sides and the steps of a dry run, as text."""

from dataclasses import replace

import pytest

from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain
from jobs.plan.customer import AutumnCustomer, PaymentIntent, Payments, StripeCustomer, StripeView
from jobs.plan.findings import Finding
from jobs.plan.plan import LinkState, Plan, Refusal
from jobs.plan.steps import UpdateAutumn
from jobs.sync.preview import Preview
from worker.status.live_text import live_verdict_of, tell_failure, tell_preview

ANN = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=True, metadata={"plan": 7})
METADATA = {"autumn_id": "ann", "autumn_send_email_receipts": "true", "theirs": "x"}
STRIPE = StripeCustomer("cus_1", "Ann", None, "test", METADATA)
RIGHT = Preview(1_700_000_000_000, ANN, StripeView(STRIPE), Plan(LinkState.LINKED))


def with_plan(**plan: object) -> Preview:
    return replace(RIGHT, plan=replace(RIGHT.plan, **plan))  # type: ignore[arg-type]  # a test's fields are its own


def test_both_sides_are_shown_with_the_fields_that_are_compared() -> None:
    assert tell_preview(replace(RIGHT, metadata_keys=("plan",)), 0) == [
        "ann, looked at on both sides at 2023-11-14T22:13:20+00:00: in sync",
        "link: linked",
        "in Autumn: name Ann, e-mail ann@example.com, receipts on, stripe_id cus_1, mode test, metadata.plan 7",
        "in Stripe: cus_1: name Ann, e-mail none, mode test, metadata.autumn_id ann, "
        "metadata.autumn_send_email_receipts true, metadata.plan none",
    ]


def test_what_a_sync_would_do_comes_before_what_a_person_could() -> None:
    finding = Finding("receipts-cannot-be-sent", "no e-mail address")
    preview = with_plan(steps=(UpdateAutumn({"stripe_id": "cus_2"}),), findings=(finding,))
    assert live_verdict_of(preview).kind == "out-of-sync"
    assert tell_preview(preview, 0)[4:] == [
        "a sync would:",
        "  link it to cus_2",
        "  then look again, until nothing is left to do",
        "to know:",
        "  receipts-cannot-be-sent: no e-mail address",
        "    Give the customer an e-mail address, or link it to a Stripe customer; or turn its receipts off.",
    ]


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        ({}, "in-sync"),
        ({"findings": (Finding("name-cut", "long"),)}, "in-sync"),
        ({"findings": (Finding("unlinked", "why"),)}, "needs-a-person"),
        ({"refusal": Refusal("needs-review", "why")}, "needs-a-person"),
        ({"link": LinkState.WRONG_MODE}, "needs-a-person"),
    ],
)
def test_the_verdict_says_who_is_to_act(plan: dict[str, object], kind: str) -> None:
    assert live_verdict_of(with_plan(**plan)).kind == kind


def test_a_refusal_is_told_in_its_own_words() -> None:
    lines = tell_preview(with_plan(refusal=Refusal("needs-review", "it has no room")), 0)
    assert "a sync would write nothing: it has no room" in lines


@pytest.mark.parametrize(
    ("events", "text"),
    [(1, "1 event waits and is not part of this"), (1200, "1,200 events wait and are not part of this")],
)
def test_events_that_wait_are_said_to_be_no_part_of_it(events: int, text: str) -> None:
    assert text in tell_preview(RIGHT, events)


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        (StripeView(), ["cus_1 is deleted", "no customer carries its id"]),
        (
            StripeView(is_missing=True, searched=False),
            ["cus_1 is not known to this key", "no customer carries its id, as far as can be told without a search"],
        ),
    ],
)
def test_where_there_is_no_stripe_customer_it_is_said_why(view: StripeView, texts: list[str]) -> None:
    lines = tell_preview(replace(RIGHT, stripe=view, plan=Plan(LinkState.GONE)), 0)
    assert [line.removeprefix("in Stripe: ") for line in lines if line.startswith("in Stripe")] == texts


def test_payments_are_counted_where_they_were_looked_at() -> None:
    payments = Payments((PaymentIntent("pi_1", "processing", None), PaymentIntent("pi_2", "succeeded", "a@b.c")))
    lines = tell_preview(replace(RIGHT, stripe=StripeView(STRIPE, payments=payments)), 0)
    assert "in Stripe: 2 payments looked at, 1 without a receipt's address" in lines


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Halt("stripe", "invalid_key", "Set another key"), "Set another key"),
        (
            Limited("stripe", "rate_limit", limit="stripe"),
            "Stripe asks to go slower (rate_limit): ask again in a moment",
        ),
        (
            TryAgain("stripe", "connection"),
            "Stripe gives no usable answer (connection): is STRIPE_API_BASE right, is it reachable?",
        ),
        (
            TryAgain("autumn", "timeout"),
            "Autumn gives no usable answer (timeout): is AUTUMN_API_URL right, is it reachable?",
        ),
        (GiveUp("autumn", "customer_not_found"), "Autumn does not know the customer ann"),
        (GiveUp("autumn", "other_customer", "not this one"), "Autumn refuses the look (other_customer): not this one"),
        (Absent("stripe", "resource_missing", "no"), "Stripe refuses the look (resource_missing): no"),
    ],
)
def test_a_look_that_fails_is_one_sentence(error: SyncError, text: str) -> None:
    assert tell_failure(error, "ann") == text
