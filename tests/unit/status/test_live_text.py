"""Both sides and the steps of a dry run, as text."""

from dataclasses import replace

import pytest

from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain
from jobs.plan.customer import AutumnCustomer, PaymentIntent, Payments, StripeCustomer, StripeView
from jobs.plan.findings import Finding
from jobs.plan.plan import LinkState, Plan, Refusal
from jobs.plan.steps import UpdateAutumn
from jobs.sync.preview import Preview
from worker.status.live_text import live_verdict_of, preview_failure_text, preview_lines

ANN = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=True, metadata={"plan": 7})
METADATA = {"autumn_id": "ann", "autumn_send_email_receipts": "true", "theirs": "x"}
STRIPE = StripeCustomer("cus_1", "Ann", None, "test", METADATA)
RIGHT = Preview(1_700_000_000_000, ANN, StripeView(STRIPE), Plan(LinkState.LINKED))


def with_plan(**plan: object) -> Preview:
    return replace(RIGHT, plan=replace(RIGHT.plan, **plan))  # type: ignore[arg-type]  # a test's fields are its own


def test_both_sides_are_shown_with_compared_fields() -> None:
    assert preview_lines(replace(RIGHT, metadata_keys=("plan",)), 0) == [
        "ann, both sides fetched at 2023-11-14T22:13:20+00:00: in sync",
        "link: linked",
        "in Autumn: name Ann, e-mail ann@example.com, receipts on, stripe_id cus_1, mode test, metadata.plan 7",
        "in Stripe: cus_1: name Ann, e-mail none, mode test, metadata.autumn_id ann, "
        "metadata.autumn_send_email_receipts true, metadata.plan none",
    ]


def test_steps_come_before_findings() -> None:
    finding = Finding("receipts-cannot-be-sent", "no e-mail address")
    preview = with_plan(steps=(UpdateAutumn({"stripe_id": "cus_2"}),), findings=(finding,))
    assert live_verdict_of(preview).kind == "out-of-sync"
    assert preview_lines(preview, 0)[4:] == [
        "a sync would:",
        "  link it to cus_2",
        "  then fetch both sides again, until no step is left",
        "findings:",
        "  receipts-cannot-be-sent: no e-mail address",
        "    Give the customer an e-mail address, or link it to a Stripe customer. Or turn its receipts off.",
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
def test_verdict_depends_on_plan(plan: dict[str, object], kind: str) -> None:
    assert live_verdict_of(with_plan(**plan)).kind == kind


def test_refusal_is_shown_with_its_text() -> None:
    lines = preview_lines(with_plan(refusal=Refusal("needs-review", "it has no room")), 0)
    assert "a sync would write nothing: it has no room" in lines


@pytest.mark.parametrize(
    ("events", "text"),
    [(1, "1 waiting event is not included"), (1200, "1,200 waiting events are not included")],
)
def test_text_says_that_waiting_events_are_not_included(events: int, text: str) -> None:
    assert text in preview_lines(RIGHT, events)


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        (StripeView(), ["cus_1 is deleted", "no customer carries its id"]),
        (
            StripeView(is_missing=True, searched=False),
            ["cus_1 is not known to this key", "no customer carries its id (without a search)"],
        ),
    ],
)
def test_missing_stripe_customer_is_shown_with_reason(view: StripeView, texts: list[str]) -> None:
    lines = preview_lines(replace(RIGHT, stripe=view, plan=Plan(LinkState.GONE)), 0)
    assert [line.removeprefix("in Stripe: ") for line in lines if line.startswith("in Stripe")] == texts


def test_checked_payments_are_counted() -> None:
    payments = Payments((PaymentIntent("pi_1", "processing", None), PaymentIntent("pi_2", "succeeded", "a@b.c")))
    lines = preview_lines(replace(RIGHT, stripe=StripeView(STRIPE, payments=payments)), 0)
    assert "in Stripe: 2 payments checked, 1 without a receipt address" in lines


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Halt("stripe", "invalid_key", "Set another key"), "Set another key"),
        (
            Limited("stripe", "rate_limit", limit="stripe"),
            "Stripe is limiting requests (rate_limit): try again in a moment",
        ),
        (
            TryAgain("stripe", "connection"),
            "Stripe gave no usable answer (connection): check STRIPE_API_BASE and the network",
        ),
        (
            TryAgain("autumn", "timeout"),
            "Autumn gave no usable answer (timeout): check AUTUMN_API_URL and the network",
        ),
        (GiveUp("autumn", "customer_not_found"), "Autumn does not know the customer ann"),
        (
            GiveUp("autumn", "other_customer", "not this one"),
            "Autumn refused the request (other_customer): not this one",
        ),
        (Absent("stripe", "resource_missing", "no"), "Stripe refused the request (resource_missing): no"),
    ],
)
def test_failed_preview_is_one_sentence(error: SyncError, text: str) -> None:
    assert preview_failure_text(error, "ann") == text
