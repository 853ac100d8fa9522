"""Each entry of the inbox is applied, a duplicate or a dead letter, and blocks no other entry."""

import asyncio
import json
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from jobs.queue.record import read_totals
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, opened_world
from tests.support.examples import examples
from tests.support.steps import change, seed

names = st.sampled_from(["customer_id", "type", "changes", "event_id", "traceparent", ""]).map(str.encode)
changes = st.dictionaries(
    st.sampled_from(["name", "email", "metadata", "stripe_id", "send_email_receipts", "new_customer_id", "zzz"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("ann@example.com"),
        lambda deeper: st.lists(deeper, max_size=2) | st.dictionaries(st.text(max_size=5), deeper, max_size=2),
    ),
    max_size=3,
)
values = (
    st.sampled_from(["ann", "nobody", "customer.updated", "customer.reconcile", "a b", "*", "{}", "[" * 5000])
    .map(str.encode)
    .__or__(changes.map(lambda each: json.dumps(each).encode()))
    .__or__(st.binary(max_size=30))
)
near_misses = st.fixed_dictionaries(
    {
        b"customer_id": st.sampled_from([b"ann", b"nobody"]),
        b"changes": changes.map(lambda each: json.dumps(each).encode()),
    },
    optional={b"event_id": values, b"type": values},
)
entries = st.lists(
    st.dictionaries(names | st.binary(max_size=8), values, min_size=1, max_size=5) | near_misses,
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(30))
@given(entries)
def test_hostile_entries_never_block_valid_entry_behind_them(
    redis_server: EmbeddedRedis, added: list[Mapping[bytes, bytes]]
) -> None:
    async def run() -> None:
        async with Redis.from_url(redis_server.url) as redis:
            await redis.flushall()
            async with opened_world(redis) as world:
                seed(world, "ann", "bob")
                for fields in added:
                    await redis.xadd(INBOX, dict(fields.items()))
                await change(world, "bob", name="Bob behind them")
                await world.run()
                totals = await read_totals(redis, PREFIX)
                ended = sum(totals.get(name, 0) for name in ("applied", "dead", "duplicates"))
                assert ended == len(added) + 1, totals
                assert world.autumn.customers["bob"]["name"] == "Bob behind them"
                for key in ("waiting", "dispatched"):
                    assert await redis.zcard(f"{PREFIX}:{key}") == 0

    asyncio.run(run())
