"""A proxy in front of Redis that counts how often a worker waits for it.

One wait begins when a connection sends something after it has received something. So commands that are sent together
are one wait, and so is an answer in several pieces. A blocking read counts too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 2**16


@dataclass
class Waits:
    """The number of waits over all connections to the Redis at `port`."""

    port: int
    count: int = 0
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def talk(self, client: asyncio.StreamReader, to_worker: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it."""
        talk = asyncio.current_task()
        assert talk is not None
        self.talks[talk] = to_worker
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self.port)
        is_answered = True

        async def send_commands() -> None:
            nonlocal is_answered
            while piece := await client.read(PIECE_BYTES):
                self.count += is_answered
                is_answered = False
                to_redis.write(piece)

        async def answer() -> None:
            nonlocal is_answered
            while piece := await from_redis.read(PIECE_BYTES):
                is_answered = True
                to_worker.write(piece)

        directions = [asyncio.create_task(send_commands()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for writer in (to_redis, to_worker):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            del self.talks[talk]


@asynccontextmanager
async def counting(port: int) -> AsyncIterator[tuple[str, Waits]]:
    """Yield the address of a proxy in front of the Redis at `port`, and its counter."""
    waits = Waits(port)
    server = await asyncio.start_server(waits.talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", waits
        for to_worker in waits.talks.values():
            to_worker.close()
        await asyncio.gather(*waits.talks)
