"""The answers of Autumn: the twelve fields of `UpdateCustomerResponse` and everything inside them.

An answer is validated once, when it comes in, and is trusted afterwards. No HTTP, no decision, nothing about Stripe.

The types are those of Autumn's JSON schema for `POST /v1/customers.update`. Extra fields are ignored at every level,
because today's server sends more. An enum of the schema is a `str` here, with its values in a comment: a status that
Autumn adds tomorrow must not stop a sync. For the same reason a field that may be absent may also be null, and
`remaining` may be negative. A `float` is exact for whole numbers below 2**53.

`UpdateCustomerResponse` is the whole contract, and strict at every level. `read_customer`, which the client uses, is
more tolerant. It requires the twelve fields with the right types: a sync compares nine of them, and an answer without
the other three comes from another endpoint. A sync does not use the items of `subscriptions`, `purchases` and
`balances`, and they change with every plan that a team sells. So an odd item is left out and named in `oddities`, and
it stops no customer. The inside of `metadata` belongs to the apps and may be any JSON.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, PrivateAttr, ValidationError
from pydantic_core import from_json

EXPLAINED_MAX = 20
"""The most faults that `explain` names before it only counts them. A page of 1000 customers can have very many."""

Milliseconds = float
"""A time since the epoch."""


_PROCESSOR = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)


def _elsewhere(processors: Any) -> tuple[str, ...]:
    """Return the names of the payment processors, none if Stripe is among them or the value has another form."""
    if not isinstance(processors, dict) or processors.get("stripe") is not None:
        return ()
    return tuple(sorted(name for name, value in processors.items() if value is not None and _PROCESSOR.fullmatch(name)))


Elsewhere = Annotated[tuple[str, ...], PlainValidator(_elsewhere), Field(validation_alias="processors")]
"""The payment processors of a customer that Stripe is not among. An odd value never stops a customer: it counts as
none."""


class AnswerPart(BaseModel):
    """A part of an answer. Strict: "true" is not a boolean, and neither "1" nor true is a number."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class UpdateCustomerDisplay(AnswerPart):
    """Words for a price or an item, as pricing pages show it."""

    primary_text: str
    secondary_text: str | None = None


class UpdateCustomerPlanPrice(AnswerPart):
    """A plan's base price."""

    amount: float  # in units of the currency, not in cents
    interval: str  # one_off, week, month, quarter, semi_annual or year
    interval_count: float | None = None
    display: UpdateCustomerDisplay | None = None


class UpdateCustomerCreditCost(AnswerPart):
    """The credits that one unit of a metered feature costs."""

    metered_feature_id: str
    credit_cost: float


class UpdateCustomerPlanFeatureDisplay(AnswerPart):
    """The name of a plan's feature."""

    singular: str
    plural: str


class UpdateCustomerPlanFeature(AnswerPart):
    """A plan's feature, present if the caller expanded it."""

    id: str
    name: str | None = None
    type: str  # static, boolean, single_use, continuous_use or credit_system
    display: UpdateCustomerPlanFeatureDisplay | None = None
    credit_schema: list[UpdateCustomerCreditCost] | None = None
    archived: bool | None = None


class UpdateCustomerItemReset(AnswerPart):
    """The interval after which an item's included units come back."""

    interval: str  # one_off, minute, hour, day, week, month, quarter, semi_annual or year
    interval_count: float | None = None


class UpdateCustomerTier(AnswerPart):
    """One step of a tiered price."""

    to: float | Literal["inf"]
    amount: float


class UpdateCustomerBreakdownPrice(AnswerPart):
    """The price of units beyond the included ones, in a part of a balance."""

    amount: float | None = None
    tiers: list[UpdateCustomerTier] | None = None
    billing_units: float
    billing_method: str  # prepaid or usage_based
    max_purchase: float | None


class UpdateCustomerItemPrice(UpdateCustomerBreakdownPrice):
    """The price of units beyond the included ones, in a plan, with an interval."""

    interval: str  # one_off, week, month, quarter, semi_annual or year
    interval_count: float | None = None


