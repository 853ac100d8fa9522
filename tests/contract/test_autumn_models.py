"""The models against the table of the twelve fields, which is made from Autumn's own schema."""

import json
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from jobs.autumn.models import UpdateCustomerResponse, explain
from tests.contract.documents import DROPPED, OTHERS, accepts, drawn, fullest, mutated, places, relaxed
from tests.contract.fields import Json, autumn_schema
from tests.support.examples import examples

WRONG: Final[dict[str, object]] = {
    "id": 1,
    "name": 1,
    "email": True,
    "created_at": "1767225600000",
    "fingerprint": {},
    "stripe_id": [],
    "env": None,
    "metadata": None,
    "send_email_receipts": "true",
    "subscriptions": {},
    "purchases": None,
    "balances": [],
}


def faults(document: Json) -> str:
    with pytest.raises(ValidationError) as refused:
        UpdateCustomerResponse.model_validate_json(json.dumps(document))
    return explain(refused.value)


@pytest.mark.parametrize("field", WRONG)
def test_customer_with_missing_or_wrong_field_is_refused_by_name(field: str) -> None:
    assert WRONG.keys() == {name for name, info in UpdateCustomerResponse.model_fields.items() if info.is_required()}
    customer = fullest(autumn_schema())

    less = {name: value for name, value in customer.items() if name != field}
    assert faults(less) == f"{field}: field required"
    assert faults({**customer, field: WRONG[field]}).startswith(f"{field}: should be ")


def test_model_refuses_what_the_schema_refuses() -> None:
    schema = relaxed(autumn_schema())
    judge = Draft202012Validator(schema)
    judges = {name: Draft202012Validator(inner) for name, inner in schema["properties"].items()}
    document = fullest(autumn_schema())
    verdicts = {True: 0, False: 0}

    assert accepts(document)
    for way in places(document):
        for value in (*OTHERS, DROPPED):
            other = mutated(document, way, value)
            verdict = judge.is_valid(other) if len(way) == 1 else judges[str(way[0])].is_valid(other[way[0]])
            assert accepts(other) is verdict, (way, value)
            verdicts[verdict] += 1

    assert min(verdicts.values()) > 500


def test_model_agrees_with_the_schema() -> None:
    judge, relaxed_judge = Draft202012Validator(autumn_schema()), Draft202012Validator(relaxed(autumn_schema()))
    documents = drawn(autumn_schema())

    @settings(max_examples=examples(100), suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def agrees(data: st.DataObject) -> None:
        document = data.draw(documents)
        assert judge.is_valid(document)
        assert accepts(document)

        way = data.draw(st.sampled_from(list(places(document))))
        other = mutated(document, way, data.draw(st.sampled_from([*OTHERS, DROPPED])))
        assert accepts(other) is relaxed_judge.is_valid(other), way

    agrees()
