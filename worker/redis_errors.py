"""The texts for errors of Redis, and whether a setting causes the error.

The doctor, the command line and a starting worker use the same texts.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from jobs.queue.key_types import is_wrong_type
from worker.redis_access import right_to
from worker.tls import answers_by_tls, answers_without_tls, is_untrusted

_CODE: Final = re.compile(r"\b(WRONGTYPE|NOPERM|NOAUTH|OOM|MISCONF|READONLY|LOADING|BUSY|NOREPLICAS|MASTERDOWN)\b")
OF_A_CLUSTER: Final = ("MOVED ", "ASK ", "CLUSTERDOWN", "CROSSSLOT", "SELECT is not allowed in cluster mode")
OF_A_DATABASE: Final = ("DB index is out of range", "invalid DB index")
WRONG_TYPE: Final = "docs/operations.md, A key of the wrong type"
WHOLE_RULE: Final = "docs/deploy.md has the complete rule for a separate user"
NO_WRITES: Final[Mapping[str, tuple[str, str]]] = {
    "MISCONF": ("it cannot write to its disk", "Free space on the disk of Redis; its log has the cause"),
    "NOREPLICAS": ("too few replicas follow it", "Start its replicas, or lower min-replicas-to-write"),
    "OOM": ("it has no memory left", "Give Redis more memory, or raise maxmemory"),
    "READONLY": ("it is a read-only replica", "Check that REDIS_URL names the primary"),
}
"""The codes with which Redis refuses writes but still serves reads, each with its cause and what to do."""


@dataclass(frozen=True)
class Trouble:
    """A problem and what to do about it. With `is_setting` it lasts until a person fixes a setting or a rule."""

    text: str
    fix: str
    is_setting: bool = True

    def __str__(self) -> str:
        """Return the problem and the fix as sentences."""
        return f"{self.text}. {self.fix}"


def trouble_of(error: RedisError) -> Trouble:
    """Return the trouble that the error alone shows."""
    name = type(error).__name__
    if isinstance(error, AuthenticationError):
        return Trouble(f"Redis refuses the user or the password ({name})", "Correct REDIS_URL")
    if isinstance(error, NoPermissionError):
        return _no_permission(right_to(error), name)
    if isinstance(error, InvalidResponse):
        return Trouble(f"The server at REDIS_URL is not a Redis ({name})", "Correct the host and the port of REDIS_URL")
    if isinstance(error, ResponseError):
        return _refused(error)
    return _tls_trouble(error) or Trouble(
        f"Redis does not answer ({name})", "Check REDIS_URL, and check that Redis runs", is_setting=False
    )


def trouble_of_rights(lacking: Sequence[str]) -> Trouble:
    """Return the trouble of missing rights (worker.redis_access)."""
    rights = " ".join(lacking)
    return Trouble(
        f"The user of REDIS_URL lacks rights: {rights}", f"Add them with ACL SETUSER NAME {rights}; {WHOLE_RULE}"
    )


def trouble_of_types(wrong: Sequence[str]) -> Trouble:
    """Return the trouble of keys of the wrong type (worker.checks.key_types)."""
    return Trouble("; ".join(wrong), f"Set INBOX_STREAM to the stream of the apps, or see {WRONG_TYPE}")


async def reach(redis: Redis) -> None:
    """Send PING. A Redis that only refuses writes counts as reached. Raises RedisError.

    If its disk fails, Redis refuses PING like a write.
    """
    try:
        await redis.ping()
    except ResponseError as error:
        if not refuses_writes(error):
            raise


def refuses_writes(error: ResponseError) -> bool:
    """Return whether Redis refuses all writes but still serves reads."""
    return _code_of(error) in NO_WRITES


def _code_of(error: ResponseError) -> str:
    # redis-py has a class for these two, and removes the code from the text.
    if isinstance(error, OutOfMemoryError):
        return "OOM"
    return "READONLY" if isinstance(error, ReadOnlyError) else redis_code(error)


async def trouble_with(redis: Redis, error: RedisError) -> Trouble:
    """Return the trouble of an error. If Redis does not answer, also try it with TLS instead of without, or reverse.

    That takes at most 5 seconds.
    """
    pool = redis.connection_pool
    host, port = pool.connection_kwargs.get("host"), pool.connection_kwargs.get("port", 6379)
    trouble = trouble_of(error)
    if trouble.is_setting or host is None or not isinstance(error, ConnectionError | TimeoutError):
        return trouble
    if issubclass(pool.connection_class, SSLConnection):
        if any(isinstance(cause, FileNotFoundError | IsADirectoryError) for cause in _chain(error)):
            return Trouble("A TLS file that REDIS_URL names cannot be read", "Correct its path")
        return NO_TLS if await answers_without_tls(host, port) else trouble
    if await answers_by_tls(host, port):
        return Trouble("Redis uses TLS at this port", "Write rediss:// instead of redis:// in REDIS_URL")
    return trouble


NO_TLS: Final = Trouble(
    "Redis does not use TLS at this port", "Write redis:// instead of rediss:// in REDIS_URL, or use the port for TLS"
)


def _no_permission(right: str, name: str) -> Trouble:
    what = f"a command ({right})" if right else "one of our keys"
    fix = f"Add {right} to the user's rule" if right else "Add the pattern of our keys to the user's rule"
    return Trouble(f"Redis refuses {what} to the user of REDIS_URL ({name})", f"{fix}; {WHOLE_RULE}")


def _refused(error: ResponseError) -> Trouble:
    if str(error).startswith(OF_A_CLUSTER):
        return Trouble("Redis is a cluster", "Set REDIS_URL to a single server, with or without a replica")
    if str(error).startswith(OF_A_DATABASE):
        return Trouble("Redis has no database with this number", "Correct the number at the end of REDIS_URL")
    if is_wrong_type(error):
        text = "One of our keys has the wrong type (WRONGTYPE)"
        return Trouble(text, f"Run customer-sync doctor, which names the key; see {WRONG_TYPE}", is_setting=False)
    code = _code_of(error)
    if code in NO_WRITES:
        cause, fix = NO_WRITES[code]
        return Trouble(f"Redis refuses writes: {cause} ({code})", fix, is_setting=False)
    return Trouble(f"Redis refuses a command ({reason_of(error)})", "See the log of Redis", is_setting=False)


def _tls_trouble(error: BaseException) -> Trouble | None:
    """Return the trouble with TLS. None if the error is not about TLS, or may pass by itself."""
    if is_untrusted(error):
        text = "The certificate of Redis is not trusted or has another name (CERTIFICATE_VERIFY_FAILED)"
        return Trouble(text, "See docs/deploy.md, Redis over TLS, for REDIS_URL and REDIS_CERTIFICATE")
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
            return None
        if isinstance(cause, ssl.SSLError):
            if cause.reason == "WRONG_VERSION_NUMBER":
                return NO_TLS
            return Trouble(f"TLS with Redis fails ({cause.reason})", "See docs/deploy.md, Redis over TLS")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def reason_of(error: Exception) -> str:
    """Return the type of an error, and Redis' code if there is one, without the rest of the message."""
    code = redis_code(error)
    return type(error).__name__ + (f" {code}" if code else "")


def redis_code(error: Exception) -> str:
    """Return the code in the text of a Redis error, or "" if there is none. redis-py removes some codes."""
    found = _CODE.search(str(error)) if isinstance(error, RedisError) else None
    return found.group() if found else ""