class UpdateCustomerItemRollover(AnswerPart):
    """The rule for carrying unused units into the next period."""

    max: float | None
    expiry_duration_type: str  # month or forever
    expiry_duration_length: float | None = None


class UpdateCustomerPlanItem(AnswerPart):
    """The part of a plan that is about one feature."""

    feature_id: str
    feature: UpdateCustomerPlanFeature | None = None
    included: float
    unlimited: bool
    reset: UpdateCustomerItemReset | None
    price: UpdateCustomerItemPrice | None
    display: UpdateCustomerDisplay | None = None
    rollover: UpdateCustomerItemRollover | None = None


class UpdateCustomerFreeTrial(AnswerPart):
    """A plan's trial."""

    duration_length: float
    duration_type: str  # day, month or year
    card_required: bool


class UpdateCustomerPlan(AnswerPart):
    """A plan, present if the caller expanded it."""

    id: str
    name: str
    description: str | None
    group: str | None
    version: float
    add_on: bool
    auto_enable: bool
    price: UpdateCustomerPlanPrice | None
    items: list[UpdateCustomerPlanItem]
    free_trial: UpdateCustomerFreeTrial | None = None
    created_at: Milliseconds
    env: str  # sandbox or live
    archived: bool
    base_variant_id: str | None


class UpdateCustomerSubscription(AnswerPart):
    """A plan that the customer has and that renews."""

    plan: UpdateCustomerPlan | None = None
    plan_id: str
    auto_enable: bool
    add_on: bool
    status: str  # active or scheduled
    past_due: bool
    canceled_at: Milliseconds | None
    expires_at: Milliseconds | None
    trial_ends_at: Milliseconds | None
    started_at: Milliseconds
    current_period_start: Milliseconds | None
    current_period_end: Milliseconds | None
    quantity: float


class UpdateCustomerPurchase(AnswerPart):
    """A plan that the customer bought once."""

    plan: UpdateCustomerPlan | None = None
    plan_id: str
    expires_at: Milliseconds | None
    started_at: Milliseconds
    quantity: float


class UpdateCustomerFeatureDisplay(AnswerPart):
    """The name of a balance's feature."""

    singular: str | None = None
    plural: str | None = None


class UpdateCustomerFeature(AnswerPart):
    """A balance's feature, present if the caller expanded it."""

    id: str
    name: str
    type: str  # boolean, metered or credit_system
    consumable: bool
    event_names: list[str] | None = None
    credit_schema: list[UpdateCustomerCreditCost] | None = None
    display: UpdateCustomerFeatureDisplay | None = None
    archived: bool


class UpdateCustomerBreakdownReset(UpdateCustomerItemReset):
    """The time when a part of a balance resets. Its interval may also be "multiple"."""

    resets_at: Milliseconds | None


class UpdateCustomerBreakdown(AnswerPart):
    """The part of a balance that one plan or grant gave."""

    id: str | None = ""
    plan_id: str | None
    included_grant: float
    prepaid_grant: float
    remaining: float
    usage: float
    unlimited: bool
    reset: UpdateCustomerBreakdownReset | None
    price: UpdateCustomerBreakdownPrice | None
    expires_at: Milliseconds | None


class UpdateCustomerRollover(AnswerPart):
    """Units of an earlier period."""

    balance: float
    expires_at: Milliseconds


class UpdateCustomerBalances(AnswerPart):
    """The customer's balance of one feature. It may lag behind live usage."""

    feature_id: str
    feature: UpdateCustomerFeature | None = None
    granted: float
    remaining: float
    usage: float
    unlimited: bool
    overage_allowed: bool
    max_purchase: float | None
    next_reset_at: Milliseconds | None
    breakdown: list[UpdateCustomerBreakdown] | None = None
    rollovers: list[UpdateCustomerRollover] | None = None


