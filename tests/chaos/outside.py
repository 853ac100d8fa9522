"""The environment of the workers in a run: Redis, both simulators with generous limits, and the customers.

The limits are higher than the real services' ones, and the workers are configured with lower rates. So a limiter that
leaks shows as 429 answers that no fault explains.
"""

import copy
import json
import random
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from redis.asyncio import Redis

from autumn_sync_client.outcomes import HALF_DAY_SECONDS
from jobs.queue.record import RecordKeys, as_text
from sandbox.audit.expected import Profile
from sandbox.autumn.server import AutumnSimulator
from sandbox.everything import Sandbox, sandbox
from sandbox.stripe.server import StripeSimulator
from tests.chaos.evidence import Copied, Drift, Evidence, Sent, Written
from tests.chaos.options import Options
from tests.chaos.others_plan import OWN_KEY, SHARED_KEY
from tests.chaos.plan import Plan, Seeded

INBOX: Final = "customer-updates"
PREFIX: Final = "customer-sync"
AUTUMN_LIMIT, STRIPE_LIMIT, STRIPE_ENDPOINT_LIMIT = 125, 600, 300
"""Requests per second that the simulators allow."""
LATENCY_SECONDS: Final = 0.05
DATABASE_SECONDS: Final = 0.02
WITH_PAYMENT: Final = 2
"""Each customer whose number this divides has payments whose receipts could be mailed."""
COPIED_KEYS: Final = (SHARED_KEY, OWN_KEY)
"""The metadata keys that the worker copies to Stripe."""
WEBHOOK_SECRET: Final = "whsec_of_the_workers"
TWICE: Final = 0.15
"""This share of the webhooks is delivered twice."""
LIST_TROUBLE: Final = 0.02
"""The probability that the list of events shifts between two pages, and that it repeats an event."""
RECHECK_AFTER_WEBHOOKS_SECONDS: Final = 2.0
"""The time from the latest webhook to a recheck."""

WORKER_ENVIRONMENT: Final = {
    "AUTUMN_UPDATES_PER_SECOND": "100",
    "STRIPE_REQUESTS_PER_SECOND": "480",
    "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "240",
    "REQUEST_TIMEOUT": "15",
    "STRIPE_METADATA_KEYS": ",".join(COPIED_KEYS),
    "RECEIPTS": "recover",
    "INBOX_STREAM": INBOX,
    "KEY_PREFIX": PREFIX,
    "LOG_FORMAT": "json",
}


