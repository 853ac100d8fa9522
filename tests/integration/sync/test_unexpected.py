"""The trace of a fault in this software: its type and its places in the log, and nothing that was sent."""

from structlog.testing import capture_logs

from tests.conftest import PREFIX, World
from tests.support.steps import change

PRIVATE = "ann@example.com"


async def test_an_unexpected_error_of_a_sync_is_logged_with_its_places(world: World) -> None:
    world.autumn.seed("ann")
    await world.redis.hset(f"{PREFIX}:customer:ann", "create_generation", PRIVATE)  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", email=PRIVATE)
    with capture_logs() as lines:
        await world.run()
    (line,) = [line for line in lines if line["event"] == "retry_scheduled"]
    assert line["error"] == "unexpected"
    assert line["cause"].startswith("ValueError at jobs/queue/batch.py:")
    assert " < jobs/sync/writes.py:" in line["cause"]
    assert PRIVATE not in str(lines)
