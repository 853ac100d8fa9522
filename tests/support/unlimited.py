"""Services without rate limits, for tests in which only the worker sets the pace."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sandbox.autumn.server import AutumnSimulator
from sandbox.everything import Sandbox, sandbox
from sandbox.redis import Fsync
from sandbox.stripe.server import StripeSimulator

FAST = {
    "AUTUMN_UPDATES_PER_SECOND": "500",
    "STRIPE_REQUESTS_PER_SECOND": "2000",
    "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "2000",
}
"""Settings of a worker whose own limits are far above its pace."""


@asynccontextmanager
async def unlimited_sandbox(*, aof: bool = True, appendfsync: Fsync = "everysec") -> AsyncIterator[Sandbox]:
    """Run Redis and both simulators without rate limits. `aof` and `appendfsync` are as in `sandbox`."""
    stripe = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    autumn = partial(AutumnSimulator, updates_per_second=None)
    async with sandbox(stripe=stripe, autumn=autumn, aof=aof, appendfsync=appendfsync) as everything:
        yield everything


def seed(box: Sandbox, count: int) -> list[str]:
    """Plant linked customers, and return their ids."""
    customers = [f"user_{index}" for index in range(count)]
    for customer in customers:
        stripe = box.stripe.seed_customer(metadata={"autumn_id": customer})
        box.autumn.seed(customer, stripe_id=stripe["id"])
    return customers
