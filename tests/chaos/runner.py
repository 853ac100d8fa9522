"""One run from start to verdict: open everything, carry out the plan, wait until all is settled, judge.

`Result` is all that a report needs. Nothing is judged here.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from sandbox.everything import Sandbox
from tests.chaos.blows import Schedule
from tests.chaos.checker import check
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.fleet import Fleet, command_of, fleet
from tests.chaos.measures import over_limit, recoveries
from tests.chaos.options import Options
from tests.chaos.outside import (
    AUTUMN_LIMIT,
    STRIPE_LIMIT,
    gather,
    is_settled,
    outside,
    who_is_stuck,
)
from tests.chaos.plan import make_plan

LOOK_SECONDS: Final = 0.1
LOOKS_IN_A_ROW: Final = 3
PROGRESS_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Result:
    """What happened, and what was found. `settled_seconds` is None when work was left at the end."""

    options: Options
    verdict: Verdict
    sent: int
    applied: int
    dead: int
    done: Counter[str]
    signals: Counter[str]
    exits: Counter[str]
    said: Counter[str]
    starts: int
    deaf: int
    faults: dict[str, dict[str, int]]
    calls: dict[str, int]
    mailed: int
    over_limit: dict[str, int]
    settled_seconds: float | None
    recovery_seconds: list[float]
    stuck: list[str]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether no promise or limit was broken, and all came to an end: the work, and the workers when asked."""
        kept = not self.verdict.findings and not any(self.over_limit.values())
        return kept and self.settled_seconds is not None and not self.deaf


async def run(options: Options, folder: Path) -> Result:
    """Run it all; the workers' logs are left in `folder`. Nothing that was started outlives this."""
    began = time.monotonic()
    plan = make_plan(options)
    async with outside(options, plan) as box:
        command, rng = command_of(options.worker), random.Random(options.seed)
        async with (
            Redis.from_url(box.environment["REDIS_URL"], socket_timeout=5) as redis,
            fleet(command, box.environment, workers=options.workers, folder=folder, rng=rng) as running,
        ):
            await running.all_ready()
            schedule = Schedule(plan, box, redis, running)
            watching = asyncio.create_task(_tell_progress(schedule))
            try:
                await schedule.run()
                settled_seconds = await _settle(redis, options.settle_seconds)
            finally:
                watching.cancel()
            stuck = [] if settled_seconds is not None else await who_is_stuck(redis)
            await running.stop()
            evidence = await gather(redis, box, plan, schedule.sent, options.max_in_flight)
        return _result(options, box, running, schedule, evidence, settled_seconds, stuck, time.monotonic() - began)


async def _settle(redis: Redis, at_most_seconds: float) -> float | None:
    """Wait until nothing is left to do for some looks in a row; the seconds until the first of them."""
    began = first = time.monotonic()
    in_a_row = 0
    while time.monotonic() - began < at_most_seconds:
        in_a_row = in_a_row + 1 if await is_settled(redis) else 0
        first = time.monotonic() if in_a_row == 1 else first
        if in_a_row == LOOKS_IN_A_ROW:
            return first - began
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def _tell_progress(schedule: Schedule) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        struck = sum(schedule.fleet.signals.values())
        print(
            f"{time.monotonic() - schedule.begin:6.0f} s: {len(schedule.sent)} sent, {struck} signals, "
            f"{len(schedule.box.autumn.calls)} calls to Autumn, {len(schedule.box.stripe.calls)} to Stripe",
            flush=True,
        )


def _result(
    options: Options,
    box: Sandbox,
    running: Fleet,
    schedule: Schedule,
    evidence: Evidence,
    settled_seconds: float | None,
    stuck: list[str],
    seconds: float,
) -> Result:
    events = {event.event_id for event in evidence.sent}
    return Result(
        options=options,
        verdict=check(evidence),
        sent=len(evidence.sent),
        applied=sum(evidence.outcomes.get(event) == "applied" for event in events),
        dead=len(evidence.dead),
        done=schedule.done,
        signals=running.signals,
        exits=running.exits,
        said=running.said,
        starts=running.starts,
        deaf=running.deaf,
        faults={"Autumn": box.autumn.switches.fired, "Stripe": box.stripe.switches.fired},
        calls={"Autumn": len(box.autumn.calls), "Stripe": len(box.stripe.calls)},
        mailed=len(evidence.mails),
        over_limit={
            "Autumn": over_limit([call.started for call in box.autumn.calls if "update" in call.path], AUTUMN_LIMIT),
            "Stripe": over_limit([call.at for call in box.stripe.calls], STRIPE_LIMIT),
        },
        settled_seconds=settled_seconds,
        recovery_seconds=recoveries(running.killed_at, evidence.autumn_calls),
        stuck=stuck,
        seconds=seconds,
    )
