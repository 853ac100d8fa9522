"""Traces that a collector gets from a worker of the Procfile: the spans and their attributes."""

import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.enqueue import outcome_of
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX
from tests.support.collector import Collector, collecting
from tests.support.processes import wait_until, worker
from tests.support.traced import (
    APP_SPAN,
    OTHER,
    OTHER_SPAN,
    OTHER_TRACE,
    TRACE,
    TRACEPARENT,
    change,
    ends,
    log_lines,
    services,
    stop,
    sync_in,
    traced,
)

CLIENT, CONSUMER = 3, 5
UPDATE, RETRIEVE = "POST /v1/customers.update", "GET /v1/customers/{id}"


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with services() as outside:
        yield outside


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.environment["REDIS_URL"]) as client:
        yield client


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as one:
        yield one


async def test_change_is_one_trace_from_app_to_calls(box: Sandbox, redis: Redis, collector: Collector) -> None:
    async with worker(traced(box, collector.url)) as running:
        await ends(redis, await change(redis, traceparent=TRACEPARENT))
        sync = await sync_in(collector)
        await stop(running)
    assert (sync.trace_id, sync.parent_id, sync.kind, sync.links) == (TRACE, APP_SPAN, CONSUMER, ())
    assert sync.error is None
    waited = sync.attributes.pop("customer_sync.throttled_seconds")
    assert 0 <= waited <= (sync.end_ns - sync.begin_ns) / 1_000_000_000
    assert sync.attributes == {
        "customer_sync.customer_id": "ann",
        "customer_sync.entries": 1,
        "customer_sync.outcome": "applied",
        "customer_sync.applied": 1,
        "customer_sync.dead": 0,
    }
    calls = collector.calls_of(sync)
    assert len(calls) == len(collector.spans()) - 1
    of_autumn = [call for call in calls if call.attributes["service.peer.name"] == "autumn"]
    assert 0 < len(of_autumn) == len(box.autumn.calls) < len(calls)
    assert {call.trace_id for call in calls} == {TRACE}
    assert all(call.kind == CLIENT and call.error is None for call in calls)
    assert all(sync.begin_ns <= call.begin_ns <= call.end_ns <= sync.end_ns for call in calls)
    update = next(call for call in calls if call.name == UPDATE)
    assert update.attributes == {
        "service.peer.name": "autumn",
        "http.request.method": "POST",
        "url.template": "/v1/customers.update",
        "http.response.status_code": 200,
        "customer_sync.result": "ok",
    }
    assert RETRIEVE in {call.name for call in calls}
    assert collector.services() == {"autumn-stripe-sync"}
    assert log_lines(running, "unknown_fields_ignored") == []


async def test_merged_changes_link_to_each_request(box: Sandbox, redis: Redis, collector: Collector) -> None:
    events = [await change(redis, traceparent=each, name=str(each)) for each in (TRACEPARENT, OTHER, OTHER, None)]
    async with worker(traced(box, collector.url, OTEL_SERVICE_NAME="ours")):
        await ends(redis, *events)
        sync = await sync_in(collector)
    assert sync.attributes["customer_sync.entries"] == 4
    assert sync.links == ((TRACE, APP_SPAN), (OTHER_TRACE, OTHER_SPAN))
    assert sync.parent_id == ""
    assert sync.trace_id not in {TRACE, OTHER_TRACE}
    assert collector.services() == {"ours"}


async def test_merged_changes_of_one_request_are_its_children(box: Sandbox, redis: Redis, collector: Collector) -> None:
    events = [await change(redis, traceparent=each) for each in (TRACEPARENT, None, TRACEPARENT)]
    fingerprint = '{"fingerprint": "f"}'
    entry = await redis.xadd(INBOX, {"customer_id": "ann", "changes": fingerprint, "traceparent": b"\xff-garbage"})
    events.append(entry.decode())
    async with worker(traced(box, collector.url)):
        await ends(redis, *events)
        sync = await sync_in(collector)
    assert (sync.trace_id, sync.parent_id, sync.links) == (TRACE, APP_SPAN, ())
    assert sync.attributes["customer_sync.applied"] == 4


async def test_concurrent_syncs_have_their_own_calls(box: Sandbox, redis: Redis, collector: Collector) -> None:
    box.autumn.switches.latency_seconds = 0.05
    events = [await change(redis, f"user_{number}") for number in range(10)]
    async with worker(traced(box, collector.url)) as running:
        await ends(redis, *events)
        await stop(running)
    syncs = collector.syncs()
    assert {sync.attributes["customer_sync.customer_id"] for sync in syncs} == {f"user_{each}" for each in range(10)}
    assert len({sync.trace_id for sync in syncs}) == 10
    assert any(one.begin_ns < other.begin_ns < one.end_ns for one in syncs for other in syncs)
    calls = [Counter(call.name for call in collector.calls_of(sync)) for sync in syncs]
    assert all(each == calls[0] and each[UPDATE] == 1 for each in calls)


