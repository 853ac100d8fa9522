"""The answer of `status --json` always has every field, with the content of the lines for a person."""

import json
from dataclasses import replace
from typing import Any

from autumn_sync_client.outcomes import Outcome
from jobs.plan.customer import AutumnCustomer, PaymentIntent, Payments, StripeCustomer, StripeView
from jobs.plan.findings import Finding
from jobs.plan.plan import LinkState, Plan, Refusal
from jobs.plan.steps import UpdateAutumn
from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.record import NO_RECORD, CustomerRecord
from jobs.queue.status import Standing
from jobs.queue.watch.state import SeenInStripe
from jobs.sync.preview import Preview
from jobs.sync.report import Action, SyncReport, add_report
from worker.status.json import outcome_json, preview_json, standing_json

AT = 1_700_000_000_000
NOBODY = Standing("ann", "idle", None, 0, None, NO_RECORD)
NOTHING: dict[str, Any] = {
    "customer": "ann",
    "verdict": "not-known",
    "sentence": "not known: it had no event in the last 30 days, or its event is still in the inbox",
    "state": "idle",
    "due_ms": None,
    "recheck_due_ms": None,
    "waiting_events": 0,
    "oldest_sent_ms": None,
    "link": None,
    "stripe_id": None,
    "last_error": None,
    "waits_until_ms": None,
    "last_cause": None,
    "failed_tries": 0,
    "failing_since_ms": None,
    "breaker": None,
    "findings": [],
    "syncs": [],
    "seen_in_stripe": [],
    "receipt": None,
    "dead_letters": [],
    "dead_letters_are_all": True,
}
OPEN = OpenBreaker("halt", AT, "stripe", "invalid_key", "Set a key")
BREAKER_JSON = {"kind": "halt", "since_ms": AT, "service": "stripe", "reason": "invalid_key", "message": "Set a key"}
FINDING = Finding("unlinked", "unlinked by a change")
FINDING_JSON = {
    "kind": "unlinked",
    "text": "unlinked by a change",
    "to_do": "If it should be linked, run customer-sync send ann. That links it if STRIPE_WHEN_UNLINKED and the "
    "account's search allow it. A change with the stripe_id of an existing Stripe customer always links that one.",
}


def through_json(answer: dict[str, Any]) -> Any:
    return json.loads(json.dumps(answer))


def test_unknown_customer_has_every_field() -> None:
    assert through_json(standing_json(NOBODY, NewestLetters())) == NOTHING


def test_wait_for_search_has_its_end() -> None:
    record = CustomerRecord(last_error="create_failed_before", waits_for="create_failed_before", waits_until_ms=AT)
    waiting = Standing("ann", "waiting", AT + 1, 1, "1700000000000-7", record)
    assert standing_json(waiting, NewestLetters())["waits_until_ms"] == AT
    assert standing_json(replace(waiting, state="idle"), NewestLetters())["waits_until_ms"] is None


def test_waiting_customer_has_times_in_milliseconds() -> None:
    record = CustomerRecord(
        link="unlinked",
        last_error="http_500",
        last_cause="KeyError at jobs/sync/apply.py:1 apply",
        attempts=2,
        unexpected=1,
        failing_since=1_700_000_000.25,
    )
    standing = Standing("ann", "waiting", AT + 1, 2, "1700000000000-7", record, AT + 2, OPEN)
    answer = through_json(standing_json(standing, NewestLetters(are_all=False)))
    assert answer == NOTHING | {
        "verdict": "waiting",
        "sentence": answer["sentence"],
        "state": "waiting",
        "due_ms": AT + 1,
        "recheck_due_ms": AT + 2,
        "waiting_events": 2,
        "oldest_sent_ms": AT,
        "link": "unlinked",
        "last_error": "http_500",
        "last_cause": "KeyError at jobs/sync/apply.py:1 apply",
        "failed_tries": 3,
        "failing_since_ms": AT + 250,
        "breaker": BREAKER_JSON,
        "dead_letters_are_all": False,
    }