@asynccontextmanager
async def outside(options: Options, plan: Plan) -> AsyncIterator[Sandbox]:
    """Yield the environment with its customers planted. `environment` has the variables of a worker."""
    stripe = StripeSimulator(
        requests_per_second=STRIPE_LIMIT,
        endpoint_requests_per_second=STRIPE_ENDPOINT_LIMIT,
        search_per_second=STRIPE_ENDPOINT_LIMIT,
    )
    autumn = partial(AutumnSimulator, updates_per_second=AUTUMN_LIMIT, database_seconds=DATABASE_SECONDS)
    stripe.webhooks.random = random.Random(f"{options.seed} webhooks")
    stripe.webhooks.twice, stripe.webhooks.without_change = TWICE, options.without_change
    stripe.events.random = random.Random(f"{options.seed} events")
    stripe.events.list_delay_seconds = (0.0, options.list_seconds)
    stripe.events.ids_in_order = False
    stripe.events.shifts = stripe.events.repeats = LIST_TROUBLE
    delay_seconds = (0.0, options.webhook_seconds)
    # An accepted entry must survive a kill of Redis, also if the disk is busy.
    async with sandbox(stripe=stripe, autumn=autumn, appendfsync="always", webhook_delay_seconds=delay_seconds) as box:
        for number, seeded in enumerate(plan.customers):
            _plant(box, seeded, pays=number % WITH_PAYMENT == 0 and not seeded.is_calm)
        for name, simulator in (("autumn", box.autumn), ("stripe", box.stripe)):
            simulator.switches.random = random.Random(f"{options.seed} {name}")
            simulator.switches.latency_seconds = LATENCY_SECONDS
        recheck = f"{_recheck_seconds(options):g}"
        chosen = {
            "AUTUMN_MAX_IN_FLIGHT": str(options.max_in_flight),
            "ECHO_CHECK_SECONDS": recheck,
            "STRIPE_EVENTS_POLL_SECONDS": str(options.poll_seconds),
        }
        webhooks = {"STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET} if options.webhook_share else {}
        box.environment.update({**WORKER_ENVIRONMENT, **chosen, **webhooks})
        yield box


def _recheck_seconds(options: Options) -> float:
    return options.webhook_seconds + RECHECK_AFTER_WEBHOOKS_SECONDS


def overtaken_by_webhooks(box: Sandbox, options: Options) -> set[str]:
    """Return the customers with a webhook so late, on a busy machine, that the recheck came before it.

    Only a later sync can repair the values that such a webhook copied, so this is no fault of the worker yet.
    """
    written_at = {write.request_id: write.at for write in box.stripe.writes}
    # An edit in the dashboard is no write of an API key. Its event has the time in whole seconds.
    made_at: dict[str, float] = {
        event["id"]: written_at.get(event["request"]["id"]) or event["created"] for event in box.stripe.webhooks.events
    }
    return {one.customer_id for one in box.autumn.copied if one.at - made_at[one.event_id] > _recheck_seconds(options)}


def seed_profile(seeded: Seeded) -> Profile:
    """Return the state of a planted customer before the first event."""
    customer = seeded.customer
    return Profile(f"{customer} 0", f"{customer}-0@example.com", send_email_receipts=seeded.has_receipts)


def _plant(box: Sandbox, seeded: Seeded, *, pays: bool) -> None:
    profile = seed_profile(seeded)
    stripe_id = None
    if seeded.state == "gone":
        stripe_id = box.stripe.seed_customer(deleted=True)["id"]
    elif seeded.state != "unlinked":
        metadata = {} if seeded.state == "unclaimed" else {"autumn_id": seeded.customer}
        shown = {"name": profile.name, "email": profile.email, **_stale(seeded)}
        planted = box.stripe.seed_customer(metadata=metadata, **shown)
        stripe_id = planted["id"] if seeded.state != "lost-link" else None
    if stripe_id and pays and seeded.state != "gone":
        box.stripe.seed_payment_intent(customer=stripe_id)
        box.stripe.seed_payment_intent(customer=stripe_id, status="succeeded")
    box.autumn.seed(
        seeded.customer,
        name=profile.name,
        email=profile.email,
        stripe_id=stripe_id,
        send_email_receipts=profile.send_email_receipts,
    )


def _stale(seeded: Seeded) -> dict[str, str]:
    """Return the field that is stale in Stripe at the beginning, with a value that nobody wrote in this run."""
    values = {"name": f"{seeded.customer} stale", "email": f"{seeded.customer}-stale@example.com"}
    return {seeded.stale: values[seeded.stale]} if seeded.stale else {}


async def gather(
    redis: Redis,
    box: Sandbox,
    plan: Plan,
    history: Sequence[Sent | Written],
    windows: Mapping[str, Sequence[tuple[float, float]]],
    options: Options,
    drifts: Sequence[Drift] = (),
    paid: Collection[str] = (),
) -> Evidence:
    """Return the evidence while nothing moves. `windows` are the times of others' writes to a customer."""
    keys = RecordKeys(PREFIX)
    seconds, _ = await redis.time()
    bucket = seconds // HALF_DAY_SECONDS
    outcomes: dict[str, str] = {}
    for back in (2, 1, 0):
        async for event, note in redis.hscan_iter(keys.events(bucket - back), count=1000):
            outcomes[event.decode(errors="replace")] = json.loads(note)["status"]
    letters = [as_text(fields) for _, fields in await redis.xrange(keys.dead)]
    return Evidence(
        seeds={seeded.customer: seed_profile(seeded) for seeded in plan.customers},
        history=tuple(history),
        outcomes=outcomes,
        dead=letters,
        autumn=copy.deepcopy(box.autumn.customers),
        stripe=copy.deepcopy(box.stripe.customers),
        autumn_calls=tuple(box.autumn.calls),
        stripe_calls=tuple(box.stripe.calls),
        mails=tuple(box.stripe.mails),
        max_parallel_updates=dict(box.autumn.max_parallel_updates),
        max_updates_in_flight=box.autumn.max_updates_in_flight,
        # Other apps update one customer at a time, beside the workers.
        allowed_in_flight=options.max_in_flight + any(write.by == "app" for write in plan.others),
        copied=tuple(_copied(box, windows)),
        copied_keys=COPIED_KEYS,
        announces_all=options.without_change,
        stripe_writes=tuple(box.stripe.writes),
        drifts=copy.deepcopy(tuple(drifts)),
        paid=frozenset(paid),
    )


def _copied(box: Sandbox, windows: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[Copied]:
    """The values that Autumn copied from webhooks, each with whether a write of others caused it."""
    requests = {event["id"]: event["request"]["id"] for event in box.stripe.webhooks.events}
    written_at = {write.request_id: write.at for write in box.stripe.writes}
    for one in box.autumn.copied:
        # An edit in the dashboard is no request, so it is in no log.
        at = written_at.get(requests[one.event_id])
        by_others = at is None or any(began <= at <= ended for began, ended in windows.get(one.customer_id, ()))
        yield Copied(one.customer_id, one.changed, is_own=not by_others)
