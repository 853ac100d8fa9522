"""The model of the twelve fields against the models of Autumn's own Python SDK, which has a later version, 2.5.0.

The SDK reads leniently: it takes "true" for true. So it decides which fields exist and which may be null, but not how
strict a client is.
"""

import copy
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from autumn_sdk import models as sdk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from jobs.autumn.models import DETAILED, TWELVE, read_customer
from tests.contract.documents import DROPPED, OTHERS, Steps, drawn, fullest, mutated, places
from tests.contract.fields import Json, autumn_schema

SDK_MODELS: Final = {
    "update": "UpdateCustomerResponse",
    "get": "GetCustomerResponse",
    "get_or_create": "Customer",
    "list": "ListCustomersList",
}
"""The names of the SDK's models of a customer, by the endpoint that answers with them."""
NEW_AND_REQUIRED: Final[Json] = {"billing_controls": {}, "licenses": [], "flags": {}}
NEW_AND_OPTIONAL: Final = {"config", "processors"}
NEVER_ASKED_FOR: Final = {"plan", "feature"}
"""Fields that only a request with `expand` gets, so the worker never sees them."""
NARROWER: Final[Json] = {"to": {"anyOf": [{"type": "number"}, {"enum": ["inf"]}]}}
"""The properties that the service's own schema limits more: the SDK accepts any text as the end of a price tier."""
MANY: Final = settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)


def sdk_model(endpoint: str) -> type[BaseModel]:
    """Return the SDK's model of a customer. The SDK imports it on this call, which takes half a second."""
    model: type[BaseModel] = getattr(sdk, SDK_MODELS[endpoint])
    return model


def schema_of(model: type[BaseModel]) -> Json:
    """Return the twelve fields of the SDK's JSON schema, without references and without fields that are never
    requested."""
    whole = model.model_json_schema()
    properties = {name: resolved(whole["properties"][name], whole["$defs"]) for name in TWELVE}
    return {"type": "object", "properties": properties, "required": list(TWELVE)}


def resolved(node: Json, definitions: Json) -> Json:
    if "$ref" in node:
        return resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in node:
        return {"anyOf": [resolved(inner, definitions) for inner in node["anyOf"]]}
    found = {key: node[key] for key in ("type", "enum", "const", "required") if key in node}
    if "properties" in node:
        kept = {
            name: NARROWER.get(name, inner) for name, inner in node["properties"].items() if name not in NEVER_ASKED_FOR
        }
        found["properties"] = {name: resolved(inner, definitions) for name, inner in kept.items()}
    for key in ("items", "additionalProperties"):
        if key in node:
            found[key] = {} if node[key] is True else resolved(node[key], definitions)
    return found


@pytest.mark.parametrize("name", SDK_MODELS)
def test_sdk_knows_the_twelve_fields_and_later_ones(name: str) -> None:
    fields = sdk_model(name).model_fields
    required = {field for field, info in fields.items() if info.is_required()}

    assert required == {*TWELVE, *NEW_AND_REQUIRED}
    assert fields.keys() >= {*required, *NEW_AND_OPTIONAL}


@pytest.mark.parametrize("name", SDK_MODELS)
def test_model_reads_each_customer_that_the_sdk_describes(name: str) -> None:
    documents = drawn(schema_of(sdk_model(name)))

    @MANY
    @given(documents)
    def reads(document: Json) -> None:
        assert_same(document, sdk_model(name))

    reads()


def test_sdk_reads_each_customer_of_the_schema() -> None:
    documents = drawn(without_expanded(autumn_schema()))

    @MANY
    @given(documents, st.sampled_from(sorted(SDK_MODELS)))
    def reads(document: Json, name: str) -> None:
        assert_same(of_today(document), sdk_model(name))

    reads()


def assert_same(document: Json, model: type[BaseModel]) -> None:
    """Assert that the client and the SDK read the same customer from the document."""
    theirs: Any = model.model_validate({**NEW_AND_REQUIRED, **document})
    ours = read_customer(json.dumps(document).encode())

    assert ours.oddities == ()
    for field in set(TWELVE) - DETAILED:
        assert getattr(ours, field) == getattr(theirs, field)
    for field in ("plan_id", "status", "quantity", "expires_at"):
        assert [getattr(each, field) for each in ours.subscriptions] == [
            getattr(each, field) for each in theirs.subscriptions
        ]
    assert [each.plan_id for each in ours.purchases] == [each.plan_id for each in theirs.purchases]
    for field in ("feature_id", "granted", "remaining", "usage", "next_reset_at"):
        shown = {key: getattr(balance, field) for key, balance in theirs.balances.items()}
        assert {key: getattr(balance, field) for key, balance in ours.balances.items()} == shown


def test_model_refuses_what_the_sdk_refuses() -> None:
    document = of_today(fullest(without_expanded(autumn_schema())))
    accepted = reader(sdk_model("update"))
    refused = 0

    for way in places(document):
        if way[0] not in TWELVE or is_new(way):
            continue
        for value in (*OTHERS, DROPPED):
            other = mutated(document, way, value)
            if not accepted(other):
                refused += 1
                assert odd(other), (way, value)

    assert refused > 500


def is_new(way: Steps) -> bool:
    """Whether this place in the twelve fields exists only since version 2.5.0."""
    return (way[0], way[-1]) == ("subscriptions", "id") or ("rollovers" in way and way[-1] == "granted")


def odd(document: Json) -> bool:
    """Whether the model refuses the document, or names oddities in it."""
    try:
        return bool(read_customer(json.dumps(document).encode()).oddities)
    except ValidationError:
        return True


def reader(model: type[BaseModel]) -> Callable[[Json], bool]:
    def accepted(document: Json) -> bool:
        try:
            model.model_validate(document)
        except ValidationError:
            return False
        return True

    return accepted


def without_expanded(node: Json) -> Json:
    """Return the schema without the fields that need `expand`."""
    if isinstance(node, list):
        return [without_expanded(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    kept = {name: without_expanded(inner) for name, inner in node.items()}
    if "properties" in kept:
        kept["properties"] = {name: inner for name, inner in kept["properties"].items() if name not in NEVER_ASKED_FOR}
    return kept


def of_today(document: Json) -> Json:
    """Return the document with the fields that version 2.5.0 requires in addition."""
    subscriptions = [{"id": "sub", **each} for each in document["subscriptions"]]
    balances = copy.deepcopy(document["balances"])
    for balance in balances.values():
        for rollover in balance.get("rollovers", ()):
            rollover["granted"] = 1
    return {**NEW_AND_REQUIRED, **document, "subscriptions": subscriptions, "balances": balances}
