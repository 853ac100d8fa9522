"""The trace of a fault in this software: its type and its places in the log, and nothing that was sent."""

from collections.abc import Callable
from dataclasses import replace

from structlog.testing import capture_logs

from jobs.stripe.client import Created, StripeGateway
from tests.conftest import World
from tests.support.steps import change

PRIVATE = "ann@example.com"


class Fragile(StripeGateway):
    """A gateway with a fault of its own: it cannot create a customer."""

    async def create(self, autumn_id: str, generation: int, still_ours: Callable[[], None]) -> Created:
        """Fail as no code of ours expects."""
        raise ValueError(f"{PRIVATE}: {autumn_id}, {generation}, {still_ours}")


async def test_an_unexpected_error_of_a_sync_is_logged_with_its_places(world: World) -> None:
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
