"""Events over HTTP to a worker process: from the request to Autumn, without a token in the log."""

import asyncio

import aiohttp

from sandbox.everything import sandbox
from tests.support.forwarding import forwarding
from tests.support.intake import SHOP, TOKENS, Port
from tests.support.processes import hanging, wait_until
from tests.support.watching import watched


async def end_of(port: Port, event: str) -> str:
    """Wait for the event's outcome, and return its status."""
    status = "waiting"

    async def has_ended() -> bool:
        nonlocal status
        status = str((await port.outcome(event, wait="3")).body.get("status", "waiting"))
        return status != "waiting"

    await wait_until(has_ended, what=f"an outcome of {event}")
    return status


async def test_event_over_http_is_applied_by_the_worker() -> None:
    async with sandbox() as box, aiohttp.ClientSession() as http:
        box.autumn.seed("ann")
        async with watched({**box.environment, "INTAKE_TOKENS": ",".join(TOKENS), "LOG_LEVEL": "DEBUG"}) as one:
            port = Port(one.url, http)
            event = {"customer_id": "ann", "changes": {"name": "Ann Hiddenname"}, "event_id": "signup-42"}
            assert (await port.post(event)).body == {"ids": ["signup-42"]}
            assert await end_of(port, "signup-42") == "applied"
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
        with hanging(box.redis):
            answer, status = await asyncio.gather(port.post(event), port.outcome("signup-42"))
            assert (answer.status, answer.body["error"], status.status) == (503, "redis_unavailable", 503)
            assert (await one.answer("/healthz"))[0] == 200

        async def is_accepted() -> bool:
            return (await port.post(event)).status == 202

        await wait_until(is_accepted)


async def test_command_of_a_broken_connection_is_never_repeated() -> None:
    """A repetition may come late, and overtake the events that the app has sent since then."""
    is_lost = False

    async def may_pass(_: int, piece: bytes) -> bool:
        """Break the connection instead of forwarding the event for the first time."""
        nonlocal is_lost
        is_first = b"lost-event" in piece and not is_lost
        is_lost |= is_first
        return not is_first

    async with (
        sandbox() as box,
        forwarding(box.redis.port, may_pass) as redis_url,
        watched({**box.environment, "REDIS_URL": redis_url, "INTAKE_TOKENS": ",".join(TOKENS)}) as one,
        aiohttp.ClientSession() as http,
    ):
        box.autumn.seed("ann")
        port = Port(one.url, http)
        event = {"customer_id": "ann", "type": "customer.reconcile"}
        answer = await port.post({**event, "event_id": "lost-event"})
        assert (answer.status, answer.body["error"]) == (503, "redis_unavailable")
        assert (await port.post({**event, "event_id": "other"})).status == 202
        assert await end_of(port, "other") == "applied"
        assert (await port.outcome("lost-event")).status == 404
