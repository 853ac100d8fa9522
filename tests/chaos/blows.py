"""Execute the plan, each action at its time: send events, strike workers, switch faults, and write as others.

No action is skipped because it is late, and the time of the plan stands still while no worker is ready. So if workers
start slowly on a busy machine, the run is longer, not gentler.
"""

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.chaos.evidence import Sent, Written
from tests.chaos.fleet import READY_SECONDS, Fleet
from tests.chaos.others import Others
from tests.chaos.others_plan import OtherWrite
from tests.chaos.outside import INBOX, PREFIX
from tests.chaos.plan import Disturbance, Entry, FaultPhase, Plan
from tests.chaos.webhooks import WorkerWebhooks
from worker.loops.dispatch import SYNC_JOB
from worker.redis_client import open_redis

SEND_AGAIN_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 0.1
PRODUCERS: Final = 4


@dataclass
class Schedule:
    """The execution of a plan. `history` is in the order of the stream for each customer.

    The times of the plan count only the seconds in which a worker was ready; a stopped one counts as ready.
    """

    plan: Plan
    box: Sandbox
    redis: Redis
    fleet: Fleet
    others: Others
    webhooks: WorkerWebhooks
    webhooks_until_seconds: float
    history: list[Sent | Written] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    _began_at: float = 0.0
    _acts_ended: int = 0
    _redis_is_ours: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Execute everything. At the end, faults are off and stopped processes continue."""
        self._began_at = self.fleet.working_seconds
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines():
                    group.create_task(self._send(line))
                for blow in self.plan.disturbances:
                    group.create_task(self._strike(blow))
                for phase in self.plan.phases:
                    group.create_task(self._go_wrong(phase))
                for act in self.plan.others:
                    if act.act == "pay":
                        group.create_task(self._pay(act))
                group.create_task(self._end_webhooks())
        finally:
            self.box.autumn.switches.clear()
            self.box.stripe.switches.clear()

    def _seconds(self) -> float:
        """Return the time of the plan."""
        return self.fleet.working_seconds - self._began_at

    async def _until(self, at_seconds: float) -> None:
        """Wait for a time of the plan. Raises TimeoutError if no worker starts for a long time."""
        while (left := at_seconds - self._seconds()) > 0:
            if self.fleet.idle_seconds > READY_SECONDS:
                raise TimeoutError(f"no worker has started in {READY_SECONDS:.0f} s: read their logs")
            await asyncio.sleep(left if self.fleet.is_working else max(left, PAUSE_SECONDS))

    def _lines(self) -> Sequence[Sequence[Entry | OtherWrite]]:
        """The planned actions in order: one line for each customer with other writers, a few for the rest."""
        with_others = {write.customer for write in self.plan.others}
        lines: dict[str, list[Entry | OtherWrite]] = defaultdict(list)
        acts = [write for write in self.plan.others if write.act != "pay"]
        items: list[Entry | OtherWrite] = [*self.plan.entries, *acts]
        for item in sorted(items, key=lambda item: item.at_seconds):
            lines[item.customer if item.customer in with_others else _line_of(item.customer)].append(item)
        return list(lines.values())

    async def _send(self, line: Sequence[Entry | OtherWrite]) -> None:
        """Do one action after the other, so the order of a customer's events is certain."""
        events: list[str] = []
        for item in line:
            await self._until(item.at_seconds)
            if isinstance(item, OtherWrite):
                written = await self.others.write(item, events)
                self._acts_ended += 1
                if written is not None:
                    self.history.append(written)
                    events.clear()
                continue
            while not await self._add(item):
                self.done["sends repeated"] += 1
                await asyncio.sleep(SEND_AGAIN_SECONDS)
            events.append(item.event_id)
            self.history.append(Sent(item.customer, item.event_id, item.changes, item.garbage, time.time()))

    async def _add(self, entry: Entry) -> bool:
        try:
            await self.redis.xadd(INBOX, dict(entry.fields.items()))
        except (RedisError, OSError):
            return False
        return True

    async def _pay(self, planned: OtherWrite) -> None:
        await self._until(planned.at_seconds)
        events = [entry.event_id for entry in self.plan.entries if entry.customer == planned.customer]
        await self.others.pay(planned, events)
        self._acts_ended += 1

    async def _end_webhooks(self) -> None:
        """Let the workers follow Stripe by polls alone from now on.

        On a busy machine acts are late. The webhooks end when as many acts have ended as were planned before their end,
        and the webhooks about these have come.
        """
        await self._until(self.webhooks_until_seconds)
        planned = sum(act.at_seconds < self.webhooks_until_seconds for act in self.plan.others)
        while self._acts_ended < planned:  # noqa: ASYNC110 - others count them
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.sleep(self.webhooks.longest_delay_seconds)
        self.webhooks.end()

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
        """Send two wake-ups at once without an event. arq may run a job twice, so a wake-up must be harmless."""
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
        began = self._seconds()
        switches = (self.box.autumn if phase.service == "autumn" else self.box.stripe).switches
        fault = Fault(phase.kind, phase.route, phase.times, phase.probability, phase.hang_seconds)
        switches.add(fault)
        await self._until(began + phase.seconds)
        switches.faults = [other for other in switches.faults if other is not fault]


def _line_of(customer: str) -> str:
    # Not Python's hash of the name, because it differs in each process.
    return f"line {sum(customer.encode()) % PRODUCERS}"
