"""What Autumn answers to `customers.list`, as far as a scan compares it, and how large a page may be.

No HTTP, nothing about Stripe.

Less than a customer's whole answer, because pages of a thousand are read by the thousand, and because one customer
with a plan of an unknown kind must not stop all others from being compared.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import Field, JsonValue

from jobs.autumn.models import AnswerPart, Milliseconds
from jobs.errors import GiveUp

PAGE_MAX: Final = 1000
"""Customers on a page that Autumn allows at version 2.3; a later version or an organisation may be allowed fewer."""
Page = TypeVar("Page")
_NUMBER: Final = re.compile(r"\d{1,6}")


class ListedCustomer(AnswerPart):
    """A customer in a list, at version 2.1 or later; the fields are those of UpdateCustomerResponse."""

    id: str | None
    name: str | None = Field(repr=False)
    email: str | None = Field(repr=False)
    stripe_id: str | None
    created_at: Milliseconds
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


@dataclass
class PageSize:
    """How many customers to ask for on a page, by what the server has refused so far."""

    customers: int = PAGE_MAX

    def adapt_to(self, refusal: GiveUp) -> bool:
        """Take over the smaller size that a refusal names. Return whether it names one.

        Autumn says "limit 1001 exceeds max of 1000 for this org", or "limit: Too big: expected number to be <=5000".
        """
        if refusal.code not in {"invalid_request", "invalid_inputs"} or not re.search(r"\blimit\b", refusal.message):
            return False
        named = (int(number) for number in _NUMBER.findall(refusal.message))
        smaller = [number for number in named if 0 < number < self.customers]
        self.customers = max(smaller, default=self.customers)
        return bool(smaller)


async def fitting_page(ask: Callable[[int], Awaitable[Page]], size: PageSize) -> Page:
    """Return the page that `ask` gets for a size, asked again with a smaller size if the server names one.

    Raises what `ask` raises.
    """
    while True:
        try:
            return await ask(size.customers)
        except GiveUp as refusal:
            if not size.adapt_to(refusal):
                raise
