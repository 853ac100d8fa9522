"""Stripe's own SDK for the tests of the contract, by its sync and its async methods."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import stripe

from sandbox.stripe.server import StripeSimulator


@dataclass(frozen=True)
class Api:
    """Stripe's SDK for one key."""

    client: stripe.StripeClient
    is_async: bool

    async def call(self, name: str, *arguments: Any) -> Any:
        """Call a method by its name, such as customers.create."""
        resource, _, method = name.partition(".")
        service = getattr(self.client.v1, resource)
        if self.is_async:
            return await getattr(service, f"{method}_async")(*arguments)
        return await asyncio.to_thread(getattr(service, method), *arguments)

    async def walked(self, pages: Any) -> list[Any]:
        """Return each object of this page and of those after it."""
        if self.is_async:
            return [each async for each in pages.auto_paging_iter()]
        return await asyncio.to_thread(lambda: list(pages.auto_paging_iter()))


@dataclass(frozen=True)
class Service:
    """The simulator and its connection settings."""

    simulator: StripeSimulator
    connect: Callable[..., Api]
