"""Notes of edits in Stripe, as the watch makes them."""

import json
import time
from collections.abc import Mapping

from redis.asyncio import Redis

from jobs.plan.edits import EDIT_SECONDS
from jobs.plan.profile import digest_of
from jobs.queue.watch.state import WatchKeys, parse_edits
from tests.conftest import PREFIX


async def note_edits(
    redis: Redis,
    customer: str,
    edited: Mapping[str, str],
    before: Mapping[str, str | None],
    *,
    seconds_ago: float = 0.0,
) -> None:
    """Note that the watch saw these names and e-mails, edited in Stripe, `seconds_ago`. `before` has the older ones."""
    at_ms = int((time.time() - seconds_ago) * 1000)
    notes = {
        name: json.dumps([digest_of(customer, name, value), at_ms, at_ms, digest_of(customer, name, before[name])])
        for name, value in edited.items()
    }
    await redis.hset(WatchKeys(PREFIX).edits(customer), mapping=notes)  # type: ignore[misc]  # one type for both clients


async def age_notes(redis: Redis, customer: str) -> bool:
    """Make the notes of a customer so old that its deferred reconcile is due. Return whether it has any."""
    key = WatchKeys(PREFIX).edits(customer)
    edits = parse_edits(await redis.hgetall(key))  # type: ignore[misc]  # one type for both clients
    for name, edit in edits.items():
        aged = json.dumps([edit.digest, int((edit.at - EDIT_SECONDS) * 1000), int(edit.written_at * 1000), edit.before])
        await redis.hset(key, name, aged)  # type: ignore[misc]  # one type for both clients
    return bool(edits)
