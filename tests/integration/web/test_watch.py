"""The watch on the operator's page: how far Stripe's events are read, and what was seen of a customer."""

import html
import json
import time

from jobs.queue.record import RecordKeys
from jobs.queue.watch.state import WatchKeys
from tests.conftest import PREFIX, World
from tests.support.browser import browsing
from tests.support.steps import change, seed


async def test_overview_shows_how_far_events_are_read(world: World) -> None:
    keys, now = WatchKeys(PREFIX), int(time.time())
    async with browsing(world) as browser:
        await browser.sign_in()
        assert "Stripe's events: not read yet" in html.unescape((await browser.get())[1])
    await world.redis.hset(keys.watch, mapping={"position": now - 600, "error": "http_503"})  # type: ignore[misc]  # one type for both clients
    await world.redis.zadd(keys.later, {"ann": now * 1000})
    async with browsing(world) as browser:
        await browser.sign_in()
        page = html.unescape((await browser.get())[1])
    for text in ("Stripe's events: behind by 10 minutes", "http_503", "1 customer waits for a deferred reconcile"):
        assert text in page
    assert "The watch has read Stripe's events only up to 6" in page, "the verdict is at the top"


async def test_customer_shows_events_of_stripe_and_receipt(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await world.run()
    at_ms = 1_700_000_000_000
    seen = [{"at_ms": at_ms, "type": "customer.updated", "cause": "dashboard", "fields": ["email"]}]
    fields = {"seen_in_stripe": json.dumps(seen), "receipt_number": "2000-0001", "receipt_at_ms": at_ms}
    await world.redis.hset(RecordKeys(PREFIX).customer("ann"), mapping=dict(fields.items()))  # type: ignore[misc]  # one type for both clients
    async with browsing(world) as browser:
        await browser.sign_in()
        _, page = await browser.send("/customer", customer="ann")
    assert "2023-11-14 22:13:20 UTC  customer.updated by the dashboard: email" in page
    assert "last receipt: Stripe sent number 2000-0001 at 2023-11-14 22:13:20 UTC" in page
