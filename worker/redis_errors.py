"""What an error of Redis means, in words for a person, and whether a setting is to blame for it.

The doctor, the command line and the start of a worker all speak from here, so that they agree.
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
WHOLE_RULE: Final = "docs/deploy.md has the whole rule for a user of one's own"
NO_WRITES: Final[Mapping[str, tuple[str, str]]] = {
    "MISCONF": ("it cannot write to its disk", "Make room on the disk of Redis; its log says what fails"),
    "NOREPLICAS": ("too few replicas follow it", "Start its replicas, or lower min-replicas-to-write"),
    "OOM": ("it has no memory left", "Give Redis more memory, or raise maxmemory"),
    "READONLY": ("it is a read-only replica", "Check that REDIS_URL names the primary"),
}
"""The codes with which Redis refuses a write, each with its cause and what to do. It still serves reads."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong and what to do about it. With `is_setting` it stays until a person mends a setting or a rule."""

    text: str
    fix: str
    is_setting: bool = True

    def __str__(self) -> str:
        """Return both as sentences."""
        return f"{self.text}. {self.fix}"


def trouble_of(error: RedisError) -> Trouble:
    """Return what the error means by itself."""
    name = type(error).__name__
    if isinstance(error, AuthenticationError):
        return Trouble(f"Redis refuses the user or the password ({name})", "Correct REDIS_URL")
    if isinstance(error, NoPermissionError):
        return _no_permission(right_to(error), name)
    if isinstance(error, InvalidResponse):
        return Trouble(f"What answers is not a Redis ({name})", "Correct the host and the port of REDIS_URL")
    if isinstance(error, ResponseError):
        return _refused(error)
    return _tls_trouble(error) or Trouble(
        f"Redis does not answer ({name})", "Check REDIS_URL, and that Redis runs", is_setting=False
    )


def trouble_of_rights(lacking: Sequence[str]) -> Trouble:
    """Return what it means that these rights are lacking (worker.redis_access)."""
    rights = " ".join(lacking)
    return Trouble(
        f"The user of REDIS_URL lacks rights: {rights}", f"Add them: ACL SETUSER NAME {rights}; {WHOLE_RULE}"
    )


def trouble_of_types(wrong: Sequence[str]) -> Trouble:
    """Return what it means that keys have the wrong type (worker.checks.key_types)."""
    return Trouble("; ".join(wrong), f"Set INBOX_STREAM to the stream of the apps, or see {WRONG_TYPE}")


async def reach(redis: Redis) -> None:
    """Send PING; a Redis that refuses writes is reached. Raises RedisError.

    With a disk that fails Redis refuses PING as if it were a write.
    """
    try:
        await redis.ping()
    except ResponseError as error:
        if not refuses_writes(error):
            raise


def refuses_writes(error: ResponseError) -> bool:
    """Return whether Redis takes no write at all, and still serves reads."""
    return _code_of(error) in NO_WRITES


def _code_of(error: ResponseError) -> str:
    # redis-py tells these two by their class, and leaves the code out of the text.
    if isinstance(error, OutOfMemoryError):
        return "OOM"
    return "READONLY" if isinstance(error, ReadOnlyError) else redis_code(error)


async def trouble_with(redis: Redis, error: RedisError) -> Trouble:
    """Return what the error means. If Redis does not answer, look whether it would with the other kind of address.

    That takes 5 seconds at most.
    """
    pool = redis.connection_pool
    host, port = pool.connection_kwargs.get("host"), pool.connection_kwargs.get("port", 6379)
    trouble = trouble_of(error)
    if trouble.is_setting or host is None or not isinstance(error, ConnectionError | TimeoutError):
        return trouble
    if issubclass(pool.connection_class, SSLConnection):
        if any(isinstance(cause, FileNotFoundError | IsADirectoryError) for cause in _chain(error)):
            return Trouble("A file that REDIS_URL names for TLS cannot be read", "Correct its path")
        return NO_TLS if await answers_without_tls(host, port) else trouble
    if await answers_by_tls(host, port):
        return Trouble("Redis speaks TLS at this port", "Write rediss:// instead of redis:// in REDIS_URL")
    return trouble


NO_TLS: Final = Trouble(
    "Redis speaks no TLS at this port", "Write redis:// instead of rediss:// in REDIS_URL, or name the port for TLS"
)


def _no_permission(right: str, name: str) -> Trouble:
    what = f"a command ({right})" if right else "one of our keys"
    fix = f"Add {right} to its rule" if right else "Add the pattern of our keys to its rule"
    return Trouble(f"Redis refuses {what} to the user of REDIS_URL ({name})", f"{fix}; {WHOLE_RULE}")


def _refused(error: ResponseError) -> Trouble:
    if str(error).startswith(OF_A_CLUSTER):
        return Trouble("Redis is a cluster", "Let REDIS_URL name one node, or one with a replica to fail over to")
    if str(error).startswith(OF_A_DATABASE):
        return Trouble("Redis has no database of this number", "Correct the number at the end of REDIS_URL")
    if is_wrong_type(error):
        text = "A key of ours holds another type of value than it should (WRONGTYPE)"
        return Trouble(text, f"customer-sync doctor names it; {WRONG_TYPE}", is_setting=False)
    code = _code_of(error)
    if code in NO_WRITES:
        cause, fix = NO_WRITES[code]
        return Trouble(f"Redis takes no write: {cause} ({code})", fix, is_setting=False)
    return Trouble(f"Redis refuses a command ({reason_of(error)})", "The log of Redis says more", is_setting=False)


def _tls_trouble(error: BaseException) -> Trouble | None:
    """What is wrong with TLS; None if the error is not about it, or may pass by itself."""
    if is_untrusted(error):
        text = "The certificate of Redis is not trusted, or is for another name (CERTIFICATE_VERIFY_FAILED)"
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
    """Return the type of an error, with Redis' code for it if there is one, and nothing of what was sent."""
    code = redis_code(error)
    return type(error).__name__ + (f" {code}" if code else "")


def redis_code(error: Exception) -> str:
    """Return the code that an error of Redis has in its text; "" if it has none. redis-py leaves some codes out."""
    found = _CODE.search(str(error)) if isinstance(error, RedisError) else None
    return found.group() if found else ""
