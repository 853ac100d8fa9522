"""The worker's connection to Redis: its waits for a lost or silent Redis, and its counters."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError, ResponseError

from jobs.queue.batch import EntryOutcome, Settlement
from jobs.queue.mailbox import Mailbox
from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import INBOX, PREFIX
from tests.support.forwarding import forwarding
from tests.support.processes import hanging_up, its_disk_fails, its_disk_works
from worker.redis_client import open_redis

COMMANDS = 8
PATIENCE_SECONDS = 0.6
PAUSE_SECONDS = 1.0
SHORT_READ_SECONDS = 5.0
"""The time-out instead of ten seconds. It is longer than any answered command here, also on a busy machine."""


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis(aof=False) as one:
        yield one


@asynccontextmanager
async def client(
    server: EmbeddedRedis, *, answered: Callable[[], None] = lambda: None, patience_seconds: float = 30
) -> AsyncIterator[ArqRedis]:
    redis = open_redis(server.url, PREFIX, answered=answered, patience_seconds=patience_seconds)
    try:
        yield redis
    finally:
        await redis.aclose(close_connection_pool=True)


async def test_all_waiting_commands_time_out_together(server: EmbeddedRedis) -> None:
    async with client(server, patience_seconds=PATIENCE_SECONDS) as redis:
        await redis.ping()
        server.stop()
        async with hanging_up(server.port) as so_far:
            await all_fail(redis)
            before = so_far.connections
            await all_fail(redis)
            # Each tries once, and none waits again after the time-out.
            assert so_far.connections - before == COMMANDS


async def all_fail(redis: ArqRedis) -> None:
    ends = await asyncio.gather(*(redis.get(f"key {index}") for index in range(COMMANDS)), return_exceptions=True)
    assert all(isinstance(end, ConnectionError) for end in ends)


async def test_waiting_commands_are_answered_when_redis_returns(server: EmbeddedRedis) -> None:
    async with client(server) as redis:
        await redis.ping()
        server.stop()
        waiting = asyncio.gather(redis.exists("key"), redis.exists("other"))
        server.start()
        assert list(await waiting) == [0, 0]


async def test_every_answered_command_is_counted(server: EmbeddedRedis) -> None:
    answers = 0

    def answered() -> None:
        nonlocal answers
        answers += 1

    async with client(server, answered=answered) as redis:
        await redis.ping()
        before = answers
        await redis.ping()
        async with redis.pipeline(transaction=False) as pipe:
            pipe.get("a")
            pipe.get("b")
            await pipe.execute()
    assert answers - before == 3


async def test_reads_continue_while_redis_refuses_writes(server: EmbeddedRedis) -> None:
    async with client(server) as redis:
        await its_disk_fails(redis)
        pool = redis.connection_pool
        assert await asyncio.gather(*(redis.get(f"key {index}") for index in range(8))) == [None] * 8
        idle = [await pool.get_connection() for _ in range(8)]
        for connection in idle:
            # As if the connection had been idle so long that it is checked before its next command.
            connection.next_health_check = 0.0
            await pool.release(connection)
        assert await asyncio.gather(*(redis.get(f"key {index}") for index in range(8))) == [None] * 8
        for write in (redis.set("key", "value"), redis.ping()):
            with pytest.raises(ResponseError, match="MISCONF"):
                await write
        await its_disk_works(redis)


async def test_writes_of_arqs_own_loop_do_not_end_it_while_redis_refuses_them(server: EmbeddedRedis) -> None:
    async with client(server) as redis:
        await its_disk_fails(redis)
        await redis.psetex("health", 1000, b"1")
        assert await redis.enqueue_job("a_job_of_cron") is None
        await its_disk_works(redis)
        assert await redis.enqueue_job("a_job_of_cron") is not None


async def test_unanswered_command_is_resent_on_a_new_connection(server: EmbeddedRedis) -> None:
    opened = 0

    async def pass_on(asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        """Forward to Redis and back. The first connection drops every GET."""
        nonlocal opened
        opened += 1
        loses = opened == 1
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", server.port)
        while piece := await asking.read(65536):
            if loses and b"GET" in piece:
                continue
            to_redis.write(piece)
            answering.write(await from_redis.read(65536))
        for writer in (to_redis, answering):
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as proxy:
        url = f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        redis = open_redis(url, PREFIX, read_seconds=SHORT_READ_SECONDS)
        begin = time.monotonic()
        assert await redis.get("nothing") is None
        assert time.monotonic() - begin >= SHORT_READ_SECONDS
        await redis.aclose(close_connection_pool=True)
    assert opened >= 2


def test_connection_that_was_closed_during_a_pause_is_opened_again(server: EmbeddedRedis) -> None:
    """The time-out closes the connection although the answer is there, if the process was paused for longer."""

    async def pause_while_a_command_waits() -> None:
        redis = open_redis(server.url, PREFIX, read_seconds=0.8 * PAUSE_SECONDS)
        one = redis.client()
        try:
            for _ in range(3):
                waiting = asyncio.ensure_future(one.xread({INBOX: "$"}, block=int(500 * PAUSE_SECONDS)))
                while not waiting.done() and not (await redis.info("clients"))["blocked_clients"]:
                    pass
                time.sleep(PAUSE_SECONDS)  # noqa: ASYNC251 - the event loop is paused
                await waiting
        finally:
            await one.aclose()
            await redis.aclose(close_connection_pool=True)

    # Only uvloop, the worker's event loop, raises RuntimeError for a write to a closed connection.
    uvloop.run(pause_while_a_command_waits())


async def test_unread_large_command_is_resent_on_a_new_connection(
    server: EmbeddedRedis,
) -> None:
    is_over, opened = asyncio.Event(), set[int]()

    async def may_pass(connection: int, piece: bytes) -> bool:
        """Stop reading from the first connection when a large command begins."""
        opened.add(connection)
        if connection == 1 and b"large" in piece:
            await is_over.wait()
        return True

    async with forwarding(server.port, may_pass) as url:
        redis = open_redis(url, PREFIX, read_seconds=SHORT_READ_SECONDS)
        await redis.ping()
        assert await redis.set("large", "x" * 20_000_000)
        assert len(opened) >= 2
        is_over.set()
        await redis.aclose(close_connection_pool=True)


async def test_take_with_a_lost_answer_succeeds_on_retry(server: EmbeddedRedis) -> None:
    lost = False

    async def pass_on(asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        """Forward to Redis and back. The connection breaks after Redis executes the take, before the answer returns."""
        nonlocal lost
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", server.port)
        while piece := await asking.read(65536):
            to_redis.write(piece)
            answer = await from_redis.read(65536)
            if not lost and b"lease:ann" in piece and not answer.startswith(b"-NOSCRIPT"):
                lost = True
                break
            answering.write(answer)
        for writer in (to_redis, answering):
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as proxy:
        redis = open_redis(f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", PREFIX)
        mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}'})
        await mailbox.move()
        await mailbox.dispatch(1)
        batch = await mailbox.take("ann")
        assert lost
        assert batch is not None
        assert await mailbox.settle(
            batch.lease, Settlement([EntryOutcome(entry.id, entry.id) for entry in batch.entries])
        )
        await redis.aclose(close_connection_pool=True)
