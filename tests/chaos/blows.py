"""Carrying out what is planned, each thing at its time: sending, striking, and switching the services' faults.

Everything is late rather than left out: a machine that is busy makes a run longer, not gentler.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.chaos.evidence import Sent
from tests.chaos.fleet import Fleet
from tests.chaos.outside import INBOX, PREFIX
from tests.chaos.plan import Disturbance, Entry, FaultPhase, Plan
from worker.connection import open_redis
from worker.supervise import SYNC_JOB

SEND_AGAIN_SECONDS: Final = 0.1
PRODUCERS: Final = 4


@dataclass
class Schedule:
    """A plan being carried out. `sent` is in the order of the stream for each customer; times are since `begin`."""

    plan: Plan
    box: Sandbox
    redis: Redis
    fleet: Fleet
    begin: float = field(default_factory=time.monotonic)
    sent: list[Sent] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    _redis_is_ours: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Carry out everything; faults are off, and whatever was stopped goes on, at the end."""
        lines: list[list[Entry]] = [[] for _ in range(PRODUCERS)]
        for entry in self.plan.entries:
            lines[_line_of(entry)].append(entry)
        try:
            async with asyncio.TaskGroup() as group:
                for line in lines:
                    group.create_task(self._send(line))
                for blow in self.plan.disturbances:
                    group.create_task(self._strike(blow))
                for phase in self.plan.phases:
                    group.create_task(self._go_wrong(phase))
        finally:
            self.box.autumn.switches.clear()
            self.box.stripe.switches.clear()

    async def _until(self, at_seconds: float) -> None:
        await asyncio.sleep(max(0.0, self.begin + at_seconds - time.monotonic()))

    async def _send(self, line: Sequence[Entry]) -> None:
        """Send one after the other, each until Redis has taken it: the order of a customer's events is ours to keep."""
        for entry in line:
            await self._until(entry.at_seconds)
            while not await self._add(entry):
                self.done["sends repeated"] += 1
                await asyncio.sleep(SEND_AGAIN_SECONDS)
            self.sent.append(Sent(entry.customer, entry.event_id, entry.changes, entry.garbage))

    async def _add(self, entry: Entry) -> bool:
        try:
            await self.redis.xadd(INBOX, dict(entry.fields.items()))
        except (RedisError, OSError):
            return False
        return True

    async def _strike(self, blow: Disturbance) -> None:
        await self._until(blow.at_seconds)
        match blow.strike:
            case "kill":
                await self.fleet.strike(signal.SIGKILL, blow.worker)
            case "term":
                await self.fleet.strike(signal.SIGTERM, blow.worker)
            case "stop":
                await self.fleet.strike(signal.SIGSTOP, blow.worker)
                await asyncio.sleep(blow.seconds)
                await self.fleet.strike(signal.SIGCONT, blow.worker)
            case "wake":
                await self._wake(blow.customer)
            case "redis-stop" | "redis-kill":
                await self._restart_redis(blow)

    async def _wake(self, customer: str) -> None:
        """Two wake-ups that nobody asked for, at once: arq may run a job twice, so a wake-up has to be harmless."""
        try:
            async with open_redis(self.box.redis.url, PREFIX) as queue:
                for _ in range(2):
                    await queue.enqueue_job(SYNC_JOB, customer)
        except (RedisError, OSError):
            return
        self.done["doubled wake-ups"] += 1

    async def _restart_redis(self, blow: Disturbance) -> None:
        async with self._redis_is_ours:
            redis = self.box.redis
            await asyncio.to_thread(redis.kill if blow.strike == "redis-kill" else redis.stop)
            await asyncio.sleep(blow.seconds)
            await asyncio.to_thread(redis.start)
        self.done["Redis killed" if blow.strike == "redis-kill" else "Redis restarted"] += 1

    async def _go_wrong(self, phase: FaultPhase) -> None:
        await self._until(phase.at_seconds)
        switches = (self.box.autumn if phase.service == "autumn" else self.box.stripe).switches
        fault = Fault(phase.kind, phase.route, probability=phase.probability, seconds=phase.hang_seconds)
        switches.add(fault)
        await asyncio.sleep(phase.seconds)
        switches.faults = [other for other in switches.faults if other is not fault]


def _line_of(entry: Entry) -> int:
    # Of the customer's name, not Python's hash of it, which is another one in each process.
    return sum(entry.customer.encode()) % PRODUCERS
