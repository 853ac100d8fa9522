"""Honcho runs the whole Procfile, as on a developer's machine."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox, sandbox
from tests.support.processes import ROOT, environment_with, free_port

HONCHO = "import honcho.manager, honcho.command; honcho.manager.KILL_WAIT = 60; honcho.command.main()"
"""Honcho that waits 60 s, not 5 s, before it kills a process, because a busy machine stops it late."""


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


async def test_honcho_runs_the_procfile_and_stops_all_processes(box: Sandbox) -> None:
    box.autumn.seed("ann")
    # Without .env, because that of this machine may be for a real worker. The first port is the worker's PORT.
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", HONCHO, "--env", os.devnull, "start", "--port", str(free_port())],
        cwd=ROOT,
        env=environment_with(box.environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
            event = await send(redis, new_update(customer_id="ann", changes={"name": "Ann"}))
            outcome = await outcome_of(redis, event, wait_seconds=150)
        assert outcome is not None
        assert outcome.status == "applied"
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    lines = output.decode()
    assert '"process_stopped"' in lines
    assert "SIGKILL" not in lines
    assert process.returncode in {0, 128 + signal.SIGTERM, -signal.SIGTERM}, lines