async def test_change_sent_by_arq_joins_the_apps_trace(box: Sandbox, redis: Redis, collector: Collector) -> None:
    queue = ArqRedis(
        redis.connection_pool, job_serializer=lambda job: json.dumps(job).encode(), default_queue_name=f"{PREFIX}:queue"
    )
    changes = {"name": "Ann"}
    async with worker(traced(box, collector.url)):
        await queue.enqueue_job(
            "customer_updated", customer_id="ann", changes=changes, traceparent=TRACEPARENT, event_id="by arq"
        )
        await wait_until(lambda: _is_known(redis, "by arq"))
        await ends(redis, "by arq")
        assert (await sync_in(collector)).parent_id == APP_SPAN


async def _is_known(redis: Redis, event: str) -> bool:
    return await outcome_of(redis, event) is not None


async def test_unsampled_request_has_no_trace(box: Sandbox, redis: Redis, collector: Collector) -> None:
    async with worker(traced(box, collector.url)) as running:
        await ends(redis, await change(redis, traceparent=TRACEPARENT.removesuffix("1") + "0"))
        await ends(redis, await change(redis, "user_1", traceparent=OTHER))
        await stop(running)
    assert {span.trace_id for span in collector.spans()} == {OTHER_TRACE}


async def test_failed_call_marks_call_and_sync_with_its_code(box: Sandbox, redis: Redis, collector: Collector) -> None:
    box.autumn.switches.add(Fault("503", route="customers.update", times=1))
    async with worker(traced(box, collector.url)) as running:
        await ends(redis, await change(redis, traceparent=TRACEPARENT))
        await ends(redis, await change(redis, "nobody"), status="dead")
        await stop(running)
    again, applied, dead = sorted(collector.syncs(), key=lambda span: span.begin_ns)
    outcomes = [sync.attributes["customer_sync.outcome"] for sync in (again, applied, dead)]
    assert outcomes == ["retried", "applied", "dead-lettered"]
    assert again.trace_id == applied.trace_id == TRACE
    failed = next(call for call in collector.calls_of(again) if call.error)
    assert (failed.name, failed.attributes["http.response.status_code"]) == (UPDATE, 503)
    assert failed.attributes["customer_sync.result"] == "failed"
    assert failed.error == failed.attributes["error.type"] == again.error == again.attributes["error.type"]
    refused = next(call for call in collector.calls_of(dead) if call.error)
    assert (refused.error, refused.attributes["http.response.status_code"]) == ("customer_not_found", 404)
    assert (dead.error, dead.attributes["customer_sync.dead"]) == ("customer_not_found", 1)
    assert {span.events for span in collector.spans()} == {0}


async def test_halt_is_recorded_as_halt(box: Sandbox, redis: Redis, collector: Collector) -> None:
    box.stripe.key = "sk_test_rotated"
    async with worker(traced(box, collector.url)) as running:
        await change(redis)
        await running.says('"work_halted"')
        await stop(running)
    sync = next(sync for sync in collector.syncs() if sync.attributes["customer_sync.outcome"] == "halted")
    assert sync.error == "invalid_key"
    assert [call.attributes["http.response.status_code"] for call in collector.calls_of(sync) if call.error] == [401]


async def test_spans_hold_no_personal_data_and_no_secret(box: Sandbox, redis: Redis, collector: Collector) -> None:
    async with worker(traced(box, collector.url)) as running:
        await ends(redis, await change(redis, name="Ann Secretname", email="ann@example.com"))
        await ends(redis, await change(redis, stripe_id="cus_doesnotexist"), status="dead")
        await ends(redis, await change(redis, "nobody", name="Secretname", fingerprint="private"), status="dead")
        await stop(running)
    sent = b"".join(collector.bodies)
    assert b"customer_not_found" in sent
    for private in ("Secretname", "example.com", "private", "doesnotexist", "cus_", "am_sk", "sk_test", "http://"):
        assert private.encode() not in sent, private


async def test_remaining_spans_are_sent_when_the_worker_stops(box: Sandbox, redis: Redis, collector: Collector) -> None:
    async with worker(traced(box, collector.url, OTEL_BSP_SCHEDULE_DELAY="3600000")) as running:
        await ends(redis, await change(redis))
        assert collector.requests == 0
        await stop(running)
    assert len(collector.syncs()) == 1
