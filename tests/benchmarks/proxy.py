"""A proxy before Redis that counts how often a worker waits for it.

A wait is a turn of the talk on one connection: something goes to Redis after something has come from it. So commands
that go out together are one wait, and an answer in several pieces is too. A blocking read counts as well.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 2**16


@dataclass
class Waits:
    """The count over all connections to the Redis at `port`, while they are passed on."""

    port: int
    count: int = 0
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def talk(self, asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side closes it."""
        talk = asyncio.current_task()
        assert talk is not None
        self.talks[talk] = answering
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self.port)
        is_answered = True

        async def ask() -> None:
            nonlocal is_answered
            while piece := await asking.read(PIECE_BYTES):
                self.count += is_answered
                is_answered = False
                to_redis.write(piece)

        async def answer() -> None:
            nonlocal is_answered
            while piece := await from_redis.read(PIECE_BYTES):
                is_answered = True
                answering.write(piece)

        directions = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for writer in (to_redis, answering):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            del self.talks[talk]


@asynccontextmanager
async def counting(port: int) -> AsyncIterator[tuple[str, Waits]]:
    """The address of a proxy before the Redis at `port`, and its count."""
    waits = Waits(port)
    server = await asyncio.start_server(waits.talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", waits
        for answering in waits.talks.values():
            answering.close()
        await asyncio.gather(*waits.talks)
