"""The models and the translation of errors against what Autumn's own server and schema say.

The recordings and the schema are not part of this repository: CONTRACT_DATA names the folder that holds them.
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from jobs.autumn_errors import error_from
from jobs.autumn_models import UpdateCustomerResponse, explain
from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain

FOLDER: Final = os.environ.get("CONTRACT_DATA", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="CONTRACT_DATA is not set: it names the folder with recordings/autumn and schemas"
)

VERSIONS: Final = {"2.1", "2.2", "2.3", "2.3.0", "2026-03-17", "2026-03-18", "2026-05-13"}
"""The versions with this shape; a date is another name of a version."""
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
EXPECTED: Final[dict[tuple[int, str | None], set[type[SyncError]]]] = {
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
    (500, "internal_error"): {TryAgain},
    (503, "service_unavailable"): {TryAgain},
}

Json = Any
Steps = tuple[str | int, ...]


def recordings() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(Path(FOLDER, "recordings", "autumn").glob("*.json"))]


def customers() -> list[Json]:
    found = []
    for recording in recordings():
        headers = {name.lower(): value for name, value in recording["request"].get("headers", {}).items()}
        answer = recording["response"].get("json")
        if recording["response"]["status"] != 200 or headers.get("x-api-version") not in VERSIONS:
            continue
        found += [item for item in answer.get("list", [answer]) if "email" in item]
    return found


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


def test_each_recorded_customer_is_accepted() -> None:
    found = customers()

    for customer in found:
        UpdateCustomerResponse.model_validate_json(json.dumps(customer))
    assert len(found) >= 120


@pytest.mark.parametrize("field", WRONG)
def test_a_recorded_customer_without_a_field_or_with_a_wrong_one_is_refused_by_name(field: str) -> None:
    assert WRONG.keys() == {name for name, info in UpdateCustomerResponse.model_fields.items() if info.is_required()}

    for customer in customers():
        less = {name: value for name, value in customer.items() if name != field}
        assert faults(less) == f"{field}: field required"
        assert faults({**customer, field: WRONG[field]}).startswith(f"{field}: should be ")


def test_each_recorded_error_becomes_the_decision_it_calls_for() -> None:
    seen: dict[tuple[int, str | None], set[type[SyncError]]] = {}
    for recording in recordings():
        response = recording["response"]
        if response["status"] == 200:
            continue
        said = response.get("json")
        body = response.get("text") or json.dumps(said)
        error = error_from(response["status"], response["headers"], body.encode(), writing=True)
        seen.setdefault((response["status"], said and said["code"]), set()).add(type(error))
        assert said is None or said["message"][:100].split("am_sk_")[0] in error.message

    assert seen == EXPECTED


def test_an_organisation_without_stripe_halts() -> None:
    (said,) = (
        recording["response"]["json"]
        for recording in recordings()
        if recording["name"] == "err-nostripe-org-set-stripe_id"
    )

    assert type(error_from(400, {}, json.dumps(said).encode(), writing=True)) is Halt


def schema() -> Json:
    return json.loads(Path(FOLDER, "schemas", "UpdateCustomerResponse-2026-02-24.json").read_text())


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
    judge = Draft202012Validator(relaxed(schema()))
    document = fullest(schema())
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


def test_the_model_agrees_with_the_schema() -> None:
    judge, relaxed_judge = Draft202012Validator(schema()), Draft202012Validator(relaxed(schema()))
    documents = drawn(schema())

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
