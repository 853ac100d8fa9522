"""Scans on a schedule. A scan that was missed while no scanner ran starts as soon as one runs.

Only the schedule, and in Redis the watermark and a request, decide if a scan is due. So any process may check, as often
as it likes. arq's cron makes one scanner check each minute. The scan itself is no arq job, because it may take an hour.
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
"""The wait after a failed scan. An outage may be over by then."""


class Scanner:
    """Runs the scans of one process, one after the other."""

    def __init__(self, deps: ScanDeps, schedule: str) -> None:
        """Do no I/O. `schedule` is a cron expression in UTC."""
        self._deps = deps
        self._schedule = schedule
        self._requested = asyncio.Event()

    def request_check(self) -> None:
        """Check now if a scan is due."""
        self._requested.set()

    async def scan_if_due(self) -> None:
        """Wait for a request to check, and scan if a scan is due.

        Raises: the errors of `scanning`, after it recorded the failed scan.
        """
        await self._requested.wait()
        self._requested.clear()
        record = self._deps.record
        last = next(iter(await record.history()), None)
        requested_ms = await record.requested_ms()
        if not is_due(
            self._schedule, await record.watermark_ms(), last, await record.now_ms(), requested_ms=requested_ms
        ):
            log.debug("scan_not_due")
            return
        try:
            async with scanning(self._deps, ScanRequest(apply=True), ScanProgress()) as report:
                run = report.this_run
                if run.state == "refused":
                    log.error("scan_refused", repairable=run.repairable, fix=run.text)
        except ScanRunningError:
            log.info("scan_runs_elsewhere")


def is_due(
    schedule: str,
    watermark_ms: int | None,
    last: ScanRun | None,
    now_ms: int,
    *,
    grace_ms: int = 0,
    requested_ms: int | None = None,
) -> bool:
    """Return True if the schedule has come due since the start of the last scan that requested reconciles.

    The watermark is that start. All times are in milliseconds since the epoch. With `grace_ms`, the scan must have been
    due for that long. A scan that was requested after that start, at `requested_ms`, is due at once.

    Without a watermark a scan is due at once: Redis is new or has lost its data, and a scan repairs that. A watermark
    in the future counts as none, because the clock of Redis was wrong when it was written.
    """
    if last is not None and last.state == "failed" and 0 <= now_ms - last.ended_ms < AFTER_FAILURE_MS:
        return False
    if watermark_ms is None or watermark_ms > now_ms:
        return True
    if requested_ms is not None and watermark_ms < requested_ms <= now_ms:
        return True
    following = next(CronSim(schedule, datetime.fromtimestamp(watermark_ms / 1000, UTC)))
    return following.timestamp() * 1000 + grace_ms <= now_ms
