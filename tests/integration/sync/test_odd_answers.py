"""Malformed answers of a service: an unused field stops nothing, and a wrong value is not used."""

from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.status import read_standing
from tests.conftest import PREFIX, World, read_dead
from tests.support.steps import change, seed
from worker.status.customer_text import findings_of

ODD: dict[str, Any] = {
    "balances": {"messages": {"granted": "9"}},
    "purchases": [{"plan_id": "pro", "started_at": None}],
    "subscriptions": ["pro"],
}


@pytest.mark.parametrize("field", ODD)
async def test_odd_detail_in_autumn_becomes_finding_and_change_is_applied(world: World, field: str) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"][field] = ODD[field]
    event = await change(world, "ann", name="Ann")
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert (outcome.status, await read_dead(world.redis)) == ("applied", [])
    (finding,) = findings_of(await read_standing(world.redis, PREFIX, "ann"))
    assert finding.kind == "unexpected-answer-detail"
    assert f" at {field}." in finding.text


async def test_field_of_wrong_type_in_autumn_is_named_and_retried(world: World) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"]["balances"] = []
    event = await change(world, "ann", name="Ann")
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "waiting"
    assert (await read_standing(world.redis, PREFIX, "ann")).record.last_error == "unexpected_response"
