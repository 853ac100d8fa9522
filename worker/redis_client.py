"""The Redis client of a worker, which survives a Redis that restarts or is away for a while.

redis-py retries a command whose connection broke, but gives up at once if connecting fails, and arq ends then. In this
client connecting itself waits, so every command, including arq's, goes on when Redis is back.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.jobs import Job
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from jobs.queue.key_types import is_wrong_type
from jobs.queue.mailbox import MailboxKeys
from worker.redis_access import ONLY_LOGGED
from worker.redis_errors import redis_code, refuses_writes
from worker.tls import VerifiedSSLConnection, is_untrusted

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 120.0
"""The longest time that Redis may be away. After that the process ends, so that the platform restarts it."""
PAUSE_SECONDS = 0.25
COMMAND_RETRIES = 3
READ_SECONDS = 10.0


class _Presence:
    """The time when Redis last answered, shared by all connections of a client, so that they give up together.

    If each connection had its own time, retries and queued commands would wait one after another, and the process would
    end much later.
    """

    def __init__(self, answered: Callable[[], None], patience_seconds: float) -> None:
        self._answered = answered
        self._patience_seconds = patience_seconds
        self._seen_at = time.monotonic()

    def seen(self) -> None:
        self._seen_at = time.monotonic()
        self._answered()

    @property
    def is_given_up(self) -> bool:
        return time.monotonic() - self._seen_at >= self._patience_seconds


class _Patient:
    """A connection that keeps connecting while Redis is away or still loads its data."""

    def __init__(self, *, presence: _Presence, read_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._presence = presence
        self._read_seconds = read_seconds

    async def connect(self) -> None:
        """Connect, and retry until Redis has been away for too long.

        Raises ConnectionError then, or at once if the certificate is not trusted. Raises AuthenticationError at once.
        """
        while True:
            try:
                await self._connect_and_check()
            except AuthenticationError:
                raise
            except (ConnectionError, TimeoutError) as error:
                if is_untrusted(error) or self._presence.is_given_up:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    async def _connect_and_check(self) -> None:
        if self.is_connected:  # type: ignore[attr-defined]  # of the connection this is mixed into
            return
        await super().connect()  # type: ignore[misc]
        try:
            # A Redis that still loads its file accepts connections and refuses commands.
            await self._send_ping()
        except (ConnectionError, TimeoutError):
            await self.disconnect()  # type: ignore[attr-defined]
            raise

    async def _send_ping(self) -> None:
        """Send PING. A Redis that refuses writes passes. redis-py's check of an idle connection calls this too.

        If its disk fails, Redis refuses PING like a write, but still serves reads.
        """
        try:
            await super()._send_ping()  # type: ignore[misc]
        except ResponseError as error:
            if not refuses_writes(error):
                raise

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command. If it takes longer than `read_seconds`, close the connection, so that the send fails.

        If Redis vanished without closing the connection, sending blocks as soon as the buffers are full. Raises
        ConnectionError for a connection that was closed since its last answer.
        """
        if not self.is_connected:  # type: ignore[attr-defined]
            await self.connect()
        elif self._writer.transport.is_closing():  # type: ignore[attr-defined]
            # After a pause of the process, `read_response` closed it too late. uvloop would raise RuntimeError, which
            # nobody retries.
            raise ConnectionError("the connection is closed")
        timer = asyncio.get_running_loop().call_later(self._read_seconds, self._hang_up)
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        finally:
            timer.cancel()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Return the response. If there is none within `read_seconds`, close the connection, so that the read fails.

        redis-py's own `socket_timeout` sends through asyncio.wait_for, which may swallow a cancellation on Python 3.11,
        so a stopping worker would go on. asyncio.timeout takes longer than reading most responses.
        """
        timer = asyncio.get_running_loop().call_later(self._read_seconds, self._hang_up)
        try:
            answer = await super().read_response(*args, **options)  # type: ignore[misc]
        finally:
            timer.cancel()
        self._presence.seen()
        return answer

    def _hang_up(self) -> None:
        if self._writer is not None:  # type: ignore[attr-defined]
            self._writer.transport.abort()  # type: ignore[attr-defined]


class PatientConnection(_Patient, Connection):
    """A patient connection over TCP."""


class PatientSSLConnection(_Patient, VerifiedSSLConnection):
    """A patient connection over TLS."""


class PatientUnixConnection(_Patient, UnixDomainSocketConnection):
    """A patient connection over a Unix socket."""


PATIENT: dict[type[AbstractConnection], Any] = {
    Connection: PatientConnection,
    SSLConnection: PatientSSLConnection,
    UnixDomainSocketConnection: PatientUnixConnection,
}


class PatientPipeline(Pipeline):
    """A pipeline that raises WatchError only in `execute` if its connection broke after WATCH.

    redis-py raises it at the next command, where arq does not expect it and ends.
    """

    _watch_lost = False

    async def _disconnect_reset_raise(self, conn: Connection, error: Exception) -> None:
        if not self.watching:
            await super()._disconnect_reset_raise(conn, error)  # type: ignore[no-untyped-call]
            return
        await conn.disconnect()
        self._watch_lost = True

    async def parse_response(self, connection: Connection, command_name: str | bytes, **options: Any) -> Any:
        """Return the answer, or an empty one if the user may not run a command that arq only logs."""
        try:
            return await super().parse_response(connection, command_name, **options)
        except ResponseError:
            if command_name in ONLY_LOGGED:
                return {}
            raise

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute the queued commands. Raises WatchError if the connection broke since WATCH."""
        if self._watch_lost:
            self._watch_lost = False
            await self.reset()  # type: ignore[no-untyped-call]
            raise WatchError("the connection broke while keys were watched")
        answers: list[Any] = await super().execute(raise_on_error)
        return answers