class UpdateCustomerResponse(AnswerPart):
    """A customer, as Autumn's `customers.update` and `.get` answer at versions 2.1 to 2.3.

    All twelve fields are required. The `repr` leaves out personal ones.
    """

    id: str | None
    """The app's own id; null if the customer was created with only an e-mail address."""
    name: str | None = Field(repr=False)
    email: str | None = Field(repr=False)
    created_at: Milliseconds
    fingerprint: str | None = Field(repr=False)
    stripe_id: str | None
    env: str  # sandbox or live
    metadata: dict[str, JsonValue] = Field(repr=False)
    send_email_receipts: bool
    subscriptions: list[UpdateCustomerSubscription]
    purchases: list[UpdateCustomerPurchase]
    balances: dict[str, UpdateCustomerBalances]
    """By the feature's id."""
    elsewhere: Elsewhere = ()
    """From `processors`, which is not one of the twelve: an answer may lack it."""

    @property
    def oddities(self) -> tuple[str, ...]:
        """The paths of details that break the contract, as `read_customer` found them."""
        return ()


class PartlyReadCustomer(UpdateCustomerResponse):
    """A customer without those of its subscriptions, purchases and balances that break the contract."""

    _oddities: tuple[str, ...] = PrivateAttr(())

    @property
    def oddities(self) -> tuple[str, ...]:
        """The paths of the faults, such as `balances.messages.granted`. They hold no values."""
        return self._oddities


TWELVE: Final = tuple(name for name in UpdateCustomerResponse.model_fields if name != "elsewhere")
DETAILED: Final = frozenset({"subscriptions", "purchases", "balances"})
"""The fields whose items a sync does not use."""


def read_customer(body: bytes) -> UpdateCustomerResponse:
    """Return the customer of an answer, without its odd details; `oddities` names them.

    Raises: ValidationError if the body is not a JSON object, or if one of the twelve fields is missing or has a wrong
    type.
    """
    try:
        return UpdateCustomerResponse.model_validate_json(body)
    except ValidationError as error:
        places = [fault["loc"] for fault in error.errors(include_url=False, include_context=False, include_input=False)]
        if any(len(place) < 2 or place[0] not in DETAILED for place in places):  # noqa: PLR2004 - below a field
            raise
    document = from_json(body)
    for field in DETAILED:
        odd = {place[1] for place in places if place[0] == field}
        document[field] = _without(document[field], odd)
    customer = PartlyReadCustomer.model_validate(document)
    customer._oddities = tuple(dict.fromkeys(".".join(map(str, place)) for place in places))
    return customer


def is_no_customer(error: ValidationError) -> bool:
    """Whether a refused answer has none of the twelve fields, so a proxy may have given it."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    missing = {fault["loc"] for fault in faults if fault["type"] == "missing"}
    return any(not fault["loc"] for fault in faults) or all((name,) in missing for name in TWELVE)


def _without(items: list[JsonValue] | dict[str, JsonValue], odd: set[int | str]) -> object:
    """Return the items except those with an odd index or key."""
    if isinstance(items, dict):
        return {key: item for key, item in items.items() if key not in odd}
    return [item for index, item in enumerate(items) if index not in odd]


_FAULT_TEXTS = {
    "missing": "field required",
    "string_type": "should be a string",
    "bool_type": "should be true or false",
    "float_type": "should be a number",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "list_type": "should be a list",
    "json_invalid": "should be JSON",
}


def explain(error: ValidationError) -> str:
    """Return a text that names each faulty field and its fault, such as "email: should be a string".

    Repeats no value of the input, because values are personal data. Faults of whole fields come before those inside
    them.
    """
    faults, found = [], error.errors(include_url=False, include_context=False, include_input=False)
    for fault in sorted(found, key=lambda fault: len(fault["loc"]) > 1):
        place = ".".join(str(step) for step in fault["loc"]) or "the answer"
        faults.append(f"{place}: {_FAULT_TEXTS.get(fault['type'], fault['type'].replace('_', ' '))}")
    more = len(faults) - EXPLAINED_MAX
    return "; ".join(faults[:EXPLAINED_MAX]) + (f"; and {more} more" if more > 0 else "")
