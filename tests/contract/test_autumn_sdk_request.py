"""The billing fields of an event against the models of Autumn's own Python SDK: names, nulls, choices and parts."""

from typing import Any, Literal, get_args, get_origin

import pytest
from autumn_sdk import models as sdk
from autumn_sdk.types import OptionalNullable
from pydantic import BaseModel

from autumn_sync_client.billing import BillingControls, BillingDetails, Config, Part
from jobs.events import Changes
from tests.support.billing import FULLEST


def parts_of(*models: Any) -> dict[str, Any]:
    """Return the fields of models by their names in JSON: required, may be null, the choices, the parts.

    A field is required if all models require it: the SDK has one model for each form of a usage limit.
    """
    found: dict[str, Any] = {}
    for model in models:
        for name, field in model.model_fields.items():
            is_required = all(name in each.model_fields and each.model_fields[name].is_required() for each in models)
            kind = field.annotation
            inner = parts_of(*models_in(kind))
            found[field.alias or name] = (is_required, is_nullable(model, kind), choices_in(kind), inner)
    return found


def inside(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or get_args(getattr(annotation, "__value__", None))


def models_in(annotation: Any) -> list[Any]:
    """Return the models in a type, such as that of the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in inside(annotation) for found in models_in(each)]


def choices_in(annotation: Any) -> set[str]:
    """Return the values of a field with a fixed set of values."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {found for each in inside(annotation) for found in choices_in(each)}


def is_nullable(model: type[BaseModel], annotation: Any) -> bool:
    """Return whether null may be sent. The SDK's `Optional` means that a field may be left out."""
    if issubclass(model, Part):
        return type(None) in get_args(annotation)
    return get_origin(annotation) is OptionalNullable


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Config, "UpdateCustomerConfigRequestBody"),
        (BillingControls, "UpdateCustomerBillingControlsRequestBody"),
        (BillingDetails, "BillingDetailsParams"),
    ],
)
def test_models_are_those_of_the_sdk(ours: type[Part], theirs: str) -> None:
    assert parts_of(ours) == parts_of(getattr(sdk, theirs))


def test_event_takes_all_fields_of_an_update() -> None:
    theirs = set(sdk.UpdateCustomerParams.model_fields)
    assert set(Changes.model_fields) == theirs - {"customer_id", "new_customer_id"}


def test_sdk_reads_each_field_of_the_example() -> None:
    read = sdk.UpdateCustomerParams.model_validate({"customer_id": "ann", **FULLEST})
    assert read.model_dump(by_alias=True, exclude_unset=True)["billing_details"] == FULLEST["billing_details"]
