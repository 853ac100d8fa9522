"""What Redis knows of scans: who may scan now and how far that is, the watermark, and the last runs.

Owns these keys. Everything in here is bounded, however many customers and findings there are.
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
    """A call that fails and is tried again: the service, the code of the last error, and the tries so far.

    It is tried until `gives_up_after_tries`, or, if that is 0, for `gives_up_in_seconds` from the last failure on.
    """

    service: str = ""
    error: str = ""
    tries: int = 0
    gives_up_in_seconds: int = 0
    gives_up_after_tries: int = 0


@dataclass
class ScanProgress:
    """Counters of one run, so far. Times are in milliseconds since the epoch, on the clock of Redis.

    `expected` is how many customers both sides had in the run before, together; 0 where that is not known. `findings`
    are counted while comparing. `looked_up` are customers whose other side no list showed, `not_checked` those beyond
    the bound. `troubles` are the calls that fail now.
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
        """Customers that were read, of both sides."""
        return self.autumn + self.stripe

    def as_json(self) -> str:
        """To be kept where others can read it."""
        return json.dumps(asdict(self))


def read_progress(kept: bytes | str) -> ScanProgress:
    """What `as_json` wrote, by whatever version."""
    progress = _read(ScanProgress, json.loads(kept))
    progress.troubles = [_read(Trouble, each) for each in json.loads(kept).get("troubles", [])]
    return progress


def _read(kind: type[Kept], said: Mapping[str, Any]) -> Kept:
    return kind(**{each.name: said[each.name] for each in fields(kind) if each.name in said})


LEASE_SECONDS: Final = 15.0
"""How long after its last sign of life a scan is taken for dead."""
RUNS_KEPT: Final = 30
FINGERPRINT_BYTES_KEPT: Final = 4_000_000
"""Half a million findings; of a run with more there is nothing to compare the next one with."""
UNFINISHED_SECONDS: Final = 7 * 86_400
UNREADABLE: Final = (ValueError, RecursionError, KeyError, TypeError, AttributeError)
"""What reading something raises that no scan has written."""


class ScanRunningError(Exception):
    """A scan runs already; `progress` is how far it is, None where it has only just begun."""

    def __init__(self, progress: ScanProgress | None) -> None:
        """See the class."""
        super().__init__("a scan is running already")
        self.progress = progress


class ScanLostError(Exception):
    """Another scan has begun, because this one gave no sign of life for too long."""

    def __init__(self) -> None:
        """See the class."""
        super().__init__(f"this scan gave no sign of life for {LEASE_SECONDS:.0f} s, and another one has begun")


@dataclass(frozen=True)
class ScanKeys:
    """The keys in Redis of scans."""

    prefix: str

    @property
    def lease(self) -> str:
        """The token of who scans. Runs out."""
        return f"{self.prefix}:scan:lease"

    @property
    def run(self) -> str:
        """How far the scan is that runs, or that was cut short, as JSON. Lives a week at most."""
        return f"{self.prefix}:scan:run"

    @property
    def history(self) -> str:
        """A list of the last runs as JSON, the newest first. Permanent, and short."""
        return f"{self.prefix}:scan:history"

    @property
    def fingerprints(self) -> str:
        """Those of the findings of the last whole run. Permanent, some megabytes at most."""
        return f"{self.prefix}:scan:fingerprints"

    @property
    def watermark(self) -> str:
        """When the last whole run that asked for syncs began, in milliseconds. Permanent."""
        return f"{self.prefix}:scan:watermark"


class ScanRecord:
    """The door to these keys, for one process."""

    def __init__(self, redis: Redis, prefix: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """Opens nothing. `redis` answers in bytes."""
        self.lease_seconds = lease_seconds
        self._redis = redis
        self._prefix = prefix
        self._keys = ScanKeys(prefix)
        self._token = secrets.token_hex(8)
        self._scripts = Scripts(redis, "scan")

    async def begin(self) -> ScanProgress | None:
        """Take the right to scan; how far the run came that was cut short, if one was.

        Raises ScanRunningError where another has it.
        """
        if not await self._take_lease():
            # A lease of the wrong type would look like a scan that never ends.
            is_replaced = await delete_if_wrong(self._redis, self._prefix, self._keys.lease, "string")
            if not (is_replaced and await self._take_lease()):
                raise ScanRunningError(await self._last_sign())
        return await self.unfinished()

    async def _take_lease(self) -> bool:
        return bool(await self._redis.set(self._keys.lease, self._token, nx=True, px=self._lease_ms))

    async def keep(self, progress: ScanProgress) -> None:
        """Keep the right, and tell how far the run is. Raises ScanLostError."""
        if not await self._run(self._lease_ms, progress.as_json()):
            raise ScanLostError

    async def give_back(self) -> None:
        """Let others scan."""
        await self._run(0, "")

    async def now_ms(self) -> int:
        """Milliseconds since the epoch by the clock of Redis, which all that is compared here goes by."""
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def unfinished(self) -> ScanProgress | None:
        """How far the scan is that runs, or that was cut short; None where the last one is noted."""
        last = await self._last_sign()
        # A run is noted before it is reported, and gives signs of life until that is over.
        is_noted = last is not None and any(run.run == last.run for run in await self.history())
        return None if is_noted else last

    async def end(self, run: ScanRun, *, fingerprints: bytes | None = None, serves_schedule: bool = False) -> None:
        """Note how a run ended; with `fingerprints` the next one is compared with it."""
        await delete_if_wrong(self._redis, self._prefix, self._keys.history, "list")
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(self._keys.history, json.dumps(asdict(run)))
            pipe.ltrim(self._keys.history, 0, RUNS_KEPT - 1)
            pipe.delete(self._keys.run)
            if fingerprints is not None and len(fingerprints) <= FINGERPRINT_BYTES_KEPT:
                # An empty value would not be told from none.
                pipe.set(self._keys.fingerprints, b"." + fingerprints)
            elif fingerprints is not None:
                pipe.delete(self._keys.fingerprints)
            if serves_schedule:
                pipe.set(self._keys.watermark, run.started_ms)
            await pipe.execute()

    async def fingerprints(self) -> bytes | None:
        """Those of the findings of the last whole run; None where there are none to compare with."""
        kept: bytes | None = await answer_or_none(self._redis.get(self._keys.fingerprints))
        return None if kept is None else kept[1:]

    async def watermark_ms(self) -> int | None:
        """When the last run began that did what the schedule asks for; None if there was none, or it is no number."""
        kept: bytes = await answer_or_none(self._redis.get(self._keys.watermark)) or b""
        return int(kept) if re.fullmatch(rb"[0-9]{1,15}", kept) else None

    async def history(self) -> tuple[ScanRun, ...]:
        """The last runs, the newest first, without those that cannot be read."""
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
        return int(self.lease_seconds * 1000)

    async def _run(self, lease_ms: int, progress: str) -> bool:
        keys = [self._keys.lease, self._keys.run]
        return bool(await self._scripts.run("scan", keys, [self._token, lease_ms, progress, UNFINISHED_SECONDS]))


def _read_run(kept: bytes) -> ScanRun | None:
    """Return what `end` noted, also in another version; None if it is something else."""
    try:
        said = json.loads(kept)
        changed = Changed(**_known(Changed, said["changed"])) if said.get("changed") else None
        run = ScanRun(**{**_known(ScanRun, said), "changed": changed})
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


def _known(kind: type[Changed | ScanRun], said: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: said[each.name] for each in fields(kind) if each.name in said}
