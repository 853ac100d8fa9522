"""The way over Redis: add to the inbox, read outcomes. It needs the package redis."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis import Redis as SyncRedis
from redis import exceptions
from redis.asyncio import Redis as AsyncRedis

from autumn_sync_client.errors import ClientError, Unauthorized, Unavailable, UnexpectedAnswer
from autumn_sync_client.events import CustomerUpdate
from autumn_sync_client.outcomes import Outcome
from autumn_sync_client.redis_commands import URL_FORM, Command, add_event, get_outcome, id_of, outcome_in

Opened = TypeVar("Opened", SyncRedis, AsyncRedis)
TIMEOUT_SECONDS: Final = 10.0
"""For connecting and for each answer."""
_CODE: Final = re.compile(r"(?:^|caused error: |because of: )([A-Z]+) ")
_TRY_LATER: Final = {"BUSY", "EXECABORT", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY"}
_REFUSALS: Final = {"EXEC", "NOAUTH", "NOPERM"}
"""If the user may not use MULTI, redis-py still sends EXEC, and Redis answers "EXEC without MULTI"."""
_REFUSES_THE_USER: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
)
_NO_ANSWER: Final = (exceptions.ConnectionError, exceptions.TimeoutError)
_TAKES_NO_WRITES: Final = (
    exceptions.ExecAbortError,
    exceptions.MasterDownError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
)


@dataclass(frozen=True)
class Commands:
    """Commands in one round trip, and whether Redis executes all of them or none."""

    commands: Sequence[Command]
    is_transaction: bool = False


@dataclass(frozen=True)
class RedisRequests:
    """The requests over Redis. `stream` is the inbox, and `prefix` that of the worker's keys."""

    stream: str
    prefix: str

    def to_send(self, updates: Sequence[CustomerUpdate]) -> Commands:
        """Return the commands that add events. Several are added together, or a repetition could change their order."""
        return Commands([add_event(update, self.stream) for update in updates], is_transaction=len(updates) > 1)

    def ids(self, updates: Sequence[CustomerUpdate], answer: Sequence[Any]) -> list[str]:
        """Return the id of each event."""
        for each in answer:
            if isinstance(each, exceptions.RedisError):
                raise error_of(each)
        return [id_of(update, entry_id) for update, entry_id in zip(updates, answer, strict=True)]

    def to_read(self, event_id: str, wait_seconds: float) -> Commands:  # noqa: ARG002 - Redis does not wait
        """Return the commands that read an outcome."""
        return Commands(get_outcome(event_id, self.prefix))

    def outcome(self, answer: Sequence[Any]) -> Outcome | None:
        """Return the outcome, None if nothing is known of the event."""
        try:
            return outcome_in(answer)
        except exceptions.RedisError as error:
            failed = error_of(error)
        raise failed


def _opened(kind: type[Opened], url: str) -> Opened:
    """Return a client for a URL. Raises ValueError, which shows no part of it, if it cannot be one."""
    try:
        opened: Opened = kind.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
    except ValueError:
        # Its text may contain a part of the password.
        pass
    else:
        return opened
    raise ValueError(f"the URL of Redis is not valid: write {URL_FORM}")


class SyncConnection:
    """A connection of the sync client. `close` closes it only if it was opened here."""

    def __init__(self, url_or_client: "str | SyncRedis") -> None:
        """Open a client for a URL, or use the given one."""
        self._is_own = isinstance(url_or_client, str)
        self._redis = _opened(SyncRedis, url_or_client) if isinstance(url_or_client, str) else url_or_client

    def call(self, request: Commands) -> Sequence[Any]:
        """Return the answer of each command, which may be an error. Raises ClientError."""
        try:
            with self._redis.pipeline(transaction=request.is_transaction) as pipe:
                for command in request.commands:
                    pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no type for it
                return pipe.execute(raise_on_error=False)
        except exceptions.RedisError as error:
            failed = error_of(error)
        # Raise it here, without redis-py's error as its context, because that text may contain the event.
        raise failed

    def close(self) -> None:
        """Close the connection."""
        if self._is_own:
            self._redis.close()


class AsyncConnection:
    """A connection of the async client. `close` closes it only if it was opened here."""

    def __init__(self, url_or_client: "str | AsyncRedis") -> None:
        """Open a client for a URL, or use the given one."""
        self._is_own = isinstance(url_or_client, str)
        self._redis = _opened(AsyncRedis, url_or_client) if isinstance(url_or_client, str) else url_or_client

    async def call(self, request: Commands) -> Sequence[Any]:
        """Return the answer of each command, which may be an error. Raises ClientError."""
        try:
            async with self._redis.pipeline(transaction=request.is_transaction) as pipe:
                for command in request.commands:
                    pipe.execute_command(*command)
                return await pipe.execute(raise_on_error=False)
        except exceptions.RedisError as error:
            failed = error_of(error)
        raise failed

    async def close(self) -> None:
        """Close the connection."""
        if self._is_own:
            await self._redis.aclose()


def error_of(error: exceptions.RedisError) -> ClientError:
    """Return the client's error for one of redis-py. Its text has the code, and never a value of an event."""
    codes = _CODE.findall(str(error))
    reason = f"{type(error).__name__} {codes[-1]}" if codes else type(error).__name__
    if isinstance(error, _REFUSES_THE_USER) or _REFUSALS & set(codes[-1:]):
        return Unauthorized(f"Redis refuses the user, the password, the key or the command ({reason})")
    if isinstance(error, _NO_ANSWER):
        return Unavailable(f"Redis does not answer ({reason}: {error})")
    if isinstance(error, _TAKES_NO_WRITES) or _TRY_LATER & set(codes[-1:]):
        return Unavailable(f"Redis takes no writes now ({reason})")
    return UnexpectedAnswer(f"Redis refuses a command ({reason})")
