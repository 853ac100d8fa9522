"""The billing fields of an event: `currency`, `config`, `billing_controls` and `billing_details`.

Names, types and nulls are those of Autumn's official SDK 1.2.0, which speaks version 2.5.0 of the API. Autumn itself
checks the rest, such as the smallest threshold and the ids of features. Only for the event's model, so it needs only
pydantic.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
)

from autumn_sync_client.faults import Problem, Ruled
from autumn_sync_client.values import WHOLE_NUMBER_MAX, Text, storable

_CURRENCY: Final = re.compile(r"[A-Za-z]{3}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}", re.ASCII)
CUSTOM_FIELDS_MAX, CUSTOM_FIELD_NAME_MAX, CUSTOM_FIELD_VALUE_MAX = 4, 40, 140
"""Stripe's limits of the custom fields on an invoice: their number, and the characters of a name and of a value."""


def _currency(value: str) -> str:
    if not _CURRENCY.fullmatch(value):
        raise ValueError("is not a currency code of three letters, such as eur")
    return value


def _country(value: str) -> str:
    if not _COUNTRY.fullmatch(value):
        raise ValueError("is not a country code of two letters, such as DE: send null for no country")
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_exact(value):
        raise ValueError(f"must be a number that JavaScript keeps exactly, at most {WHOLE_NUMBER_MAX}")
    return value


def _is_exact(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) <= WHOLE_NUMBER_MAX


def _property(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int | float):
        return _number(value)
    raise ValueError("must be a string, a number, true or false")


Currency = Annotated[Text, AfterValidator(_currency), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{3}$"})]
Country = Annotated[Text, AfterValidator(_country), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{2}$"})]
Name = Annotated[Text, AfterValidator(_not_empty), WithJsonSchema({"type": "string", "minLength": 1})]
Number = Annotated[Any, AfterValidator(_number), WithJsonSchema({"type": "number"})]
"""A number as it was sent: 10 stays 10, and never becomes 10.0."""
Property = Annotated[Any, AfterValidator(_property), WithJsonSchema({"type": ["string", "number", "boolean"]})]


ABSENT: Final[Any] = None
"""The default of a field that may be left out. It is never sent, and null is refused like any other wrong value."""


class Part(BaseModel):
    """A JSON object inside `changes`. A field without a default is required."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Config(Part):
    """Switches of the customer. Autumn merges them: a switch that is left out stays as it is."""

    disable_pooled_balance: StrictBool = ABSENT
    disable_overage_billing: StrictBool = ABSENT


class Allocation(Part):
    """The share of one entity in an allocated balance. An amount of 0 releases it."""

    entity_id: Name
    amount: Number


class BalanceAllocation(Part):
    """The shares of all entities in the customer's credits of one feature."""

    feature_id: Name
    interval: Literal["one_off", "minute", "hour", "day", "week", "month", "quarter", "semi_annual", "year"]
    allocations: list[Allocation]


class PurchaseLimit(Part):
    """The most top-ups in an interval. `count` sets how many of them are used up."""

    interval: Literal["hour", "day", "week", "month"]
    limit: Number
    interval_count: Number = ABSENT
    count: Number = ABSENT


class AutoTopup(Part):
    """A purchase that Autumn makes when a balance falls below the threshold."""

    feature_id: Name
    threshold: Number
    quantity: Number
    enabled: StrictBool = ABSENT
    purchase_limit: PurchaseLimit = ABSENT
    invoice_mode: StrictBool = ABSENT


class SpendLimit(Part):
    """A limit of the overage."""

    feature_id: Name = ABSENT
    enabled: StrictBool = ABSENT
    limit_type: Literal["absolute", "usage_percentage"] = ABSENT
    overage_limit: Number = ABSENT
    skip_overage_billing: StrictBool = ABSENT


class Filter(Part):
    """The properties that usage must have to count."""

    properties: dict[Text, Property]


class UsageLimit(Ruled, Part):
    """A limit of the usage of one feature. With `feature_id` and `usage` alone, it sets the counter of a limit."""

    feature_id: Name
    limit: Number = ABSENT
    interval: Literal["day", "week", "month", "year"] = ABSENT
    enabled: StrictBool = ABSENT
    anchor: Literal["billing_cycle", "utc"] = ABSENT
    filter: Filter = ABSENT
    usage: Number = ABSENT
    source: Literal["customer", "plan"] = Field(ABSENT, description="As Autumn returns it; it changes nothing.")

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """See Ruled."""
        if not given.keys().isdisjoint({"limit", "interval", "enabled", "anchor"}) or "usage" not in given:
            for name in ("limit", "interval"):
                if name not in given:
                    yield (name,), "is missing: send limit and interval, or only usage and its filter"


class UsageAlert(Part):
    """A threshold of the usage or of the balance. Autumn sends a webhook when it is crossed."""

    threshold: Number
    threshold_type: Literal["usage", "usage_percentage", "remaining", "remaining_percentage"]
    feature_id: Name = ABSENT
    enabled: StrictBool = ABSENT
    basis: Literal["balance", "included", "recurring", "usage_limit"] = ABSENT
    filter: Filter = ABSENT
    name: Text = ABSENT


class OverageAllowed(Part):
    """Whether the usage of one feature may exceed its balance."""

    feature_id: Name
    enabled: StrictBool = ABSENT


class BillingControls(Part):
    """Limits and alerts. Each list that is named replaces the customer's own list, and the others stay."""

    balance_allocations: list[BalanceAllocation] = ABSENT
    auto_topups: list[AutoTopup] = ABSENT
    spend_limits: list[SpendLimit] = ABSENT
    usage_limits: list[UsageLimit] = ABSENT
    usage_alerts: list[UsageAlert] = ABSENT
    overage_allowed: list[OverageAllowed] = ABSENT


class Address(Part):
    """A billing address. It replaces the whole address in Stripe."""

    line1: Text | None = ABSENT
    line2: Text | None = ABSENT
    city: Text | None = ABSENT
    state: Text | None = ABSENT
    postal_code: Text | None = ABSENT
    country: Country | None = ABSENT


class TaxId(Part):
    """A tax id: its type in Stripe, such as `eu_vat`, and its value."""

    type: Name
    value: Name


class TaxIds(Part):
    """Tax ids to add and to remove. The customer keeps the others."""

    add: list[TaxId] = ABSENT
    remove: list[TaxId] = ABSENT


class CustomField(Part):
    """A field that is shown on each invoice, such as the number of a purchase order."""

    name: Annotated[Text, Field(min_length=1, max_length=CUSTOM_FIELD_NAME_MAX)]
    value: Annotated[Text, Field(max_length=CUSTOM_FIELD_VALUE_MAX)]


class InvoiceSettings(Part):
    """The custom fields of invoices. They replace the existing list; null clears it."""

    custom_fields: Annotated[list[CustomField], Field(max_length=CUSTOM_FIELDS_MAX)] | None = ABSENT


class BillingDetails(Part):
    """Details that Autumn stores in the linked Stripe customer."""

    address: Address | None = Field(ABSENT, description="null clears it.")
    tax_ids: TaxIds = ABSENT
    tax_exempt: Literal["none", "exempt", "reverse"] = ABSENT
    invoice_settings: InvoiceSettings = ABSENT
