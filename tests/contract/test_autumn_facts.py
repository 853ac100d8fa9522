"""The Autumn simulator and the client's errors against the table of facts that the recordings prove.

All other tests take Autumn's behaviour from the simulator, so these compare the simulator with the real one.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from jobs.autumn.errors import error_from
from jobs.autumn.models import UpdateCustomerResponse
from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain
from tests.contract import facts
from tests.contract.facts import Fact, base_of, exchange_of, proven
from tests.contract.replay import replay

DEVELOPMENT: Final = Path(__file__).parents[2] / "docs" / "development.md"
TABLE: Final = facts.read()
REPLAYED: Final = [fact for fact in TABLE.values() if fact.replayed]
EXCHANGES: Final = 171
CUSTOMERS: Final = 60
DECISIONS: Final[dict[tuple[int, str | None], set[type[SyncError]]]] = {
    (400, "invalid_api_version"): {Halt},
    (400, "invalid_inputs"): {GiveUp},
    (400, "invalid_request"): {GiveUp, Halt},
    (400, "stripe_error"): {Absent, TryAgain},
    (401, "invalid_request"): {Halt},
    (401, "invalid_secret_key"): {Halt},
    (401, "no_auth_header"): {Halt},
    (401, "no_secret_key"): {Halt},
    (404, "customer_not_found"): {GiveUp},
    (409, "customer_already_exists"): {GiveUp},
    (409, "duplicate_idempotency_key"): {GiveUp},
    (429, "stripe_rate_limit_exceeded"): {Limited},
    (429, None): {Limited},
    (503, "service_unavailable"): {TryAgain},
}


def test_each_exchange_is_replayed_or_left_out_for_a_reason() -> None:
    assert len(TABLE) == EXCHANGES
    assert TABLE.keys() >= facts.LEFT_OUT.keys()
    assert len(REPLAYED) == EXCHANGES - len(facts.LEFT_OUT)
    assert all(facts.LEFT_OUT.values())


def test_document_counts_the_exchanges_of_the_table() -> None:
    counts = f"{len(TABLE)} recorded, {len(REPLAYED)} replayed, {len(facts.LEFT_OUT)} left out for the reasons in"
    assert counts in " ".join(DEVELOPMENT.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("fact", REPLAYED, ids=lambda fact: fact.name)
async def test_simulator_agrees_with_the_table(fact: Fact) -> None:
    exchange = exchange_of(fact, TABLE)
    base = base_of(exchange.before, fact.customer_id)

    replayed = await replay(exchange)

    assert facts.counted(proven(replayed.answer, base), fact.proven) == fact.proven
    assert replayed.stripe_calls == exchange.stripe_calls
    if fact.proven["status"] != 200:
        assert replayed.unchanged or not fact.line["path"].endswith(".update")
    if fact.after is not None:
        assert replayed.after is not None
        after = proven(replayed.after, base)
        assert facts.counted(after, fact.after["answer"]) == fact.after["answer"]


def test_model_accepts_each_customer_of_the_table() -> None:
    lists: dict[str, object] = {"subscriptions": [], "purchases": [], "balances": {}}
    found = [
        {**lists, **base_of(fact.line.get("before", []), fact.customer_id), **fact.proven["changed"]}
        for fact in REPLAYED
        if fact.proven.get("other_fields") in ([], ["processors"])
    ]

    for customer in found:
        UpdateCustomerResponse.model_validate_json(json.dumps(customer))
    assert len(found) >= CUSTOMERS


def test_each_error_of_the_table_becomes_the_right_decision() -> None:
    seen: dict[tuple[int, str | None], set[type[SyncError]]] = {}
    for fact in REPLAYED:
        answer = fact.proven
        if answer["status"] == 200:
            continue
        body = answer["says"]
        if "code" in answer:
            body = json.dumps({"message": answer["says"], "code": answer["code"], "env": "sandbox"})
        error = error_from(answer["status"], answer, body.encode(), writing=True)
        seen.setdefault((answer["status"], answer.get("code")), set()).add(type(error))
        assert answer.get("code") is None or answer["says"].split("am_sk_")[0] in error.message

    assert seen == DECISIONS


def test_organisation_without_stripe_halts() -> None:
    answer = TABLE["096-err-nostripe-org-set-stripe_id"].proven
    body = json.dumps({"message": answer["says"], "code": answer["code"]}).encode()

    assert type(error_from(answer["status"], {}, body, writing=True)) is Halt
