"""A proxy in front of a Redis, for tests of broken and stuck connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

PIECE_BYTES = 65536
Gate = Callable[[int, bytes], Awaitable[bool]]
"""Called with the number of a connection, from 1 on, and a piece that the client sent. It may wait. False loses the
piece and closes the connection."""


@asynccontextmanager
async def forwarding(port: int, may_pass: Gate) -> AsyncIterator[str]:
    """Forward connections to the Redis at `port` and back for the length of the block. Yield the URL."""
    opened = 0

    async def forward(asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        number = opened

        async def pass_commands() -> None:
            # The end of one direction ends the other, because the proxy waits for both before it closes.
            with closing(to_redis):
                while (piece := await asking.read(PIECE_BYTES)) and await may_pass(number, piece):
                    to_redis.write(piece)
                    await to_redis.drain()

        async def pass_answers() -> None:
            with closing(answering):
                while piece := await from_redis.read(PIECE_BYTES):
                    answering.write(piece)
                    await answering.drain()

        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as both:
            both.create_task(pass_commands())
            both.create_task(pass_answers())

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as proxy:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
