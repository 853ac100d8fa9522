"""A connection to Redis that falls silent is given up, and the command goes through on another one."""

import asyncio
import time

from sandbox.redis import EmbeddedRedis
from tests.conftest import PREFIX
from worker.connection import READ_SECONDS, open_redis


async def test_a_command_that_is_never_answered_goes_out_again_on_a_new_connection(redis_server: EmbeddedRedis) -> None:
    opened = 0

    async def pass_on(asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        """To Redis and back; the first connection loses every GET on the way."""
        nonlocal opened
        opened += 1
        loses = opened == 1
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", redis_server.port)
        while piece := await asking.read(65536):
            if loses and b"GET" in piece:
                continue
            to_redis.write(piece)
            answering.write(await from_redis.read(65536))
        for writer in (to_redis, answering):
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        redis = open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", PREFIX)
        begin = time.monotonic()
        assert await redis.get("nothing") is None
        assert time.monotonic() - begin >= READ_SECONDS
        await redis.aclose(close_connection_pool=True)
    assert opened == 2
