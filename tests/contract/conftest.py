"""The contract tests need no files from outside the repository, and none of them is ever skipped.

The tests of `recorded` compare with the full recordings and schemas, so they exist only if CONTRACT_DATA names the
folder that has those. Without it, the tables in `data` compare the simulators and the models with the same facts.
"""

from collections.abc import AsyncIterator, Generator

import aiohttp
import pytest
import pytest_asyncio
import stripe

from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.contract import recordings
from tests.contract.sdk import Api, Service

_recordings = recordings.folder()
if _recordings is not None and not _recordings.is_dir():
    raise pytest.UsageError(f"CONTRACT_DATA: no such folder {_recordings}. Correct it, or unset CONTRACT_DATA.")
collect_ignore = [] if _recordings else ["recorded"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn each skipped contract test into a failure."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"A contract test is never skipped: {report.longrepr}"
    return report


@pytest_asyncio.fixture(params=["sync", "async"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """Run a simulated Stripe, for the SDK's sync methods and for its async ones."""
    stripe.enable_telemetry = False
    simulator, is_async = StripeSimulator(), request.param == "async"
    async with serving(simulator.app()) as url, aiohttp.ClientSession() as session:

        def connect(key: str = simulator.key, *, timeout: float = 80, retries: int = 0) -> Api:
            http = (
                stripe.AIOHTTPClient(session=session, timeout=aiohttp.ClientTimeout(sock_read=timeout))
                if is_async
                else stripe.RequestsClient(timeout=timeout)
            )
            client = stripe.StripeClient(
                key, base_addresses={"api": url}, http_client=http, max_network_retries=retries
            )
            return Api(client, is_async)

        yield Service(simulator, connect)


@pytest.fixture
def simulator(service: Service) -> StripeSimulator:
    """The simulated Stripe."""
    return service.simulator


@pytest.fixture
def api(service: Service) -> Api:
    """The SDK with the simulator's key."""
    return service.connect()
