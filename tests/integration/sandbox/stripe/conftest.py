"""A simulated Stripe without limits, a client of it, and its clock."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from sandbox.control import control_routes, stripe_routes
from sandbox.dashboard import dashboard_routes
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> StripeSimulator:
    return StripeSimulator(
        requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None, clock=clock
    )


@pytest_asyncio.fixture
async def client(simulator: StripeSimulator) -> AsyncIterator[Client]:
    app = simulator.app()
    app.add_routes(control_routes(simulator))
    app.add_routes(stripe_routes(simulator))
    app.add_routes(dashboard_routes(simulator))
    # One connection for each request. Otherwise aiohttp would retry on a cut one instead of failing.
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"Authorization": f"Bearer {simulator.key}"}
    async with serving(app) as url, aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield Client(session, url)