def test_syncs_are_listed_with_actions_and_advice() -> None:
    actions = (Action(AT, "updated-autumn", "ann", ("stripe_id",)),)
    first = SyncReport(AT, 3, "linked", "unlinked", "", actions, (FINDING,), given_up={"too_long": 1})
    stored = add_report(add_report("", first), SyncReport(AT + 1, 1, "", "", "", error="timeout"))
    answer = through_json(standing_json(replace(NOBODY, record=CustomerRecord(reports=stored)), NewestLetters()))
    assert answer["findings"] == [FINDING_JSON]
    assert answer["syncs"] == [
        {
            "at_ms": AT,
            "events": 3,
            "found": "linked",
            "link": "unlinked",
            "stripe_id": None,
            "actions": [
                {"at_ms": AT, "kind": "updated-autumn", "id": "ann", "fields": ["stripe_id"], "text": "unlinked it"}
            ],
            "findings": [FINDING_JSON],
            "dead_lettered": {"too_long": 1},
            "error": None,
        },
        {
            "at_ms": AT + 1,
            "events": 1,
            "found": None,
            "link": None,
            "stripe_id": None,
            "actions": [],
            "findings": [],
            "dead_lettered": {},
            "error": "timeout",
        },
    ]


def test_events_of_stripe_and_receipt_are_listed() -> None:
    seen = (SeenInStripe(AT, "customer.updated", "dashboard", ("email", "name")),)
    record = CustomerRecord(seen_in_stripe=seen, receipt_number="2000-0001", receipt_at_ms=AT)
    answer = through_json(standing_json(replace(NOBODY, record=record), NewestLetters()))
    assert answer == NOTHING | {
        "seen_in_stripe": [
            {
                "at_ms": AT,
                "type": "customer.updated",
                "cause": "dashboard",
                "fields": ["email", "name"],
                "text": "customer.updated by the dashboard: email, name",
            }
        ],
        "receipt": {"number": "2000-0001", "at_ms": AT},
    }, "the watch alone says nothing about both sides"


def test_dead_letters_have_neither_fields_nor_message() -> None:
    sent = {b"changes": b'{"email":"ann@example.com"}', b"source": b"shop"}
    letter = DeadLetter("8-0", "5-0", "ann", "too_long", "ann@example.com is wrong", 2, None, AT, sent)
    answer = through_json(standing_json(NOBODY, NewestLetters((letter,))))
    assert answer["dead_letters"] == [
        {
            "id": "8-0",
            "entry": "5-0",
            "source": "shop",
            "reason": "too_long",
            "attempts": 2,
            "dead_lettered_at_ms": AT,
            "to_do": "A value is longer than Stripe accepts. Send a shorter one, and drop this one.",
        }
    ]


def test_preview_has_both_sides_and_plan() -> None:
    autumn = AutumnCustomer("ann", "Ann", None, "cus_1", "test", send_email_receipts=True, metadata={"a": 1, "b": 2})
    payments = Payments((PaymentIntent("pi_1", "processing", None),))
    view = StripeView(StripeCustomer("cus_1", "Ann", None, "test", {"autumn_id": "ann"}), payments=payments)
    plan = Plan(
        LinkState.LINKED,
        (UpdateAutumn({"stripe_id": "cus_2"}),),
        refusal=Refusal("too_long", "why"),
        findings=(FINDING,),
    )
    assert through_json(preview_json(Preview(AT, autumn, view, plan, ("a", "c")))) == {
        "at_ms": AT,
        "verdict": "out-of-sync",
        "sentence": "not in sync: a sync has something to write",
        "link": "linked",
        "autumn": {
            "id": "ann",
            "name": "Ann",
            "email": None,
            "stripe_id": "cus_1",
            "mode": "test",
            "send_email_receipts": True,
            "metadata": {"a": 1},
        },
        "stripe": [{"id": "cus_1", "name": "Ann", "email": None, "mode": "test", "metadata": {"autumn_id": "ann"}}],
        "payments": [{"id": "pi_1", "status": "processing", "receipt_email": None}],
        "next_steps": ["link it to cus_2"],
        "findings": [FINDING_JSON],
        "refusal": {"code": "too_long", "text": "why"},
    }
    bare = through_json(preview_json(Preview(AT, autumn, StripeView(), Plan(LinkState.GONE))))
    assert (bare["stripe"], bare["payments"], bare["refusal"]) == ([], None, None)


def test_outcome_of_event_has_every_field() -> None:
    assert outcome_json("e1", None) == {
        "event": "e1",
        "status": "not-known",
        "reason": None,
        "customer": None,
        "entry": None,
        "at_ms": None,
    }
    assert outcome_json("e1", Outcome("dead", "ann", "5-0", "too_long", AT)) == {
        "event": "e1",
        "status": "dead",
        "reason": "too_long",
        "customer": "ann",
        "entry": "5-0",
        "at_ms": AT,
    }
