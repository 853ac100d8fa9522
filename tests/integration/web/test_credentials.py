"""The signing key in Redis, the password and the token: shared sessions, and secrets that do not leak."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import PREFIX
from tests.support.processes import hanging
from worker.web.credentials import TRIES_A_MINUTE, Credentials, Tries
from worker.web.sessions import GUEST, OPERATOR

PASSWORD = "correct horse battery"


def credentials(redis: Redis, password: str | None = PASSWORD, *, read_seconds: float = 60) -> Credentials:
    return Credentials(redis, PREFIX, password=password, token="a-token", read_seconds=read_seconds)


async def test_workers_that_start_together_agree_on_one_key(redis: Redis) -> None:
    workers = [credentials(redis) for _ in range(8)]
    sessions = await asyncio.gather(*(each.sessions() for each in workers))
    cookie = sessions[0].cookie(sessions[0].begin(OPERATOR))
    assert all(each.read(cookie) is not None for each in sessions)
    assert await redis.ttl(f"{PREFIX}:sign-in:key") == -1


async def test_hanging_redis_is_not_waited_for(redis: Redis, redis_server: EmbeddedRedis) -> None:
    one = credentials(redis, read_seconds=1)
    with hanging(redis_server), pytest.raises(TimeoutError):
        await one.sessions()


@pytest.mark.parametrize("other", ["another password", None])
async def test_another_password_ends_every_session(redis: Redis, other: str | None) -> None:
    one, two = await credentials(redis).sessions(), await credentials(redis, other).sessions()
    assert two.read(one.cookie(one.begin(OPERATOR))) is None
    assert one.read(two.cookie(two.begin(OPERATOR))) is None


async def test_stolen_cookie_does_not_reveal_the_password(redis: Redis) -> None:
    sessions = await credentials(redis).sessions()
    cookie, key = sessions.cookie(sessions.begin(GUEST)), f"{PREFIX}:sign-in:key"
    kept = await redis.getdel(key)
    # The right password does not verify with the key of another Redis.
    guessed = await credentials(redis, PASSWORD).sessions()
    assert guessed.read(cookie) is None
    await redis.set(key, kept)
    assert (await credentials(redis, PASSWORD).sessions()).read(cookie) is not None


@pytest.mark.parametrize(("given", "is_right"), [(PASSWORD, True), (PASSWORD.upper(), False), ("", False)])
async def test_only_the_exact_password_is_accepted(redis: Redis, given: str, is_right: bool) -> None:
    assert credentials(redis).is_password(given) is is_right
    assert not credentials(redis, None).is_password(given)


async def test_token_opens_the_page_only_without_a_password(redis: Redis) -> None:
    assert credentials(redis, None).is_token("a-token")
    assert not credentials(redis, None).is_token("")
    assert not credentials(redis).is_token("a-token")


@given(st.text(st.characters(categories=None)))
def test_nothing_else_is_accepted_as_password_or_token(text: str) -> None:
    offline = Redis.from_url("redis://127.0.0.1")
    assert not credentials(offline).is_password(text)
    assert not credentials(offline, None).is_token(text)


@pytest.mark.parametrize("kept", ["list", ""])
async def test_invalid_signing_key_is_replaced_for_all_workers(redis: Redis, kept: str) -> None:
    key = f"{PREFIX}:sign-in:key"
    if kept:
        await redis.rpush(key, "x")  # type: ignore[misc]  # one type for both clients
    else:
        await redis.set(key, kept)
    one, two = await credentials(redis).sessions(), await credentials(redis).sessions()
    assert two.read(one.cookie(one.begin(OPERATOR))) is not None


async def test_attempts_key_of_wrong_type_is_replaced(redis: Redis) -> None:
    await redis.set(f"{PREFIX}:sign-in:wrong", "x")
    tries = Tries(redis, PREFIX)
    assert [await tries.begin() is not None for _ in range(TRIES_A_MINUTE + 1)] == [True] * TRIES_A_MINUTE + [False]