class PatientRedis(ArqRedis):
    """arq's client with that pipeline.

    arq would end at an error in its own loop. So this client deletes a queue of the wrong type, and logs writes of that
    loop that Redis refuses.
    """

    async def zrangebyscore(self, name: Any, *args: Any, **options: Any) -> Any:
        """Return the due jobs of a queue. If it has the wrong type, delete it and return none."""
        return await self._or_replace(name, super().zrangebyscore(name, *args, **options), [])

    async def zcard(self, name: Any) -> int:
        """Return the number of jobs in a queue. If it has the wrong type, delete it and return 0."""
        return int(await self._or_replace(name, super().zcard(name), 0))

    async def psetex(self, name: Any, *args: Any) -> Any:
        """Store the time of arq's last health check, unless Redis refuses writes. Return None then."""
        try:
            return await super().psetex(name, *args)
        except ResponseError as error:
            return _log_refused_write(error, name)

    async def enqueue_job(self, function: str, *args: Any, **options: Any) -> Job | None:
        """Add a job as arq's cron and the dispatch do, unless Redis refuses writes. Return None then."""
        try:
            return await super().enqueue_job(function, *args, **options)
        except ResponseError as error:
            _log_refused_write(error, function)
            return None

    async def _or_replace(self, name: Any, answer: Any, instead: Any) -> Any:
        try:
            return await answer
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
        if await self.type(name) != b"zset":
            await self.delete(name)
            log.warning("key_replaced", key=name)
        return instead

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> PatientPipeline:
        """Return a new pipeline."""
        return PatientPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def _log_refused_write(error: ResponseError, name: str) -> None:
    """Log it if Redis refuses all writes. Raises any other error."""
    if not refuses_writes(error):
        raise error
    log.warning("write_refused", of=name, error=redis_code(error))


def queue_name(prefix: str) -> str:
    """Return the name of our arq queue. With arq's default, other apps on the same Redis would take our jobs."""
    return MailboxKeys(prefix).queue


def scan_queue_name(prefix: str) -> str:
    """Return the name of the scanners' queue. It is separate, because a worker does not know their jobs."""
    return f"{prefix}:scans"


def open_redis(
    url: str,
    prefix: str,
    certificate: str | None = None,
    *,
    client: type[PatientRedis] = PatientRedis,
    answered: Callable[[], None] = lambda: None,
    patience_seconds: float = PATIENCE_SECONDS,
    read_seconds: float = READ_SECONDS,
) -> ArqRedis:
    """Return a client that connects on its first use, survives an absent Redis, and stores arq's jobs as JSON.

    `client` is the class of the client. `certificate` is the only trusted one, in PEM. None is for a certificate of an
    authority, or without TLS. `answered` is called for each command that Redis answers. A connection is closed if Redis
    does not accept or answer a command within `read_seconds`.
    """
    pool = ConnectionPool.from_url(
        url,
        socket_connect_timeout=5,
        health_check_interval=15,
        retry=Retry(ConstantBackoff(0.05), COMMAND_RETRIES),
        retry_on_error=[ConnectionError, TimeoutError],
        presence=_Presence(answered, patience_seconds),
        read_seconds=read_seconds,
        **_only(certificate),
    )
    pool.connection_class = PATIENT[pool.connection_class]
    return client(pool, job_serializer=to_json, job_deserializer=json.loads, default_queue_name=queue_name(prefix))


def open_briefly(url: str, certificate: str | None = None, *, seconds: float = 10.0) -> Redis:
    """Return a client that never repeats a command. Unlike that of `open_redis` it does not wait for an absent Redis.

    An answer may take so many seconds.
    """
    pool = ConnectionPool.from_url(url, socket_timeout=seconds, socket_connect_timeout=5, **_only(certificate))
    if pool.connection_class is SSLConnection:
        pool.connection_class = VerifiedSSLConnection
    return Redis.from_pool(pool)


def _only(certificate: str | None) -> dict[str, str]:
    return {} if certificate is None else {"certificate": certificate}


def to_json(job: dict[str, Any]) -> bytes:
    """Return a job as JSON for arq. With arq's pickles, a writer to Redis could run code in the worker."""
    return json.dumps(job).encode()
