"""Each query of docs/grafana.json is answered by the metrics of a real worker that had work and failures.

The names of the metrics in panels and alerts are checked without promtool.
"""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.record import RecordKeys
from sandbox.everything import Sandbox, sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX
from tests.support.dashboard import QUERIES
from tests.support.processes import wait_until
from tests.support.promtool import RULES, answered, metrics_of, needs_promtool
from tests.support.scrapes import Scrape
from tests.support.watching import watched


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def scrapes_of_work_and_trouble(box: Sandbox) -> list[Scrape]:
    """Return a worker's metrics before and while it applies events, retries one and gives one up. The last has all."""
    async with watched(box.environment) as one, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        scrapes = [await one.scrape()]
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": "poison"})
        await redis.hincrby(RecordKeys(PREFIX).totals, "watch:customer.updated:own", 1)
        box.autumn.switches.add(Fault("503", times=1))
        for name in ("One", "Two", "Three"):
            event = await send(redis, new_update(customer_id="ann", changes={"name": name}))
            outcome = await outcome_of(redis, event, wait_seconds=100)
            assert outcome is not None
            assert outcome.status == "applied"
            scrapes.append(await one.scrape())

        async def all_is_shown() -> bool:
            scrapes.append(await one.scrape())
            ends = scrapes[-1].samples.get("customer_sync_events_total", {})
            return [value for labels, value in ends.items() if ("outcome", "applied") in labels] == [3]

        await wait_until(all_is_shown)
    return scrapes


async def test_worker_exposes_every_metric_of_panels_and_alerts(box: Sandbox) -> None:
    shown = {name for name in (await scrapes_of_work_and_trouble(box))[-1].samples if name.startswith("customer_sync_")}
    queried = {name for query in QUERIES.values() for name in metrics_of(query)}
    alerting = {name for rule in RULES for name in metrics_of(rule["expr"])}
    assert (len(queried) > 20, len(alerting) > 10) == (True, True)
    assert (queried | alerting) - shown == set()
    beside = {name for name in shown - queried if not name.endswith(("_sum", "_count", "_bucket"))}
    assert beside == {"customer_sync_newest_dead_letter_timestamp_seconds"}, "no panel shows it"


@needs_promtool
async def test_every_query_is_answered_by_a_busy_worker(box: Sandbox) -> None:
    known = answered(QUERIES.values(), await scrapes_of_work_and_trouble(box))
    assert [name for name, query in QUERIES.items() if query not in known] == []
