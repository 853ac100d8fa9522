"""One run from start to verdict: open everything, execute the plan, wait until all is settled, judge.

It is judged twice: when all has settled by itself, and again after a reconcile of every customer, as the nightly scan
requests it. `Result` has everything for a report.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from redis.asyncio import Redis

from jobs.queue.record import read_totals
from tests.chaos.blows import Schedule
from tests.chaos.checker import check, missing_receipts, wrong_values
from tests.chaos.drifts import Drifts
from tests.chaos.evidence import Evidence, Finding, Sent, Verdict
from tests.chaos.fleet import STOP_SECONDS, Fleet, command_of, fleet
from tests.chaos.measures import Noticed, over_limit, recoveries, reverts
from tests.chaos.options import Options
from tests.chaos.others import Others
from tests.chaos.outside import AUTUMN_LIMIT, INBOX, PREFIX, STRIPE_LIMIT, gather, outside, overtaken_by_webhooks
from tests.chaos.people import People
from tests.chaos.plan import make_plan
from tests.chaos.settling import settle, stuck_work
from tests.chaos.trace import write_traces
from tests.chaos.webhooks import worker_webhooks
from tests.support.processes import free_port

PROGRESS_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 120.0
"""A guard against a Redis that hangs. One that was killed ends its connections."""


@dataclass(frozen=True)
class Result:
    """The course of a run and its findings. `settled_seconds` is None if work was left at the end."""

    options: Options
    verdict: Verdict
    sent: int
    applied: int
    dead: int
    done: Counter[str]
    signals: Counter[str]
    exits: Counter[str]
    logged: Counter[str]
    starts: int
    faults: dict[str, dict[str, int]]
    calls: dict[str, int]
    webhooks: dict[str, int]
    mailed: int
    unfetched: int
    """The updates that syncs sent without a fetch."""
    watch: dict[str, int]
    agreement_seconds: dict[str, list[float]]
    """The seconds from an act in Stripe to agreement, the shortest first, by what noticed the act."""
    notice_seconds: dict[str, list[float]]
    """The seconds from an act in Stripe to when the watch noticed it, likewise."""
    settled_seconds: float | None
    recovery_seconds: list[float]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether the run has no findings."""
        return not self.verdict.findings


