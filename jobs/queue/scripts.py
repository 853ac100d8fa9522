"""The Lua scripts in `lua/`, run by name. The head of each script describes it.

Calls that arrive during a round trip are sent together in the next one, so a busy worker needs fewer round trips. They
run in order, except a script that Redis does not know yet: it is loaded first, and runs in the next round trip. If the
order matters, await each answer.

redis-py can call a registered script by itself, but needs one round trip for each call: an event then takes 42 % more
processor time. Its pipelines ask `SCRIPT EXISTS` first, which is one more round trip.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

_USES = re.compile(r"^-- Uses: (\w+)$", re.MULTILINE)
"""A line in the head of a script that names another file whose functions it calls."""


@dataclass(frozen=True)
class _Call:
    script: AsyncScript
    keys: Sequence[str]
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


class Scripts:
    """Some of the scripts, run on one Redis."""

    def __init__(self, redis: Redis, *names: str) -> None:
        """Open no connection. `names` are those of the scripts."""
        self._redis = redis
        self._scripts = {name: redis.register_script(_read(name)) for name in names}
        self._pending: list[_Call] = []
        self._sent: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Any] = ()) -> Any:
        """Return the answer of a script. Raises RedisError."""
        call = _Call(self._scripts[name], keys, arguments, asyncio.get_running_loop().create_future())
        self._pending.append(call)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_pending())
            self._sender.add_done_callback(self._cancel_with)
        return await call.answer

    async def _send_pending(self) -> None:
        while self._pending:
            # Skip calls that were cancelled before they were sent.
            self._sent, self._pending = [call for call in self._pending if not call.answer.done()], []
            try:
                await self._send(self._sent)
            except Exception as error:
                _fail(self._sent, error)
        self._sent, self._sender = [], None

    def _cancel_with(self, sender: asyncio.Task[None]) -> None:
        """Cancel all calls if the sender was cancelled, as at the end of an event loop: nothing else answers them."""
        if sender.cancelled():
            for call in [*self._sent, *self._pending]:
                call.answer.cancel()
            self._sent, self._pending, self._sender = [], [], None

    async def _send(self, calls: Sequence[_Call]) -> None:
        """Answer the calls in one round trip. If Redis does not know a script, load it and queue its calls again."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.evalsha(call.script.sha, len(call.keys), *call.keys, *call.arguments)
            answers = await pipe.execute(raise_on_error=False)
        unknown = []
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, NoScriptError):
                unknown.append(call)
            elif isinstance(answer, Exception):
                _fail([call], answer)
            elif not call.answer.done():
                call.answer.set_result(answer)
        if unknown:
            for script in {call.script for call in unknown}:
                await self._redis.script_load(script.script)
            self._pending = [*unknown, *self._pending]


def _read(name: str) -> str:
    text = _text_of(name)
    return "".join([*map(_text_of, _USES.findall(text)), text])


def _text_of(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    """Make every call that is not done raise the error."""
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
