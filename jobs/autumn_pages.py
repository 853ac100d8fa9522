"""What Autumn answers to `customers.list`, as far as a scan compares it. No HTTP, no decision, nothing about Stripe.

Less than a customer's whole answer, because pages of a thousand are read by the thousand, and because one customer
with a plan of an unknown kind must not stop all others from being compared.
"""

from pydantic import Field, JsonValue

from jobs.autumn_models import AnswerPart


class ListedCustomer(AnswerPart):
    """A customer in a list, at version 2.1 or later; the fields are those of UpdateCustomerResponse."""

    id: str | None
    name: str | None = Field(repr=False)
    email: str | None = Field(repr=False)
    stripe_id: str | None
    env: str  # sandbox or live
    metadata: dict[str, JsonValue] = Field(repr=False)
    send_email_receipts: bool


class ListedCustomers(AnswerPart):
    """What every version since 2.1 answers, with cursors or without."""

    list: list[ListedCustomer]


class CustomerPage(ListedCustomers):
    """A page of `customers.list` at version 2.3 or later; older versions page by offset and are refused here."""

    next_cursor: str | None
    """The `start_cursor` of the next page; null on the last one."""