async def run(options: Options, folder: Path) -> Result:
    """Run it. The workers' logs stay in `folder`. Everything that was started ends with this function."""
    began = time.monotonic()
    plan = make_plan(options)
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(outside(options, plan))
        command, rng = command_of(options.worker), random.Random(options.seed)
        redis = await stack.enter_async_context(
            Redis.from_url(box.environment["REDIS_URL"], socket_timeout=ANSWER_SECONDS)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ports = [free_port() for _ in range(options.workers)]
        webhooks = await stack.enter_async_context(worker_webhooks(options, box, redis, session, ports))
        running = await stack.enter_async_context(fleet(command, box.environment, ports=ports, folder=folder, rng=rng))
        await running.all_ready()
        calm = frozenset(seeded.customer for seeded in plan.customers if seeded.is_calm)
        people = People(box, Drifts(box, redis), calm)
        others = Others(box, redis, session, people, options.webhook_seconds, announces_all=options.without_change)
        until_seconds = options.webhook_share * options.seconds
        schedule = Schedule(plan, box, redis, running, others, webhooks, until_seconds)
        beside = [asyncio.create_task(each) for each in (_tell_progress(schedule), people.drifts.observe())]
        try:
            await schedule.run()
            settled_seconds, scan_at, findings, evidence = await _end(schedule, options)
        finally:
            for task in beside:
                task.cancel()
        await running.stop()
        findings += _limits_broken(running, evidence)
        verdict = Verdict((*check(evidence).findings, *findings))
        write_traces(folder, box, evidence, verdict.findings)
        totals = await read_totals(redis, PREFIX)
    return _result(options, verdict, schedule, evidence, totals, settled_seconds, scan_at, time.monotonic() - began)


async def _end(schedule: Schedule, options: Options) -> tuple[float | None, float, list[Finding], Evidence]:
    """Wait, reconcile all and wait again.

    Return the seconds until all was settled, when the reconcile of all began, the findings that need no evidence, and
    the evidence.
    """
    redis, box, others = schedule.redis, schedule.box, schedule.others
    drifts = others.people.drifts

    async def now() -> Evidence:
        await drifts.look()
        history, windows = schedule.history, others.windows
        return await gather(redis, box, schedule.plan, history, windows, options, drifts.found, drifts.paid)

    first = last = await settle(redis, box, options.settle_seconds)
    scan_at, findings = math.inf, []
    if first.seconds is not None:
        evidence = await now()
        withheld = [drift for drift in evidence.drifts if drift.is_withheld]
        excused = overtaken_by_webhooks(box, options) | {drift.customer for drift in withheld if drift.act != "pay"}
        early = [each for each in wrong_values(evidence, are_unannounced_known=False) if each.about not in excused]
        early += missing_receipts(evidence, without=[drift.intent for drift in withheld])
        findings += [Finding(each.damage, each.about, f"before the last reconcile: {each.text}") for each in early]
        scan_at = time.time()
        await _reconcile_all(schedule)
        last = await settle(redis, box, options.settle_seconds)
    if last.seconds is None:
        findings += [Finding("not settled", *stuck) for stuck in await stuck_work(redis, box, last.why)]
    return first.seconds, scan_at, findings, await now()


async def _reconcile_all(schedule: Schedule) -> None:
    """Request a reconcile of every customer, as the nightly scan does for those with drift."""
    async with schedule.redis.pipeline(transaction=False) as pipe:
        for seeded in schedule.plan.customers:
            event = Sent(seeded.customer, f"last-{seeded.customer}")
            fields = {"customer_id": event.customer, "type": "customer.reconcile", "event_id": event.event_id}
            pipe.xadd(INBOX, dict(fields.items()))
            schedule.history.append(event)
        await pipe.execute()


async def _tell_progress(schedule: Schedule) -> None:
    begin = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        struck = sum(schedule.fleet.signals.values())
        print(
            f"{time.monotonic() - begin:6.0f} s: {len(schedule.history)} sent, {struck} signals, "
            f"{len(schedule.box.autumn.calls)} calls to Autumn, {len(schedule.box.stripe.calls)} to Stripe",
            flush=True,
        )


def _limits_broken(running: Fleet, evidence: Evidence) -> Iterator[Finding]:
    """Check the services' rates, and the time that a platform gives a process to end."""
    autumn = over_limit([call.started for call in evidence.autumn_calls if "update" in call.path], AUTUMN_LIMIT)
    stripe = over_limit([call.at for call in evidence.stripe_calls], STRIPE_LIMIT)
    for service, calls, limit in (("Autumn", autumn, AUTUMN_LIMIT), ("Stripe", stripe, STRIPE_LIMIT)):
        if calls:
            yield Finding("over a rate limit", service, f"{calls} calls came when {limit} had come in a second")
    for worker in running.deaf:
        yield Finding("does not stop", worker, f"did not end in the {STOP_SECONDS:.0f} s after SIGTERM")


def _result(
    options: Options,
    verdict: Verdict,
    schedule: Schedule,
    evidence: Evidence,
    totals: Mapping[str, int],
    settled_seconds: float | None,
    scan_at: float,
    seconds: float,
) -> Result:
    noticed = Noticed(evidence.sent, schedule.webhooks.first, scan_at)
    events, box, running = {event.event_id for event in evidence.sent}, schedule.box, schedule.fleet
    return Result(
        options=options,
        verdict=verdict,
        sent=len(evidence.sent),
        applied=sum(evidence.outcomes.get(event) == "applied" for event in events),
        dead=len(evidence.dead),
        done=schedule.done + schedule.others.done + schedule.others.people.done,
        signals=running.signals,
        exits=running.exits,
        logged=running.logged,
        starts=running.starts,
        faults={"Autumn": box.autumn.switches.fired, "Stripe": box.stripe.switches.fired},
        calls={"Autumn": len(box.autumn.calls), "Stripe": len(box.stripe.calls)},
        webhooks={
            "delivered": box.stripe.webhooks.delivered,
            "that changed a customer": len(evidence.copied),
            "that reverted a newer value": reverts(evidence.history, evidence.copied),
        },
        mailed=len(evidence.mails),
        unfetched=totals.get("unfetched", 0),
        settled_seconds=settled_seconds,
        recovery_seconds=recoveries(running.killed_at, evidence.autumn_calls),
        watch={
            "events of Stripe": len(box.stripe.events.made),
            "events withheld": len(box.stripe.events.withheld_events),
            "polls": sum(call.endpoint == "events.list" for call in box.stripe.calls),
            "webhooks accepted": schedule.webhooks.accepted,
            "drifts": sum(drift.act != "write" for drift in evidence.drifts),
            "drifts withheld": sum(drift.act != "write" and drift.is_withheld for drift in evidence.drifts),
            "edits": sum(drift.act == "write" for drift in evidence.drifts),
        },
        agreement_seconds=noticed.agreement_seconds(evidence.drifts),
        notice_seconds=noticed.notice_seconds(evidence.drifts),
        seconds=seconds,
    )
