"""The clients: `Client`, and `AsyncClient` for apps with an event loop. Both do the steps of `steps`.

A way is imported when a client uses it, because each needs a package that is an extra.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from autumn_sync_client.errors import ClientError
from autumn_sync_client.outcomes import Outcome
from autumn_sync_client.redis_commands import INBOX_STREAM, KEY_PREFIX
from autumn_sync_client.steps import Pause, Requests, Steps, Update, Value, sending, waiting

if TYPE_CHECKING:
    import redis
    import redis.asyncio


class _Connection(Protocol):
    def call(self, request: Any) -> Any: ...
    def close(self) -> None: ...


class _AsyncConnection(Protocol):
    def call(self, request: Any) -> Awaitable[Any]: ...
    def close(self) -> Awaitable[None]: ...


class Client:
    """Sends events to the worker and reads their outcomes. Make one with `over_redis` or `over_http`.

    It may be used by several threads. `close` it, or use it as a context manager.
    """

    def __init__(self, requests: Requests, connection: _Connection) -> None:
        """Use a way to the worker and a connection of it."""
        self._requests = requests
        self._connection = connection

    @classmethod
    def over_redis(
        cls, url_or_client: "str | redis.Redis", *, stream: str = INBOX_STREAM, prefix: str = KEY_PREFIX
    ) -> Self:
        """Return a client that uses the worker's Redis. It needs the extra `redis`.

        A given client of redis-py stays open. `stream` and `prefix` are INBOX_STREAM and KEY_PREFIX of the worker.
        """
        with _extra("redis"):
            from autumn_sync_client.over_redis import RedisRequests, SyncConnection  # noqa: PLC0415 - an extra
        return cls(RedisRequests(stream, prefix), SyncConnection(url_or_client))

    @classmethod
    def over_http(cls, url: str, token: str) -> Self:
        """Return a client that uses the worker's port, such as `https://sync.example.com`. It needs the extra `http`.

        `token` is one of INTAKE_TOKENS of the worker. Raises ValueError if the URL or the token cannot be one.
        """
        with _extra("http"):
            from autumn_sync_client.over_http import HttpRequests, SyncConnection  # noqa: PLC0415 - an extra
        return cls(HttpRequests(), SyncConnection(url, token))

    def send(self, update: Update) -> str:
        """Send an event, and return its id for `outcome`: the `event_id`.

        An event without an `event_id` gets a random one. If there is no answer, or one that says to try again within
        3 seconds, the event is sent again, up to two times. That is harmless, because the same `event_id` twice within
        24 hours is one event. Set your own `event_id` if your app may send the event again itself, for example after
        an error or a crash.

        Raises:
            InvalidEvents: if fields are wrong; nothing was sent.
            Unauthorized: if the token, or the user of Redis, is refused.
            RateLimited: if there are still too many requests; nothing was sent. Wait `retry_after` seconds.
            Unavailable: if there is still no answer; the event may have been accepted.
            UnexpectedAnswer: for any other answer.
        """
        return self.send_many([update])[0]

    def send_many(self, updates: Iterable[Update]) -> list[str]:
        """Send events in order, and return the id of each. Everything that `send` says holds for each event.

        All are validated before the first one is sent. 1,000 events or 1 MiB at most are sent at a time, and accepted
        together or not at all. After an error, the events of earlier requests have been accepted.
        """
        return self._run(sending(self._requests, updates))

    def outcome(self, event_id: str, *, wait_seconds: float = 0.0) -> Outcome | None:
        """Return the outcome of an event of the last 24 hours. Wait up to `wait_seconds` until it is applied or dead.

        After that time the status may still be `waiting`. None means that the event is unknown: it was not sent, or it
        is still in the inbox. Raises the errors of `send`, except InvalidEvents.
        """
        return self._run(waiting(self._requests, event_id, wait_seconds))

    def close(self) -> None:
        """Close the connections that this client opened."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def _run(self, steps: Steps[Value]) -> Value:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    answer = self._connection.call(step)
                except ClientError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            value: Value = end.value
            return value


class AsyncClient:
    """The same as `Client`, with `await`. `close` it, or use it as an async context manager."""

    def __init__(self, requests: Requests, connection: _AsyncConnection) -> None:
        """Use a way to the worker and a connection of it."""
        self._requests = requests
        self._connection = connection

    @classmethod
    def over_redis(
        cls, url_or_client: "str | redis.asyncio.Redis", *, stream: str = INBOX_STREAM, prefix: str = KEY_PREFIX
    ) -> Self:
        """Return a client that uses the worker's Redis. See `Client.over_redis`."""
        with _extra("redis"):
            from autumn_sync_client.over_redis import AsyncConnection, RedisRequests  # noqa: PLC0415 - an extra
        return cls(RedisRequests(stream, prefix), AsyncConnection(url_or_client))

    @classmethod
    def over_http(cls, url: str, token: str) -> Self:
        """Return a client that uses the worker's port. See `Client.over_http`."""
        with _extra("http"):
            from autumn_sync_client.over_http import AsyncConnection, HttpRequests  # noqa: PLC0415 - an extra
        return cls(HttpRequests(), AsyncConnection(url, token))

    async def send(self, update: Update) -> str:
        """Send an event, and return its id for `outcome`. See `Client.send` for retries and errors."""
        return (await self.send_many([update]))[0]

    async def send_many(self, updates: Iterable[Update]) -> list[str]:
        """Send events in order, and return the id of each. See `Client.send_many`."""
        return await self._run(sending(self._requests, updates))

    async def outcome(self, event_id: str, *, wait_seconds: float = 0.0) -> Outcome | None:
        """Return the outcome of an event, None if it is unknown. See `Client.outcome`."""
        return await self._run(waiting(self._requests, event_id, wait_seconds))

    async def close(self) -> None:
        """Close the connections that this client opened."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def _run(self, steps: Steps[Value]) -> Value:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    answer = await self._connection.call(step)
                except ClientError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            value: Value = end.value
            return value


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Name the extra that a missing package belongs to."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing: install autumn-sync-client[{name}]", name=error.name
        ) from error
