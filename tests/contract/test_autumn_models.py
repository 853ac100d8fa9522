"""The models against the table of the twelve fields, which is made from Autumn's own schema."""

import copy
import json
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from jobs.autumn_models import UpdateCustomerResponse, explain
from tests.contract.fields import Json, autumn_schema

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
Steps = tuple[str | int, ...]


def accepts(document: Json) -> bool:
    try:
        UpdateCustomerResponse.model_validate_json(json.dumps(document))
    except ValidationError:
        return False
    return True


def faults(document: Json) -> str:
    with pytest.raises(ValidationError) as refused:
        UpdateCustomerResponse.model_validate_json(json.dumps(document))
    return explain(refused.value)


@pytest.mark.parametrize("field", WRONG)
def test_a_customer_without_a_field_or_with_a_wrong_one_is_refused_by_name(field: str) -> None:
    assert WRONG.keys() == {name for name, info in UpdateCustomerResponse.model_fields.items() if info.is_required()}
    customer = fullest(autumn_schema())

    less = {name: value for name, value in customer.items() if name != field}
    assert faults(less) == f"{field}: field required"
    assert faults({**customer, field: WRONG[field]}).startswith(f"{field}: should be ")


def relaxed(node: Json) -> Json:
    """The schema with the three differences that the models make on purpose, and no other.

    Enums are open; `remaining` may be negative; a field that may be absent may be null.
    """
    if "enum" in node:
        return {"type": "string"}
    easier = {key: value for key, value in node.items() if key != "minimum"}
    if "properties" in node:
        easier["properties"] = {
            name: relaxed(inner) if name in node.get("required", []) else {"anyOf": [relaxed(inner), {"type": "null"}]}
            for name, inner in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in node:
            easier[key] = relaxed(node[key])
    if "anyOf" in node:
        easier["anyOf"] = [relaxed(inner) for inner in node["anyOf"]]
    return easier


def fullest(node: Json) -> Json:
    """A document with each field that the schema knows, each list and each map with one item."""
    if "anyOf" in node:
        return fullest(node["anyOf"][0])
    if "enum" in node:
        return node["enum"][0]
    if "properties" in node:
        return {name: fullest(inner) for name, inner in node["properties"].items()}
    simple = {"string": "text", "number": 1.5, "boolean": True, "null": None}
    if node.get("type") in simple:
        return simple[node["type"]]
    if node.get("type") == "array":
        return [fullest(node["items"])]
    return {"key": fullest(node["additionalProperties"])} if node.get("type") == "object" else "anything"


def places(document: Json, here: Steps = ()) -> Iterator[Steps]:
    """The ways to each value below `document`."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for step, value in inner:
        yield (*here, step)
        if isinstance(value, (dict, list)):
            yield from places(value, (*here, step))


OTHERS: Final[list[Json]] = [None, True, 0, -1, 1.5, "inf", "", [], {}, [1], {"a": 1}, ["a"]]
DROPPED: Final = object()


def mutated(document: Json, way: Steps, value: object) -> Json:
    changed = copy.deepcopy(document)
    place = changed
    for step in way[:-1]:
        place = place[step]
    if value is DROPPED:
        del place[way[-1]]
    else:
        place[way[-1]] = value
    return changed


def test_the_model_refuses_what_the_schema_refuses_at_each_place() -> None:
    judge = Draft202012Validator(relaxed(autumn_schema()))
    document = fullest(autumn_schema())
    verdicts = {True: 0, False: 0}

    assert accepts(document)
    for way in places(document):
        for value in (*OTHERS, DROPPED):
            other = mutated(document, way, value)
            verdict = judge.is_valid(other)
            assert accepts(other) is verdict, (way, value)
            verdicts[verdict] += 1

    assert min(verdicts.values()) > 500


def drawn(node: Json) -> st.SearchStrategy[Json]:
    """Documents that the schema `node` allows, for as much of JSON schema as Autumn's uses."""
    if "anyOf" in node:
        return st.one_of([drawn(inner) for inner in node["anyOf"]])
    if "enum" in node or "const" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    if "properties" in node:
        fields = {name: drawn(inner) for name, inner in node["properties"].items()}
        required = {name: fields.pop(name) for name in node.get("required", [])}
        return st.fixed_dictionaries(required, optional={**fields, "a_field_of_tomorrow": ANYTHING})
    if node.get("type") == "array":
        return st.lists(drawn(node["items"]), max_size=2)
    if node.get("type") == "object":
        return st.dictionaries(st.text(max_size=5), drawn(node["additionalProperties"]), max_size=2)
    least = node.get("minimum")
    simple: dict[str, st.SearchStrategy[Json]] = {
        "string": st.text(max_size=10),
        "number": st.floats(least, allow_nan=False, allow_infinity=False) | st.integers(least),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[node["type"]] if node else ANYTHING


ANYTHING: Final = st.sampled_from([*OTHERS, {"deep": [{"er": None}]}])


def test_the_model_agrees_with_the_autumn_schema() -> None:
    judge, relaxed_judge = Draft202012Validator(autumn_schema()), Draft202012Validator(relaxed(autumn_schema()))
    documents = drawn(autumn_schema())

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def agrees(data: st.DataObject) -> None:
        document = data.draw(documents)
        assert judge.is_valid(document)
        assert accepts(document)

        way = data.draw(st.sampled_from(list(places(document))))
        other = mutated(document, way, data.draw(st.sampled_from([*OTHERS, DROPPED])))
        assert accepts(other) is relaxed_judge.is_valid(other), way

    agrees()
