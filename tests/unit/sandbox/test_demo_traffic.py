"""The customers and events of the demo, and its expected final state."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from sandbox.demo.deployments import Deployment, all_traffic, make_deployments
from sandbox.demo.links import make_receipts
from sandbox.demo.traffic import make_traffic
from sandbox.demo.world import APPLIED, DUPLICATE, NEEDS_REVIEW, Entry, Expected, Mode, Traffic

SERVICES_TAKE_PER_SECOND, SERVICES_TAKE_IN_FLIGHT = 25, 8


@pytest.fixture(scope="module")
def deployments() -> tuple[Deployment, ...]:
    return make_deployments(42)


@pytest.fixture(scope="module")
def traffic(deployments: tuple[Deployment, ...]) -> Traffic:
    return all_traffic(deployments)


def sent_changes(entries: list[Entry], customer_id: str) -> list[dict[str, Any]]:
    return [entry.changes for entry in entries if entry.outcome == APPLIED and entry.customer_id == customer_id]


def test_same_seed_gives_same_traffic() -> None:
    assert make_traffic(42) == make_traffic(42)
    assert make_traffic(43) != make_traffic(42)


def test_last_valid_value_sent_is_the_expected_one(traffic: Traffic) -> None:
    for seeded in traffic.customers:
        profile = seeded.profile
        for changes in sent_changes(list(traffic.entries), seeded.customer_id):
            metadata = {**profile.metadata, **changes.pop("metadata", {})}
            kept = {key: value for key, value in metadata.items() if value is not None}
            changes.pop("stripe_id", None)
            profile = replace(profile, **changes, metadata=kept)
        assert traffic.expected[seeded.customer_id] == profile


def test_every_customer_has_an_event_and_one_has_a_burst(traffic: Traffic) -> None:
    per_customer = Counter(entry.customer_id for entry in traffic.entries if entry.outcome in {APPLIED, NEEDS_REVIEW})

    edited = {edit.customer_id for edit in traffic.edits}
    assert len(edited) == 4
    assert all(bool(per_customer[each.customer_id]) is (each.customer_id not in edited) for each in traffic.customers)
    assert per_customer.most_common(1)[0][1] >= 100


def test_duplicate_repeats_an_earlier_entry_exactly(traffic: Traffic) -> None:
    for place, entry in enumerate(traffic.entries):
        if entry.outcome == DUPLICATE:
            assert entry.fields in [earlier.fields for earlier in traffic.entries[:place] if earlier.outcome == APPLIED]


def test_traffic_has_each_outcome(traffic: Traffic) -> None:
    outcomes = Counter(entry.outcome for entry in traffic.entries)

    assert outcomes.keys() == {APPLIED, DUPLICATE, NEEDS_REVIEW, "invalid_event", "customer_not_found"}


def test_entries_are_ordered_by_time(traffic: Traffic) -> None:
    times = [entry.at_seconds for entry in traffic.entries]

    assert times == sorted(times)


def test_exactly_the_events_of_refused_customers_need_a_review(traffic: Traffic) -> None:
    refused = {seeded.customer_id for seeded in traffic.of(Expected.REFUSED)}

    assert {entry.customer_id for entry in traffic.entries if entry.outcome == NEEDS_REVIEW} == refused
    assert not [entry for entry in traffic.entries if entry.customer_id in refused and entry.outcome == APPLIED]


def test_each_kind_of_broken_link_is_planted(traffic: Traffic) -> None:
    living = {each.id: each for seeded in traffic.customers for each in seeded.stripe if not each.deleted}
    edited = {edit.customer_id for edit in traffic.edits}
    healed = [each for each in traffic.of(Expected.REPAIRED) if each.customer_id not in edited]
    refused = traffic.of(Expected.REFUSED)

    assert all(seeded.stripe_id and seeded.stripe_id not in living for seeded in healed)
    assert sorted(len(seeded.stripe) for seeded in healed) == [0, 1, 1, 2], "never known, deleted, deleted and found"
    owners = {
        living[seeded.stripe_id].metadata["autumn_id"] != seeded.customer_id for seeded in refused if seeded.stripe_id
    }
    assert owners == {True}
    assert len([seeded for seeded in refused if seeded.stripe_id is None and len(seeded.stripe) == 2]) == 1
    assert len(traffic.of(Expected.UNLINKED)) == 1


def test_all_deployments_together_stay_below_service_limits(deployments: tuple[Deployment, ...]) -> None:
    # Each may be one call ahead.
    assert sum(each.calls_per_second + 1 for each in deployments) <= SERVICES_TAKE_PER_SECOND
    assert sum(each.in_flight for each in deployments) <= SERVICES_TAKE_IN_FLIGHT


def test_deployments_share_no_data(deployments: tuple[Deployment, ...]) -> None:
    for mine in (
        [each.inbox for each in deployments],
        [each.prefix for each in deployments],
        [seeded.customer_id for each in deployments for seeded in each.traffic.customers],
        [payment.id for each in deployments for payment in each.traffic.payments],
    ):
        assert len(set(mine)) == len(mine)


@pytest.mark.parametrize(
    ("mode", "kept", "taken_back", "mailed"), [("mirror", 0, 0, 0), ("open", 2, 1, 0), ("recover", 4, 1, 2)]
)
def test_each_mode_has_its_receipts(mode: Mode, kept: int, taken_back: int, mailed: int) -> None:
    payments = make_receipts(mode).payments

    assert len([each for each in payments if each.addresses and each.addresses[-1]]) == kept
    assert len([each for each in payments if each.addresses[1:] == (None,)]) == taken_back
    assert len([each for each in payments if each.mailed_to]) == mailed
    assert not [each for each in payments if each.receipt_email and each.addresses]
    assert not [each for each in payments if (each.succeeded_hours_ago or 0) > 24 and each.addresses]
