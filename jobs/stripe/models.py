"""The answers of Stripe, reduced to the fields that are read here. No HTTP, no decision, nothing about Autumn.

An answer about another object than the requested one is an unexpected response. It is not used, and the sync tries
again. The source is Stripe's API reference, with the objects of these names.
"""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.errors import TryAgain
from jobs.plan.customer import Mode, PaymentIntent, StripeCustomer

Model = TypeVar("Model", bound=BaseModel)


class _Ref(BaseModel):
    """An object of which only the id is read."""

    model_config = ConfigDict(frozen=True)

    id: str


Object = TypeVar("Object", bound=_Ref)


class Page(BaseModel, Generic[Object]):
    """A page of a list or of a search."""

    data: list[Object]
    has_more: bool

    def objects(self, after: str = "") -> list[Object]:
        """Return the objects after the id `after`, each once. Raises TryAgain if the list does not go on."""
        found = {each.id: each for each in self.data}
        if after in found:
            raise unexpected(f"the list does not go on: the page after {after} contains it again")
        if self.has_more and not found:
            raise unexpected("the list does not go on: a page is empty but is not the last one")
        return list(found.values())

    @property
    def last_id(self) -> str | None:
        """The id to continue from; None at the end."""
        return self.data[-1].id if self.has_more and self.data else None


class CustomerAnswer(_Ref):
    """A customer object, reduced to the fields that are read here."""

    deleted: bool = False
    name: str | None = None
    email: str | None = None
    livemode: bool | None = None
    """Only a deleted customer has none."""
    metadata: dict[str, str] = {}
    created: int | None = None

    def as_ours(self) -> StripeCustomer:
        """Return the customer as a plan uses it. Raises TryAgain for a deleted one, which no list or update returns."""
        if self.livemode is None:
            raise unexpected("wrong fields: livemode")
        mode: Mode = "live" if self.livemode else "test"
        return StripeCustomer(self.id, self.name, self.email, mode, self.metadata, self.created)


class _Charge(BaseModel):
    """The charge of a payment, reduced to the fields that are read here."""

    created: float
    receipt_email: str | None = None
    """The address that the receipt was sent to."""


class PaymentAnswer(_Ref):
    """A payment intent, reduced to the fields that are read here."""

    customer: _Ref | str | None = None
    status: str
    receipt_email: str | None = None
    metadata: dict[str, str] = {}
    latest_charge: _Charge | str | None = None
    """The charge if the request expanded it, else its id."""

    @property
    def customer_id(self) -> str:
        """The id of its customer; empty if it has none."""
        return self.customer.id if isinstance(self.customer, _Ref) else self.customer or ""

    def as_ours(self) -> PaymentIntent:
        """Return the payment as a plan uses it."""
        charge = self.latest_charge if isinstance(self.latest_charge, _Charge) else None
        succeeded_at = charge.created if charge and self.status == "succeeded" else None
        was_mailed = charge is not None and bool(charge.receipt_email)
        return PaymentIntent(self.id, self.status, self.receipt_email or None, self.metadata, succeeded_at, was_mailed)


CustomerAnswers = Page[CustomerAnswer]
PaymentAnswers = Page[PaymentAnswer]


def unexpected(message: str) -> TryAgain:
    """Return the error for an answer that does not match its request. A write may be done all the same."""
    return TryAgain("stripe", "unexpected_response", message, maybe_applied=True)


def parse_one(model: type[Object], body: object, object_id: str) -> Object:
    """Return the object with this id. Raises TryAgain for wrong fields and for another object."""
    answer = parse(model, body)
    if answer.id != object_id:
        raise unexpected(f"requested {object_id}, but Stripe answered with {answer.id}")
    return answer


class AccountAnswer(BaseModel):
    """The account that a key belongs to."""

    id: str


def parse(model: type[Model], body: object) -> Model:
    """Return the body as a model. Raises TryAgain that names the wrong fields, never their values."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in each["loc"]) for each in error.errors(include_input=False))
        raise unexpected(f"wrong fields: {fields}") from None
