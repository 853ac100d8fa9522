"""Events over HTTP to a worker process: from the request to Autumn, without a token in the log."""

import asyncio
import os
import signal

import aiohttp

from sandbox.everything import sandbox
from tests.support.intake import SHOP, TOKENS, Port
from tests.support.watching import watched


async def test_event_over_http_is_applied_by_the_worker() -> None:
    async with sandbox() as box:
        box.autumn.seed("ann")
        async with watched({**box.environment, "INTAKE_TOKENS": ",".join(TOKENS), "LOG_LEVEL": "DEBUG"}) as one:
            port = Port(one.url, one.http)
            event = {"customer_id": "ann", "changes": {"name": "Ann Hiddenname"}, "event_id": "signup-42"}
            assert (await port.post(event)).body == {"ids": ["signup-42"]}
            status = "waiting"
            while status == "waiting":
                status = (await port.outcome("signup-42", wait="3")).body["status"]
            assert status == "applied"
            assert (await port.post(event, token="wrong-token-0123456789")).status == 401
            await one.running.says("intake_refused")
            assert not any(part in "".join(one.running.log) for part in (SHOP, "wrong-token", "Hiddenname"))


async def test_worker_answers_while_its_redis_hangs() -> None:
    async with (
        sandbox() as box,
        watched({**box.environment, "INTAKE_TOKENS": ",".join(TOKENS)}) as one,
        aiohttp.ClientSession() as http,
    ):
        port = Port(one.url, http)
        event = {"customer_id": "ann", "type": "customer.reconcile", "event_id": "signup-42"}
        os.kill(box.redis.pid, signal.SIGSTOP)
        try:
            answer, status = await asyncio.gather(port.post(event), port.outcome("signup-42"))
            assert (answer.status, answer.body["error"], status.status) == (503, "redis_unavailable", 503)
            assert await one.is_alive()
        finally:
            os.kill(box.redis.pid, signal.SIGCONT)
        assert (await port.post(event)).status == 202
