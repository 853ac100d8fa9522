"""An unexpected error in the log: its type and code locations, and no sent data."""

from collections.abc import Callable
from dataclasses import replace

from structlog.testing import capture_logs

from jobs.stripe.client import Created, StripeGateway
from tests.conftest import World
from tests.support.steps import change

PRIVATE = "ann@example.com"


class Fragile(StripeGateway):
    """A gateway with a bug: it cannot create a customer."""

    async def create(self, autumn_id: str, generation: int, still_ours: Callable[[], None]) -> Created:
        """Raise an unexpected error."""
        raise ValueError(f"{PRIVATE}: {autumn_id}, {generation}, {still_ours}")


async def test_unexpected_error_of_sync_is_logged_with_code_locations(world: World) -> None:
    world.autumn.seed("ann")
    gateway = world.deps.stripe
    world = replace(world, deps=replace(world.deps, stripe=Fragile(gateway._client, gateway._throttle)))
    await change(world, "ann", email=PRIVATE)
    with capture_logs() as lines:
        await world.run()
    (line,) = [line for line in lines if line["event"] == "retry_scheduled"]
    assert line["error"] == "unexpected"
    assert line["cause"].startswith("ValueError at ")
    assert "jobs/sync/writes.py:" in line["cause"]
    assert PRIVATE not in str(lines)
