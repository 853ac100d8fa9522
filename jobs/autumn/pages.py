"""The answers of `customers.list`, reduced to the fields that a scan compares, and the size of a page.

No HTTP, nothing about Stripe.

The models have fewer fields than a customer's full answer for two reasons: a scan reads thousands of pages, and one
customer with a plan of an unknown kind must not stop the comparison of all others.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import Field, JsonValue

from jobs.autumn.models import AnswerPart, Elsewhere, Milliseconds
from jobs.errors import GiveUp

PAGE_MAX: Final = 1000
"""The most customers on a page at version 2.3. A later version, or a single organisation, may allow fewer."""
Page = TypeVar("Page")
_NUMBER: Final = re.compile(r"\d{1,6}")


class ListedCustomer(AnswerPart):
    """A customer in a list, at version 2.1 or later. The fields are those of `UpdateCustomerResponse`."""

    id: str | None
    name: str | None = Field(repr=False)
    email: str | None = Field(repr=False)
    stripe_id: str | None
    created_at: Milliseconds
    env: str  # sandbox or live
    metadata: dict[str, JsonValue] = Field(repr=False)
    send_email_receipts: bool
    elsewhere: Elsewhere = ()


class ListedCustomers(AnswerPart):
    """The part of the answer that every version since 2.1 has, with cursors or without."""

    list: list[ListedCustomer]


class CustomerPage(ListedCustomers):
    """A page of `customers.list` at version 2.3 or later. Older versions page by offset and are refused here."""

    next_cursor: str | None
    """The `start_cursor` of the next page; null on the last page."""


@dataclass
class PageSize:
    """The number of customers to request on a page. It shrinks when the server refuses a size."""

    customers: int = PAGE_MAX

    def adapt_to(self, refusal: GiveUp) -> bool:
        """Adopt the smaller size that a refusal names. Return whether it names one.

        Autumn's texts are "limit 1001 exceeds max of 1000 for this org" and "limit: Too big: expected number to be
        <=5000".
        """
        if refusal.code not in {"invalid_request", "invalid_inputs"} or not re.search(r"\blimit\b", refusal.message):
            return False
        named = (int(number) for number in _NUMBER.findall(refusal.message))
        smaller = [number for number in named if 0 < number < self.customers]
        self.customers = max(smaller, default=self.customers)
        return bool(smaller)


async def fitting_page(fetch: Callable[[int], Awaitable[Page]], size: PageSize) -> Page:
    """Return the page that `fetch` gets. Fetch again with a smaller size if the server names one.

    Raises: the errors of `fetch`.
    """
    while True:
        try:
            return await fetch(size.customers)
        except GiveUp as refusal:
            if not size.adapt_to(refusal):
                raise
