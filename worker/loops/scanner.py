"""Scanning on a schedule: the scan that is due is run, however long nobody was there to run it.

Whether one is due follows from the schedule and the watermark in Redis alone, so that it does not matter which process
asks, how often, or what was missed. arq's cron only makes one of all scanners ask each minute: a scan may take an hour,
and runs beside arq, not as a job of it.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog
from cronsim import CronSim

from jobs.scan.record import ScanProgress, ScanRunningError
from jobs.scan.report import ScanRun
from jobs.scan.run import ScanDeps, ScanRequest, scanning

log = structlog.get_logger(__name__)

AFTER_FAILURE_MS: Final = 15 * 60_000
"""How long after a failed run the next one begins: an outage may be over by then."""


class Scanner:
    """Runs the scans of one process, one after the other."""

    def __init__(self, deps: ScanDeps, schedule: str) -> None:
        """Opens nothing. `schedule` is as cron writes it, in UTC."""
        self._deps = deps
        self._schedule = schedule
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """A scan may be due."""
        self._asked.set()

    async def scan_if_due(self) -> None:
        """Run once: wait until asked, and scan if one is due. Raises as `scanning` does, when the run is noted."""
        await self._asked.wait()
        self._asked.clear()
        record = self._deps.record
        last = next(iter(await record.history()), None)
        if not is_due(self._schedule, await record.watermark_ms(), last, await record.now_ms()):
            log.debug("scan_not_due")
            return
        try:
            async with scanning(self._deps, ScanRequest(apply=True), ScanProgress()) as report:
                run = report.this_run
                if run.state == "refused":
                    log.error("scan_refused", repairable=run.repairable, fix=run.text)
        except ScanRunningError:
            log.info("scan_runs_elsewhere")


def is_due(schedule: str, watermark_ms: int | None, last: ScanRun | None, now_ms: int, *, grace_ms: int = 0) -> bool:
    """Whether a scan is due: a time of the schedule has come since the last one that asked for syncs began.

    Without a watermark one is due at once: Redis is new, or has lost what it held, which is what a scan makes good. So
    it is with one that lies ahead, because the clock of Redis was wrong then: its time may be a year away.
    With `grace_ms` it has to have been due for so long. All times are in milliseconds since the epoch.
    """
    if last is not None and last.state == "failed" and 0 <= now_ms - last.ended_ms < AFTER_FAILURE_MS:
        return False
    if watermark_ms is None or watermark_ms > now_ms:
        return True
    following = next(CronSim(schedule, datetime.fromtimestamp(watermark_ms / 1000, UTC)))
    return following.timestamp() * 1000 + grace_ms <= now_ms
