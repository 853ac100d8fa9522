"""What Stripe answers, as far as it is read here. No HTTP, no decision, nothing about Autumn.

Source: Stripe's API reference, the objects of these names.
"""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.customer import Mode, PaymentIntent, StripeCustomer
from jobs.errors import TryAgain

Model = TypeVar("Model", bound=BaseModel)


class CustomerAnswer(BaseModel):
    """A customer object, as far as it is read here."""

    model_config = ConfigDict(frozen=True)

    id: str
    deleted: bool = False
    name: str | None = None
    email: str | None = None
    livemode: bool | None = None
    """Only a deleted customer has none."""
    metadata: dict[str, str] = {}
    created: int | None = None

    def as_ours(self) -> StripeCustomer:
        """The customer as a plan knows it. Raises TryAgain for a deleted one, which no list or update answers."""
        if self.livemode is None:
            raise TryAgain("stripe", "unexpected_response", "wrong fields: livemode", maybe_applied=True)
        mode: Mode = "live" if self.livemode else "test"
        return StripeCustomer(self.id, self.name, self.email, mode, self.metadata, self.created)


class CustomerAnswers(BaseModel):
    """A page of a list or of a search."""

    data: list[CustomerAnswer]
    has_more: bool


class _Ref(BaseModel):
    """An object of which only the id is read."""

    id: str


class _Charge(BaseModel):
    """The charge of a payment, as far as it is read here."""

    created: float
    receipt_email: str | None = None
    """Where the receipt was sent."""


class PaymentAnswer(BaseModel):
    """A payment intent, as far as it is read here."""

    id: str
    customer: _Ref | str | None = None
    status: str
    receipt_email: str | None = None
    metadata: dict[str, str] = {}
    latest_charge: _Charge | str | None = None
    """The charge where it was asked for, else its id."""

    @property
    def customer_id(self) -> str:
        """Whose it is; empty where it is nobody's."""
        return self.customer.id if isinstance(self.customer, _Ref) else self.customer or ""

    def as_ours(self) -> PaymentIntent:
        """The payment as a plan knows it."""
        charge = self.latest_charge if isinstance(self.latest_charge, _Charge) else None
        succeeded_at = charge.created if charge and self.status == "succeeded" else None
        was_mailed = charge is not None and bool(charge.receipt_email)
        return PaymentIntent(self.id, self.status, self.receipt_email or None, self.metadata, succeeded_at, was_mailed)


class PaymentAnswers(BaseModel):
    """A page of payment intents."""

    data: list[PaymentAnswer]
    has_more: bool


def parse(model: type[Model], body: object) -> Model:
    """The body as a model. Raises TryAgain that names the wrong fields, never their values."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in each["loc"]) for each in error.errors(include_input=False))
        raise TryAgain("stripe", "unexpected_response", f"wrong fields: {fields}", maybe_applied=True) from None
