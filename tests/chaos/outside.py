"""What a run has around the workers: Redis, both simulators with limits that a run can live with, and its customers.

The limits are on, only higher than the services' own, and the workers are told rates below them: a limiter that leaks
shows as answers 429 that no fault explains.
"""

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from redis.asyncio import Redis

from jobs.mailbox import MailboxKeys
from jobs.overview import read_overview, read_standing
from jobs.record import HALF_DAY_SECONDS, RecordKeys, as_text
from sandbox.autumn import AutumnSimulator
from sandbox.everything import Sandbox, sandbox
from sandbox.stripe import StripeSimulator
from tests.chaos.evidence import Evidence, Profile, Sent
from tests.chaos.options import Options
from tests.chaos.plan import Plan, Seeded

INBOX: Final = "customer-updates"
PREFIX: Final = "customer-sync"
AUTUMN_LIMIT, STRIPE_LIMIT, STRIPE_ENDPOINT_LIMIT = 125, 600, 300
"""Requests per second that the simulators allow."""
LATENCY_SECONDS: Final = 0.05
DATABASE_SECONDS: Final = 0.02
WITH_PAYMENT: Final = 2
"""Every so many-th customer has payments whose receipts could be mailed."""
SHOWN_STUCK: Final = 20

WORKER_ENVIRONMENT: Final = {
    "AUTUMN_UPDATES_PER_SECOND": "100",
    "STRIPE_REQUESTS_PER_SECOND": "480",
    "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "240",
    "REQUEST_TIMEOUT": "5",
    "ECHO_CHECK_SECONDS": "3",
    "RECEIPTS": "recover",
    "INBOX_STREAM": INBOX,
    "KEY_PREFIX": PREFIX,
    "LOG_FORMAT": "json",
}


@asynccontextmanager
async def outside(options: Options, plan: Plan) -> AsyncIterator[Sandbox]:
    """Everything outside, its customers planted, and in `environment` what a worker has to be told."""
    stripe = StripeSimulator(
        requests_per_second=STRIPE_LIMIT,
        endpoint_requests_per_second=STRIPE_ENDPOINT_LIMIT,
        search_per_second=STRIPE_ENDPOINT_LIMIT,
    )
    autumn = partial(AutumnSimulator, updates_per_second=AUTUMN_LIMIT, database_seconds=DATABASE_SECONDS)
    async with sandbox(stripe=stripe, autumn=autumn) as box:
        for number, seeded in enumerate(plan.customers):
            _plant(box, seeded, pays=number % WITH_PAYMENT == 0)
        for name, simulator in (("autumn", box.autumn), ("stripe", box.stripe)):
            simulator.switches.random = random.Random(f"{options.seed} {name}")
            simulator.switches.latency_seconds = LATENCY_SECONDS
        chosen = {"AUTUMN_MAX_IN_FLIGHT": str(options.max_in_flight)}
        box.environment.update({**WORKER_ENVIRONMENT, **chosen})
        yield box


def seed_profile(customer: str) -> Profile:
    """What a planted customer is before the first event."""
    return Profile(name=f"{customer} 0", email=f"{customer}-0@example.com", send_email_receipts=False)


def _plant(box: Sandbox, seeded: Seeded, *, pays: bool) -> None:
    profile = seed_profile(seeded.customer)
    stripe_id = None
    if seeded.state == "gone":
        stripe_id = box.stripe.seed_customer(deleted=True)["id"]
    elif seeded.state != "unlinked":
        metadata = {} if seeded.state == "unclaimed" else {"autumn_id": seeded.customer}
        planted = box.stripe.seed_customer(name=profile.name, email=profile.email, metadata=metadata)
        stripe_id = planted["id"] if seeded.state != "lost-link" else None
    if stripe_id and pays and seeded.state != "gone":
        box.stripe.seed_payment_intent(customer=stripe_id)
        box.stripe.seed_payment_intent(customer=stripe_id, status="succeeded")
    box.autumn.seed(seeded.customer, name=profile.name, email=profile.email, stripe_id=stripe_id)


async def is_settled(redis: Redis) -> bool:
    """Whether nothing is left to do: the inbox is empty, nobody waits, is worked on or is to be looked at again."""
    keys = MailboxKeys(PREFIX)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.xlen(INBOX)
        pipe.zcard(keys.waiting)
        pipe.zcard(keys.called)
        pipe.zcard(keys.looks)
        return not any(await pipe.execute())


async def who_is_stuck(redis: Redis) -> list[str]:
    """Where work is left, and what is known of the first customers it is left for; a line each."""
    overview = await read_overview(redis, PREFIX, INBOX)
    lines = [f"in the inbox {overview.inbox}, waiting {overview.waiting}, being worked on {overview.working}"]
    keys = MailboxKeys(PREFIX)
    for name in (keys.called, keys.waiting):
        for customer in await redis.zrange(name, 0, SHOWN_STUCK - 1):
            standing = await read_standing(redis, PREFIX, customer.decode())
            known = {name: value for name, value in standing.record.items() if name in ("attempts", "last_error")}
            lines.append(f"{customer.decode()} {standing.state}: {standing.entries} entries, {known}")
    return lines


async def gather(redis: Redis, box: Sandbox, plan: Plan, sent: Sequence[Sent], allowed_in_flight: int) -> Evidence:
    """The evidence, when nothing moves any more."""
    keys = RecordKeys(PREFIX)
    seconds, _ = await redis.time()
    bucket = seconds // HALF_DAY_SECONDS
    outcomes: dict[str, str] = {}
    for back in (2, 1, 0):
        async for event, note in redis.hscan_iter(keys.events(bucket - back), count=1000):
            outcomes[event.decode(errors="replace")] = json.loads(note)["status"]
    letters = [as_text(fields) for _, fields in await redis.xrange(keys.dead)]
    return Evidence(
        seeds={seeded.customer: seed_profile(seeded.customer) for seeded in plan.customers},
        sent=sent,
        outcomes=outcomes,
        dead=letters,
        autumn=box.autumn.customers,
        stripe=box.stripe.customers,
        autumn_calls=box.autumn.calls,
        stripe_calls=box.stripe.calls,
        mails=box.stripe.mails,
        max_parallel_updates=box.autumn.max_parallel_updates,
        max_updates_in_flight=box.autumn.max_updates_in_flight,
        allowed_in_flight=allowed_in_flight,
    )
