"""The lower bound: the HTTP calls that our worker makes for an event of a customer that it has fetched before, in a
bare asyncio loop with the same clients. No queue, no Redis, no limit, no validation.

`python -m tests.benchmarks.bare` reads numbers of events from its input, one on a line. It answers each with a line of
JSON: the seconds it took and the processor's seconds.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import stripe
import uvloop
from httpx_aiohttp import AiohttpTransport

AT_A_TIME = 50


@dataclass(frozen=True)
class Clients:
    """The clients of both services."""

    transport: httpx.AsyncBaseTransport
    headers: httpx.Headers
    autumn_url: str
    stripe: stripe.StripeClient

    async def autumn(self, path: str, body: dict[str, Any]) -> None:
        """Call Autumn and read its answer."""
        content = json.dumps(body).encode()
        request = httpx.Request("POST", self.autumn_url + path, headers=self.headers, content=content)
        answer = await self.transport.handle_async_request(request)
        json.loads(await answer.aread())


async def one(clients: Clients, number: int) -> None:
    """The calls of one event. Every fourth event writes to Stripe."""
    customer_id = f"bare-{number}"
    await clients.autumn("/v1/customers.update", {"customer_id": customer_id, "metadata": {"plan": f"pro-{number}"}})
    if number % 4 == 0:
        written: dict[str, Any] = {"metadata": {"autumn_send_email_receipts": "true"}}
        key = f"autumn:{number}"
        await clients.stripe.raw_request_async(
            "post", f"/v1/customers/cus_{customer_id}", idempotency_key=key, **written
        )


async def many(clients: Clients, count: int) -> None:
    """Process `count` events, fifty at a time."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await one(clients, number)

    await asyncio.gather(*(some() for _ in range(AT_A_TIME)))


async def main() -> None:
    """Open the clients as the worker does, and process the input."""
    stripe.enable_telemetry = False
    key = os.environ["AUTUMN_SECRET_KEY"]
    headers = {"Authorization": f"Bearer {key}", "x-api-version": "2.3.0", "Content-Type": "application/json"}
    async with (
        AiohttpTransport(trust_env=False) as transport,
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        client = stripe.StripeClient(
            os.environ["STRIPE_API_KEY"],
            base_addresses={"api": os.environ["STRIPE_API_BASE"]},
            max_network_retries=0,
            http_client=stripe.AIOHTTPClient(session=session),
        )
        clients = Clients(transport, httpx.Headers(headers), os.environ["AUTUMN_API_URL"], client)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            began, cpu_began = time.perf_counter(), time.process_time()
            await many(clients, int(line))
            print(json.dumps([time.perf_counter() - began, time.process_time() - cpu_began]), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
