"""The checker finds each kind of planted damage, and nothing in a correct run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sandbox.audit.expected import Profile
from sandbox.autumn.server import Call as AutumnCall
from sandbox.stripe.payments import Mail
from sandbox.stripe.server import Call as StripeCall
from sandbox.stripe.writes import Write
from tests.chaos.checker import check, expected_profiles, missing_receipts, wrong_values
from tests.chaos.evidence import Act, Copied, Damage, Drift, Evidence, Sent, Written
from tests.chaos.measures import Noticed, over_limit, percentile, recoveries, reverts
from tests.chaos.options import SHORT, Options
from tests.chaos.plan import make_plan
from tests.chaos.report import broken_off

SEED = Profile("ann 0", "ann-0@example.com", send_email_receipts=False)
SENT = (
    Sent("ann", "e1", {"name": "ann 1", "metadata": {"k1": 1}, "send_email_receipts": True}),
    Sent("ann", "e2", {"name": "ann 2", "metadata": {"k2": 2}, "email": "ann-2@example.com"}),
    Sent("ann", "e3"),
    Sent("ann", "e4", garbage=True),
    Sent("ann", "e1", {"name": "ann 1", "metadata": {"k1": 1}, "send_email_receipts": True}),
)
IN_AUTUMN: dict[str, Any] = {
    "name": "ann 2",
    "email": "ann-2@example.com",
    "send_email_receipts": True,
    "stripe_id": "cus_1",
    "metadata": {"k1": 1, "k2": 2},
}
IN_STRIPE: dict[str, Any] = {
    "name": "ann 2",
    "email": "ann-2@example.com",
    "metadata": {"autumn_id": "ann", "autumn_send_email_receipts": "true"},
}


def to_autumn(number: int, started: float, *, status: int = 200, ended: float | None = None) -> AutumnCall:
    body = {"customer_id": "ann", "name": f"ann {number}"}
    return AutumnCall("POST", "/v1/customers.update", body, status, started, started if ended is None else ended)


def to_stripe(
    number: int, at: float, *, key: str = "autumn:customer-sync:update-1-1:x", replayed: bool = False
) -> StripeCall:
    return StripeCall(
        at=at,
        request_id="",
        method="POST",
        path="/v1/customers/cus_1",
        endpoint="customers.update",
        idempotency_key=key,
        user_agent="",
        stripe_version=None,
        params={"name": f"ann {number}"},
        replayed=replayed,
    )


CLEAN = Evidence(
    seeds={"ann": SEED, "bob": SEED},
    history=SENT,
    outcomes={"e1": "applied", "e2": "applied", "e3": "applied", "e4": "dead"},
    dead=({"sent.event_id": "e4", "reason": "invalid_event"},),
    autumn={"ann": IN_AUTUMN},
    stripe={"cus_1": IN_STRIPE, "cus_0": {"id": "cus_0", "deleted": True}, "cus_2": {"metadata": {}}},
    autumn_calls=(to_autumn(1, 1.0), to_autumn(1, 2.0), to_autumn(2, 3.0)),
    stripe_calls=(to_stripe(1, 1.0), to_stripe(2, 3.0)),
    mails=(Mail("pi_1", "ann@example.com"), Mail("pi_2", "ann@example.com")),
    max_parallel_updates={"ann": 1},
    max_updates_in_flight=6,
    allowed_in_flight=6,
)


def changed(side: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {**side, **fields}


def with_autumn(**fields: Any) -> Evidence:
    return replace(CLEAN, autumn={"ann": changed(IN_AUTUMN, **fields)})


def with_stripe(**fields: Any) -> Evidence:
    return replace(CLEAN, stripe={"cus_1": changed(IN_STRIPE, **fields)})


def copied(field: str, before: str, after: str, *, is_own: bool = False) -> Copied:
    return Copied("ann", {field: (before, after)}, is_own=is_own)


def test_correct_run_has_no_findings() -> None:
    assert check(CLEAN).findings == ()


@pytest.mark.parametrize(
    ("damage", "evidence"),
    [
        ("lost", replace(CLEAN, outcomes={**CLEAN.outcomes, "e2": "waiting"})),
        ("lost", replace(CLEAN, outcomes={"e1": "applied", "e2": "applied"})),
        ("lost", replace(CLEAN, dead=(*CLEAN.dead, {"sent.event_id": "e2", "reason": "unexpected"}))),
        ("lost", replace(CLEAN, dead=())),
        ("stale", with_autumn(name="ann 1")),
        ("stale", with_autumn(email="ann-0@example.com")),
        ("stale", with_autumn(send_email_receipts=False)),
        ("stale", with_autumn(metadata={"k1": 1})),
        ("stale", with_autumn(stripe_id=None)),
        ("stale", with_autumn(stripe_id="cus_0")),
        ("stale", replace(CLEAN, autumn={})),
        ("stale", with_autumn(metadata={"k1": 1, "k2": 2, "k3": 3})),
        ("stale", with_stripe(description="by nobody")),
        ("stale", with_stripe(metadata={**IN_STRIPE["metadata"], "note": "by nobody"})),
        ("stale", replace(CLEAN, copied_keys=("k1",))),
        ("reverted by an echo", replace(with_autumn(name="ann 1"), copied=(copied("name", "ann 2", "ann 1"),))),
        ("reverted by an echo", replace(CLEAN, copied=(copied("name", "ann 2", "ann 1", is_own=True),))),
        ("stale", with_stripe(name="ann 1")),
        ("stale", with_stripe(email=None)),
        ("stale", with_stripe(metadata={"autumn_id": "ann", "autumn_send_email_receipts": "false"})),
        ("stale", with_stripe(metadata={"autumn_send_email_receipts": "true"})),
        ("duplicate Stripe customers", replace(CLEAN, stripe={**CLEAN.stripe, "cus_3": IN_STRIPE})),
        ("overlapping updates", replace(CLEAN, max_parallel_updates={"ann": 2})),
        ("duplicate receipts", replace(CLEAN, mails=(*CLEAN.mails, CLEAN.mails[0]))),
        ("out-of-order effects", replace(CLEAN, autumn_calls=(*CLEAN.autumn_calls, to_autumn(1, 4.0)))),
        ("out-of-order effects", replace(CLEAN, stripe_calls=(*CLEAN.stripe_calls, to_stripe(1, 4.0)))),
        ("too many in flight", replace(CLEAN, max_updates_in_flight=7)),
    ],
)
def test_each_damage_is_found_by_its_kind(damage: Damage, evidence: Evidence) -> None:
    assert [finding.damage for finding in check(evidence).findings] == [damage]


def test_value_left_by_an_echo_is_named_as_echo() -> None:
    evidence = replace(with_autumn(name="ann 1"), copied=(copied("name", "ann 2", "ann 1"),))
    both = replace(evidence, stripe={"cus_1": changed(IN_STRIPE, name="ann 1")})
    assert check(both).counts["reverted by an echo"] == 2
    assert check(both).counts["stale"] == 0


def test_echo_that_was_repaired_is_no_damage() -> None:
    echo = copied("name", "ann 2", "ann 1")
    assert check(replace(CLEAN, copied=(echo,))).findings == ()
    late = replace(CLEAN, copied=(replace(echo, is_own=True),), announces_all=True)
    assert check(late).findings == ()
    assert reverts(SENT, (echo, copied("name", "ann 1", "ann 2"))) == 1


@pytest.mark.parametrize(
    ("written", "autumn", "stripe"),
    [
        (Written("ann", "app", {"name": "app"}), {"name": "app"}, {"name": "app"}),
        (Written("ann", "app", {"metadata": {"k1": "app"}}), {"metadata": {"k1": "app", "k2": 2}}, {}),
        (Written("ann", "person", {"email": "p@example.com"}), {"email": "p@example.com"}, {"email": "p@example.com"}),
        (Written("ann", "person", {"description": "p"}), {}, {"description": "p"}),
        (
            Written("ann", "person", {"metadata": {"note": "p"}}),
            {},
            {"metadata": {**IN_STRIPE["metadata"], "note": "p"}},
        ),
    ],
)
def test_last_write_of_another_writer_must_remain(
    written: Written, autumn: dict[str, Any], stripe: dict[str, Any]
) -> None:
    history = (*SENT, written)
    right = replace(with_autumn(**autumn), stripe={"cus_1": changed(IN_STRIPE, **stripe)}, history=history)
    assert check(right).findings == ()
    assert set(check(replace(CLEAN, history=history)).counts) == set(check(right).counts)
    counts = check(replace(CLEAN, history=history)).counts
    assert counts["stale"] + counts["undone edits"] == len([each for each in (autumn, stripe) if each])


def test_stripe_flag_may_be_older_until_a_sync() -> None:
    history = (*SENT, Written("ann", "app", {"send_email_receipts": False}))
    evidence = replace(with_autumn(send_email_receipts=False), history=history)
    assert [finding.damage for finding in wrong_values(evidence)] == ["stale"]
    assert list(wrong_values(evidence, are_unannounced_known=False)) == []
    synced = replace(evidence, history=(*history, Sent("ann", "e5")))
    assert len(list(wrong_values(synced, are_unannounced_known=False))) == 1


@pytest.mark.parametrize("call", [to_stripe(1, 4.0, replayed=True), to_stripe(1, 4.0, key="stripe-node-retry-1")])
def test_replay_and_autumns_own_write_are_in_order(call: StripeCall) -> None:
    assert check(replace(CLEAN, stripe_calls=(*CLEAN.stripe_calls, call))).findings == ()


def test_value_requested_as_null_must_be_gone_on_both_sides() -> None:
    sent = (*SENT, Sent("ann", "e5", {"name": "ann 3", "email": None}))
    assert expected_profiles(CLEAN.seeds, sent)["ann"].email is None
    outcomes = {**CLEAN.outcomes, "e5": "applied"}
    evidence = replace(
        CLEAN, history=sent, outcomes=outcomes, autumn={"ann": changed(IN_AUTUMN, name="ann 3", email=None)}
    )
    findings = check(replace(evidence, stripe={"cus_1": changed(IN_STRIPE, name="ann 3")})).findings
    assert [finding.text for finding in findings] == [
        "email in Stripe is 'ann-2@example.com', should be None",
    ]
    assert check(replace(evidence, stripe={"cus_1": changed(IN_STRIPE, name="ann 3", email="")})).findings == ()


def test_same_options_give_same_plan_for_one_seed() -> None:
    assert make_plan(SHORT) == make_plan(SHORT)
    assert make_plan(SHORT) != make_plan(replace(SHORT, seed=SHORT.seed + 1))
    assert make_plan(SHORT).entries == make_plan(replace(SHORT, kills=0, faults=0.0, calm_acts=0)).entries


@pytest.mark.parametrize("options", [SHORT, Options()], ids=["short", "full"])
def test_plan_contains_the_requested_options(options: Options) -> None:
    plan = make_plan(options)
    strikes = [blow.strike for blow in plan.disturbances]
    assert len(plan.entries) == options.events + options.calm_customers
    assert strikes.count("kill") + strikes.count("term") == options.kills
    assert strikes.count("stop") == options.stops
    assert any(blow.strike == "stop" and blow.seconds > 15 for blow in plan.disturbances)
    assert {phase.kind for phase in plan.phases} == {"429", "500", "503", "hang", "cut", "lost", "garbage"}
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    for entry in plan.entries:
        if entry.changes is None or entry.event_id in seen:
            continue
        seen.add(entry.event_id)
        assert entry.changes == json.loads(entry.fields["changes"])
        if "name" in entry.changes:
            number = int(entry.changes["name"].split(" ")[1])
            assert number > numbers.get(entry.customer, 0)
            numbers[entry.customer] = number


@pytest.mark.parametrize("options", [SHORT, Options()], ids=["short", "full"])
def test_third_of_the_customers_starts_with_a_stale_field(options: Options) -> None:
    plan = make_plan(options)
    share = sum(bool(seeded.stale) for seeded in plan.customers) / len(plan.customers)
    assert 0.25 < share < 0.45
    assert {seeded.stale for seeded in plan.customers} == {"", "name", "email"}
    assert any(seeded.stale and seeded.state == "unclaimed" for seeded in plan.customers)


@pytest.mark.parametrize("options", [SHORT, Options()], ids=["short", "full"])
def test_other_writers_write_only_their_own_fields(options: Options) -> None:
    plan = make_plan(options)
    calm = {each.customer for each in plan.customers if each.is_calm}
    others = [write for write in plan.others if write.customer not in calm]
    assert len(others) == options.other_writes
    assert {write.by for write in others} == {"app", "person"}
    with_others = {write.customer for write in others}
    linked = {each.customer for each in plan.customers if each.state in {"linked", "unclaimed"}}
    assert with_others <= linked
    events = [entry for entry in plan.entries if entry.customer in with_others and not entry.garbage]
    assert events
    assert not any("send_email_receipts" in (entry.changes or {}) for entry in events)
    first = {entry.customer: entry.at_seconds for entry in reversed(events)}
    assert all(write.at_seconds >= first[write.customer] for write in others)


@pytest.mark.parametrize("options", [SHORT, Options()], ids=["short", "full"])
def test_calm_customers_get_every_act_and_no_change_of_an_app(options: Options) -> None:
    plan = make_plan(options)
    calm = {each.customer: each for each in plan.customers if each.is_calm}
    acts = [write for write in plan.others if write.customer in calm]
    assert (len(calm), len(acts)) == (options.calm_customers, options.calm_acts)
    assert {write.act for write in acts} == {"write", "empty", "unmark", "delete", "pay"}
    assert all(calm[write.customer].has_receipts for write in acts if write.act == "pay")
    assert {write.act for write in plan.others if write.customer not in calm} == {"write", "empty", "unmark", "delete"}
    reconciles = [entry for entry in plan.entries if entry.customer in calm]
    assert {entry.customer for entry in reconciles} == calm.keys()
    assert [entry.changes for entry in reconciles] == [None] * len(calm)
    assert len({write.number for write in plan.others}) == len(plan.others)
    assert any(write.is_withheld and write.act in {"empty", "unmark", "delete"} for write in acts)
    assert not any(write.is_withheld for write in make_plan(replace(options, withheld=0.0)).others)


def test_each_attempt_of_another_writer_has_unique_values() -> None:
    values = [
        value
        for write in make_plan(SHORT).others
        if write.act == "write"
        for attempt in (0, 1)
        for name, value in write.changes(attempt).items()
        if name in ("name", "email", "description")
    ]
    assert len(set(values)) == len(values) > SHORT.other_writes


DRIFT = Drift("ann", "cus_1", "write", 10.0, {"name": "ann edited"}, ["evt_1"], noticed_at=12.0, was_idle=True)


def edited(drift: Drift, *, at: float, to: str = "ann 2", key: str = "autumn:customer-sync:update-1-1:x") -> Evidence:
    write = Write(at, "req_1", "customers.update", "cus_1", key, {"name": ("ann edited", to)})
    return replace(CLEAN, drifts=(drift,), stripe_writes=(write,))


@pytest.mark.parametrize(
    ("evidence", "found"),
    [
        (edited(DRIFT, at=13.0), 1),
        (edited(DRIFT, at=11.0), 0),
        (edited(replace(DRIFT, was_idle=False), at=13.0), 0),
        (edited(replace(DRIFT, is_calm=False), at=13.0), 0),
        (edited(DRIFT, at=13.0, key="app-1"), 0),
        (replace(edited(DRIFT, at=11.0), outcomes={**CLEAN.outcomes, "stripe-evt_1-0123abcd-10-7": "applied"}), 1),
        (replace(edited(DRIFT, at=11.0), outcomes={**CLEAN.outcomes, "stripe-evt_1-0123abcd-later-10": "applied"}), 0),
        (replace(edited(DRIFT, at=11.0), outcomes={**CLEAN.outcomes, "stripe-evt_2-0123abcd-10": "applied"}), 0),
    ],
)
def test_edit_overwritten_after_the_watch_noticed_it_is_found(evidence: Evidence, found: int) -> None:
    assert check(evidence).counts["undone edits"] == found == len(check(evidence).findings)


def test_edit_that_is_gone_at_the_end_is_undone() -> None:
    evidence = replace(CLEAN, history=(*SENT, Written("ann", "person", {"name": "edited"})))
    assert check(evidence).counts["undone edits"] == 2
    assert check(evidence).counts["stale"] == 0


def test_edit_whose_event_was_never_made_may_be_replaced() -> None:
    history = (*SENT, Written("ann", "person", {"name": "edited", "description": "edited"}, is_withheld=True))
    assert check(replace(with_stripe(description="edited"), history=history)).findings == ()


def test_unknown_edit_of_an_empty_field_stays_in_stripe() -> None:
    cleared = Sent("ann", "e5", {"email": None})
    edit = Written("ann", "person", {"email": "edited"}, is_withheld=True)
    expected = expected_profiles(CLEAN.seeds, (*SENT, cleared, edit))["ann"]
    assert (expected.in_autumn()["email"], expected.in_stripe("ann")["email"]) == ((None,), ("edited",))
    again = expected_profiles(CLEAN.seeds, (*SENT, cleared, edit, Sent("ann", "e6", {"email": None})))["ann"]
    assert again.in_stripe("ann")["email"] == (None,)


@pytest.mark.parametrize("act", ["empty", "unmark", "delete"])
def test_act_of_a_person_that_is_to_be_repaired_changes_nothing(act: Act) -> None:
    written = Written("ann", "person", {"description": "first"}), Written("ann", "person", {"name": ""}, act)
    expected = expected_profiles(CLEAN.seeds, (*SENT, *written))["ann"]
    assert (expected.name, expected.email) == ("ann 2", "ann-2@example.com")
    assert expected.only_in_stripe == ({} if act == "delete" else {"description": "first"})


def test_payment_without_its_receipt_is_found() -> None:
    payment = Drift("ann", "cus_1", "pay", 10.0, intent="pi_3")
    evidence = replace(CLEAN, drifts=(payment,), paid=frozenset({"pi_3"}))
    assert [finding.damage for finding in check(evidence).findings] == ["missing receipts"]
    assert list(missing_receipts(evidence, without=["pi_3"])) == []
    assert check(replace(evidence, paid=frozenset())).findings == ()
    assert check(replace(evidence, mails=(*CLEAN.mails, Mail("pi_3", "ann@example.com")))).findings == ()
    assert check(replace(evidence, drifts=(replace(payment, stripe_id="cus_0"),))).findings == ()


@pytest.mark.parametrize(
    ("drift", "by"),
    [
        (Drift("ann", "cus_1", "empty", 10.0, {}, ["evt_1"], noticed_at=12.0), "the watch, by poll"),
        (Drift("ann", "cus_1", "empty", 10.0, {}, ["evt_2"], noticed_at=12.0), "the watch, by webhook"),
        (Drift("ann", "cus_1", "empty", 10.0, {}, ["evt_1"], noticed_at=14.5), "an event of the customer"),
        (Drift("bob", "cus_1", "empty", 10.0, {}, ["evt_1"], noticed_at=16.0), "another sync"),
        (Drift("ann", "cus_1", "empty", 20.0, {}, []), "the scan"),
        (Drift("ann", "cus_1", "write", 10.0, {}, ["evt_1"], noticed_at=12.0), "edits, by Autumn's webhook"),
        (Drift("ann", "cus_1", "write", 20.0, {}, []), "the scan"),
    ],
)
def test_agreement_is_counted_by_what_noticed_the_drift_first(drift: Drift, by: str) -> None:
    noticed = Noticed([Sent("ann", "e1", at=9.0), Sent("ann", "e2", at=14.0)], {"evt_2"}, scan_at=30.0)
    seconds = 5.0 if drift.at < 20 else 15.0
    found = noticed.agreement_seconds([replace(drift, agreed_at=drift.at + seconds), replace(drift, agreed_at=None)])
    assert found == {by: [seconds]}


def test_percentile_is_one_of_the_values() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.75, 0.99)] == [1.0, 2.0, 3.0, 4.0]


def test_calls_over_a_limit_are_counted_per_second() -> None:
    assert over_limit([0.0, 0.5, 0.9, 1.1], 3) == 0
    assert over_limit([0.0, 0.5, 0.9, 0.95], 3) == 1


def test_recovery_is_time_from_kill_to_next_call() -> None:
    calls = [to_autumn(1, 1.0, status=0, ended=2.0), to_autumn(1, 6.5), to_autumn(2, 9.0)]
    assert recoveries([1.5], calls) == [5.0]
    assert recoveries([3.0], calls) == []


def test_error_that_ends_a_run_gives_findings_per_cause() -> None:
    error = ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])
    report = broken_off(SHORT, error)
    assert report["clean"] is False
    assert report["findings"] == ["broke off: the run: ValueError: one", "broke off: the run: KeyError: 'two'"]
    assert report["counts"]["broke off"] == 2
