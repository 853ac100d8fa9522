"""The state of scans in Redis: the lease, the progress, the watermark, and the last runs.

This module owns these keys. Their size is bounded, however many customers and findings there are.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, TypeVar

from redis.asyncio import Redis

from jobs.queue.key_types import answer_or_none
from jobs.queue.record import PLAUSIBLE
from jobs.queue.replacing import delete_if_wrong
from jobs.queue.scripts import Scripts
from jobs.scan.report import Changed, ScanRun

Phase = Literal["listing", "comparing", "requesting", "reporting"]
Kept = TypeVar("Kept", "Trouble", "ScanProgress")


@dataclass(eq=False)
class Trouble:
    """A failing call that is retried: the service, the code of the last error, and the tries so far.

    Retries stop after `gives_up_after_tries`. If that is 0, they stop `gives_up_in_seconds` after the last failure.
    """

    service: str = ""
    error: str = ""
    tries: int = 0
    gives_up_in_seconds: int = 0
    gives_up_after_tries: int = 0


@dataclass
class ScanProgress:
    """The counters of one run. Times are in milliseconds since the epoch, on the clock of Redis.

    - `expected`: the customers of both sides in the last complete run, together; 0 if that is not known.
    - `findings`: counted during the comparison.
    - `looked_up`: customers that were fetched one by one, because a list lacked their other side.
    - `not_checked`: customers that were not looked up, because there were too many.
    - `troubles`: the calls that are failing now.
    """

    run: str = ""
    scope: str = ""
    started_ms: int = 0
    phase: Phase = "listing"
    autumn: int = 0
    stripe: int = 0
    payments: int = 0
    looked_up: int = 0
    not_checked: int = 0
    compared: int = 0
    findings: int = 0
    requested: int = 0
    expected: int = 0
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def listed(self) -> int:
        """The customers that were read so far, of both sides."""
        return self.autumn + self.stripe

    def as_json(self) -> str:
        """Return the JSON that `read_progress` reads."""
        return json.dumps(asdict(self))


def read_progress(kept: bytes | str) -> ScanProgress:
    """Read what `as_json` wrote, also in another version."""
    progress = _read(ScanProgress, json.loads(kept))
    progress.troubles = [_read(Trouble, each) for each in json.loads(kept).get("troubles", [])]
    return progress


def _read(kind: type[Kept], stored: Mapping[str, Any]) -> Kept:
    return kind(**{each.name: stored[each.name] for each in fields(kind) if each.name in stored})


LEASE_SECONDS: Final = 15.0
"""The time after which a scan that renews nothing loses its lease."""
RENEWALS_PER_LEASE: Final = 5
RUNS_KEPT: Final = 30
FINGERPRINT_BYTES_KEPT: Final = 4_000_000
"""Half a million findings. A run with more stores none, so the next run cannot be compared with it."""
UNFINISHED_SECONDS: Final = 7 * 86_400
REQUESTED_SECONDS: Final = 7 * 86_400
"""The life of a request for a scan. By then, the schedule is long overdue."""
UNREADABLE: Final = (ValueError, RecursionError, KeyError, TypeError, AttributeError)
"""Errors from reading a value that no scan has written."""


class ScanRunningError(Exception):
    """Another scan is running. `progress` is None if that scan has just started."""

    def __init__(self, progress: ScanProgress | None) -> None:
        """See the class."""
        super().__init__("a scan is running already")
        self.progress = progress


class ScanLostError(Exception):
    """This scan did not renew its lease in time, and another scan has started."""

    def __init__(self) -> None:
        """See the class."""
        super().__init__(f"this scan did not renew its lease for {LEASE_SECONDS:.0f} s, and another scan has started")


@dataclass(frozen=True)
class ScanKeys:
    """The Redis keys of scans."""

    prefix: str

    @property
    def lease(self) -> str:
        """The token of the scan that holds the lease. Expires."""
        return f"{self.prefix}:scan:lease"

    @property
    def run(self) -> str:
        """The progress of the running or interrupted scan, as JSON. Expires after a week."""
        return f"{self.prefix}:scan:run"

    @property
    def history(self) -> str:
        """A list of the last runs as JSON, the newest first. Permanent, and short."""
        return f"{self.prefix}:scan:history"

    @property
    def fingerprints(self) -> str:
        """The fingerprints of the findings of the last complete run. Permanent, some megabytes at most."""
        return f"{self.prefix}:scan:fingerprints"

    @property
    def watermark(self) -> str:
        """The start of the last complete run that requested reconciles, in milliseconds since the epoch. Permanent."""
        return f"{self.prefix}:scan:watermark"

    @property
    def requested(self) -> str:
        """The time from which on changes may be unknown, so that a scan is needed, in milliseconds. Expires."""
        return f"{self.prefix}:scan:requested"


class ScanRecord:
    """The client of these keys, for one process."""

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float | None = None,
    ) -> None:
        """Open no connection. `redis` returns bytes.

        A scan has to call `renew` every `renew_seconds`, by default several times in `lease_seconds`, or it loses its
        lease.
        """
        self.renew_seconds = lease_seconds / RENEWALS_PER_LEASE if renew_seconds is None else renew_seconds
        self._lease_seconds = lease_seconds
        self._redis = redis
        self._prefix = prefix
        self._keys = ScanKeys(prefix)
        self._token = secrets.token_hex(8)
        self._scripts = Scripts(redis, "scan_lease")

    async def begin(self) -> ScanProgress | None:
        """Take the lease, and return the progress of the interrupted run if there is one.

        Raises ScanRunningError if another scan holds the lease.
        """
        if not await self._take_lease():
            # A lease of the wrong type would look like a scan that never ends.
            is_replaced = await delete_if_wrong(self._redis, self._prefix, self._keys.lease, "string")
            if not (is_replaced and await self._take_lease()):
                raise ScanRunningError(await self._last_sign())
        return await self.unfinished()

    async def _take_lease(self) -> bool:
        return bool(await self._redis.set(self._keys.lease, self._token, nx=True, px=self._lease_ms))

    async def renew(self, progress: ScanProgress) -> None:
        """Renew the lease and store the progress. Raises ScanLostError."""
        if not await self._run(self._lease_ms, progress.as_json()):
            raise ScanLostError

    async def release(self) -> None:
        """Release the lease."""
        await self._run(0, "")

    async def now_ms(self) -> int:
        """Return milliseconds since the epoch by the clock of Redis, because all times of scans are compared on it."""
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def unfinished(self) -> ScanProgress | None:
        """Return the progress of the running or interrupted scan; None if the last one is in the history."""
        last = await self._last_sign()
        # A run is stored before its report, and renews its lease until the report is done.
        is_noted = last is not None and any(run.run == last.run for run in await self.history())
        return None if is_noted else last

    async def end(self, run: ScanRun, *, fingerprints: bytes | None = None, serves_schedule: bool = False) -> None:
        """Add a run to the history. The next run is compared with its `fingerprints`."""
        await delete_if_wrong(self._redis, self._prefix, self._keys.history, "list")
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(self._keys.history, json.dumps(asdict(run)))
            pipe.ltrim(self._keys.history, 0, RUNS_KEPT - 1)
            pipe.delete(self._keys.run)
            if fingerprints is not None and len(fingerprints) <= FINGERPRINT_BYTES_KEPT:
                # The prefix tells an empty value from no value.
                pipe.set(self._keys.fingerprints, b"." + fingerprints)
            elif fingerprints is not None:
                pipe.delete(self._keys.fingerprints)
            if serves_schedule:
                pipe.set(self._keys.watermark, run.started_ms)
            await pipe.execute()

    async def fingerprints(self) -> bytes | None:
        """Return the fingerprints of the findings of the last complete run; None if there are none to compare with."""
        kept: bytes | None = await answer_or_none(self._redis.get(self._keys.fingerprints))
        return None if kept is None else kept[1:]

    async def watermark_ms(self) -> int | None:
        """Return the start of the last run that served the schedule; None if there is no valid value."""
        return await self._read_time(self._keys.watermark)

    async def request(self, since_ms: int) -> None:
        """Request a scan of what changed before `since_ms`. A run that started since then serves it."""
        await self._redis.set(self._keys.requested, since_ms, ex=REQUESTED_SECONDS)

    async def requested_ms(self) -> int | None:
        """Return the time of the last request; None if there is no valid one."""
        return await self._read_time(self._keys.requested)

    async def _read_time(self, key: str) -> int | None:
        kept: bytes = await answer_or_none(self._redis.get(key)) or b""
        return int(kept) if re.fullmatch(rb"[0-9]{1,15}", kept) else None

    async def history(self) -> tuple[ScanRun, ...]:
        """Return the last runs, the newest first, without those that cannot be read."""
        kept = await answer_or_none(self._redis.lrange(self._keys.history, 0, RUNS_KEPT - 1))  # type: ignore[arg-type]  # one type for both clients
        return tuple(run for run in map(_read_run, kept or []) if run is not None)

    async def _last_sign(self) -> ScanProgress | None:
        kept = await answer_or_none(self._redis.get(self._keys.run))
        try:
            progress = read_progress(kept) if kept else None
            return progress if progress is None or _is_whole(progress) else None
        except UNREADABLE:
            return None

    @property
    def _lease_ms(self) -> int:
        return int(self._lease_seconds * 1000)

    async def _run(self, lease_ms: int, progress: str) -> bool:
        keys = [self._keys.lease, self._keys.run]
        return bool(await self._scripts.run("scan_lease", keys, [self._token, lease_ms, progress, UNFINISHED_SECONDS]))


def _read_run(kept: bytes) -> ScanRun | None:
    """Read a run that `end` stored, also in another version; None if it is anything else."""
    try:
        stored = json.loads(kept)
        changed = Changed(**_known(Changed, stored["changed"])) if stored.get("changed") else None
        run = ScanRun(**{**_known(ScanRun, stored), "changed": changed})
        numbers = [getattr(run, each.name) for each in fields(ScanRun) if each.type is int]
        counts = [*numbers, *run.totals.values(), *(asdict(changed).values() if changed else ())]
        texts = (run.run, run.state, run.scope, run.error, run.text)
        is_whole = all(_is_count(each) for each in counts) and all(isinstance(each, str) for each in texts)
    except UNREADABLE:
        return None
    return run if is_whole else None


def _is_whole(progress: ScanProgress) -> bool:
    parts: list[ScanProgress | Trouble] = [progress, *progress.troubles]
    values = [(each, getattr(part, each.name)) for part in parts for each in fields(part) if each.name != "troubles"]
    return all(_is_count(value) if each.type is int else isinstance(value, str) for each, value in values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PLAUSIBLE


def _known(kind: type[Changed | ScanRun], stored: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: stored[each.name] for each in fields(kind) if each.name in stored}
