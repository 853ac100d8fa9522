"""The health check of the image, run as written in the Dockerfile."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sandbox.everything import Sandbox, sandbox
from sandbox.serve import serving
from tests.support.deployments import arguments_of, instructions
from tests.support.processes import environment_with, free_port, wait_until
from tests.support.watching import watched


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


async def check(port: int) -> int:
    """Return the exit code of the health check. Docker takes 0 for healthy and 1 for unhealthy."""
    (line,) = arguments_of("HEALTHCHECK", instructions()[-1])
    command: list[str] = json.loads(line.partition(" CMD ")[2])
    # A proxy of the environment is not for this machine.
    environment = environment_with({"PORT": str(port), "http_proxy": "http://127.0.0.1:1"})
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.mark.parametrize("process_type", ["worker", "scanner"])
async def test_running_process_is_healthy(box: Sandbox, process_type: str) -> None:
    async with watched(box.environment, process_type) as one:
        port = int(one.url.rpartition(":")[2])

        async def is_healthy() -> bool:
            return await check(port) == 0

        # Docker repeats the check, too, because a busy machine may answer late.
        await wait_until(is_healthy)


async def test_process_that_is_not_alive_is_unhealthy() -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/healthz", fail)
    async with serving(app) as url:
        assert await check(int(url.rpartition(":")[2])) == 1
    assert await check(free_port()) == 1
