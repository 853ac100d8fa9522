"""A worker with no collector or a failing one works normally, and logs what to correct."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.everything import Sandbox
from tests.support.collector import Collector, collecting
from tests.support.processes import free_port, worker
from tests.support.traced import TRACEPARENT, change, ends, log_lines, services, stop, traced


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


@pytest.mark.parametrize("status", [0, 503, 401])
async def test_hanging_or_refusing_collector_delays_no_sync_or_stop(box: Sandbox, redis: Redis, status: int) -> None:
    # A hanging or repeated request would take longer than the waits of this test.
    more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "100"}
    async with collecting(status) as collector, worker(traced(box, collector.url, **more)) as running:
        for number in range(10):
            await ends(redis, await change(redis, f"user_{number}"))
        assert collector.requests > 0
        await stop(running)
    assert collector.bodies == []
    assert "Traceback" not in "".join(running.log)


async def test_missing_collector_is_logged_once_without_url_or_key(box: Sandbox, redis: Redis) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_EXPORTER_OTLP_HEADERS": "secret-without-a-name"}
    async with worker(traced(box, nowhere, LOG_LEVEL="DEBUG", **more)) as running:
        await ends(redis, await change(redis, "user_0"))
        await running.says('"traces_send_failed"')
        for number in range(1, 5):
            await ends(redis, await change(redis, f"user_{number}"))
        await stop(running)
    assert len(log_lines(running, "traces_send_failed")) == 1
    assert nowhere.removeprefix("http://") not in "".join(running.log)
    assert "secret-without-a-name" not in "".join(running.log)


async def test_refusing_collector_is_logged_with_status_and_recovery(box: Sandbox, redis: Redis) -> None:
    async with collecting(401) as collector, worker(traced(box, collector.url)) as running:
        await ends(redis, await change(redis))
        await running.says('"traces_send_failed"')
        collector.status = 200
        await ends(redis, await change(redis))
        await running.says('"traces_resumed"')
    (line,) = log_lines(running, "traces_send_failed")
    assert '"status": 401' in line


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["unset", "disabled", "no-exporter"],
)
async def test_worker_without_traces_and_page_imports_neither(
    box: Sandbox, redis: Redis, variables: dict[str, str]
) -> None:
    assert not {"opentelemetry", "jinja2"} & await imported(box, redis, variables)


async def test_worker_with_traces_imports_the_sdk(box: Sandbox, redis: Redis, collector: Collector) -> None:
    assert "opentelemetry" in await imported(box, redis, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})


async def imported(box: Sandbox, redis: Redis, variables: dict[str, str]) -> set[str]:
    """Return the packages that a worker imports from start to end, with a sync in between."""
    async with worker({**box.environment, **variables, "PYTHONPROFILEIMPORTTIME": "1"}) as running:
        await ends(redis, await change(redis, traceparent=TRACEPARENT))
        await stop(running)
    lines = [line for line in running.log if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


async def test_worker_without_the_extra_logs_it_once_and_works(
    box: Sandbox, redis: Redis, collector: Collector, tmp_path: Path
) -> None:
    # An empty package of that name comes first on the path, as if nothing were installed.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    async with worker(traced(box, collector.url, PYTHONPATH=str(tmp_path))) as running:
        await ends(redis, await change(redis, traceparent=TRACEPARENT))
        await stop(running)
    (line,) = log_lines(running, "traces_disabled")
    assert "requirements-otel.txt" in line
    assert collector.requests == 0


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")]
)
async def test_unusable_variables_turn_off_only_traces(
    box: Sandbox, redis: Redis, collector: Collector, name: str, value: str
) -> None:
    async with worker(traced(box, collector.url, **{name: value})) as running:
        await ends(redis, await change(redis))
        await stop(running)
    assert len(log_lines(running, "traces_disabled")) == 1
    assert collector.requests == 0
