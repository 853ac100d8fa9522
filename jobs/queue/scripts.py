"""The Lua scripts beside this module, run by name. What each one does, its head says.

Each is one atomic step, however it travels; so those that are asked for while a round trip is under way go out together
in the next one. A busy worker waits for Redis a fraction as often, and an idle one no longer than before. They run in
the order they were asked for, but for those that Redis has to be told first: who needs an order waits for each answer.

With redis-py's own call of a registered script, one round trip each, an event takes 42 % more processor time. Its
pipelines take registered scripts too, but ask `SCRIPT EXISTS` first, which is one more round trip.
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
"""Names another file in a script's head, the functions of which it calls."""


@dataclass(frozen=True)
class _Call:
    script: AsyncScript
    keys: Sequence[str]
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


class Scripts:
    """Some of the scripts, on one Redis."""

    def __init__(self, redis: Redis, *names: str) -> None:
        """Opens nothing."""
        self._redis = redis
        self._scripts = {name: redis.register_script(_read(name)) for name in names}
        self._asked: list[_Call] = []
        self._out: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Any] = ()) -> Any:
        """What the script of this name answers. Raises RedisError."""
        call = _Call(self._scripts[name], keys, arguments, asyncio.get_running_loop().create_future())
        self._asked.append(call)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_what_is_asked())
            self._sender.add_done_callback(self._cancel_with)
        return await call.answer

    async def _send_what_is_asked(self) -> None:
        while self._asked:
            # Who was cancelled before it went out, never asked.
            self._out, self._asked = [call for call in self._asked if not call.answer.done()], []
            try:
                await self._send(self._out)
            except Exception as error:
                _fail(self._out, error)
        self._out, self._sender = [], None

    def _cancel_with(self, sender: asyncio.Task[None]) -> None:
        """Cancel who waits for a sender that was cancelled, as all tasks are at a loop's end: nobody else answers."""
        if sender.cancelled():
            for call in [*self._out, *self._asked]:
                call.answer.cancel()
            self._out, self._asked, self._sender = [], [], None

    async def _send(self, calls: Sequence[_Call]) -> None:
        """Answer the calls in one round trip; those whose script Redis does not know (any more), in the next one."""
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
            self._asked = [*unknown, *self._asked]


def _read(name: str) -> str:
    text = _text_of(name)
    return "".join([*map(_text_of, _USES.findall(text)), text])


def _text_of(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    """Raise the error where these calls are waited for; nobody waits for one that is done."""
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
