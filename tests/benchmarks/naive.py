"""The naive worker that a good engineer would write in an afternoon.

One arq job for each event updates Autumn, retrieves the Stripe customer, and updates it if it differs. Run it with `arq
tests.benchmarks.naive.WorkerSettings`.

It is the benchmark's reference, with the usual clients as their documentation shows them. It has no order, no limits,
no ownership, and loses events, so its cost is about the least possible.
"""

import json
import os
from typing import Any, ClassVar

import httpx
import stripe
from arq.connections import RedisSettings

QUEUE = "arq:queue"


async def startup(ctx: dict[str, Any]) -> None:
    """Open both clients."""
    key = os.environ["AUTUMN_SECRET_KEY"]
    headers = {"Authorization": f"Bearer {key}", "x-api-version": "2.3.0"}
    ctx["autumn"] = httpx.AsyncClient(base_url=os.environ["AUTUMN_API_URL"], headers=headers, timeout=30)
    ctx["stripe"] = stripe.StripeClient(
        os.environ["STRIPE_API_KEY"],
        base_addresses={"api": os.environ["STRIPE_API_BASE"]},
        http_client=stripe.HTTPXClient(),
    )


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close Autumn's client."""
    await ctx["autumn"].aclose()


async def sync(ctx: dict[str, Any], customer_id: str, changes: str) -> None:
    """Sync one event."""
    body = {"customer_id": customer_id, **json.loads(changes)}
    response = await ctx["autumn"].post("/v1/customers.update", json=body)
    response.raise_for_status()
    customer = response.json()
    if not customer["stripe_id"]:
        return
    found = await ctx["stripe"].v1.customers.retrieve_async(customer["stripe_id"])
    metadata = {"autumn_id": customer_id, "autumn_send_email_receipts": str(customer["send_email_receipts"]).lower()}
    wanted = {"name": customer["name"], "email": customer["email"], "metadata": metadata}
    if (found.name, found.email, found.metadata.to_dict()) != (wanted["name"], wanted["email"], metadata):
        await ctx["stripe"].v1.customers.update_async(customer["stripe_id"], wanted)


class WorkerSettings:
    """arq's defaults, except for the two settings that everybody changes."""

    functions: ClassVar[list[Any]] = [sync]
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost"))
    max_jobs = 50
    poll_delay = 0.01
