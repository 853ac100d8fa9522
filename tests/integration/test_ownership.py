"""To whom a key prefix and an inbox belong, as the script compares it and notes it."""

import pytest
from redis.asyncio import Redis

from jobs.ownership import Kept, Mismatch, Owner, compare_owner, read_owner
from tests.conftest import INBOX, PREFIX

UNKNOWN = Owner("test", autumn_key="a1", stripe_key="s1")
KNOWN = Owner("test", autumn_key="a1", stripe_key="s1", stripe="account")


async def start(redis: Redis, owner: Owner, *, note: bool = True) -> Mismatch | None:
    return await compare_owner(redis, prefix=PREFIX, inbox=INBOX, owner=owner, note=note)


async def fields(redis: Redis) -> set[bytes]:
    return set(await redis.hgetall(f"{PREFIX}:owner"))  # type: ignore[misc]  # of redis-py


async def test_first_start_decides_the_owner(redis: Redis) -> None:
    assert await start(redis, KNOWN) is None
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("test", "account", PREFIX)
    assert await fields(redis) == {b"mode", b"stripe"}


async def test_comparing_alone_keeps_nothing(redis: Redis) -> None:
    assert await start(redis, KNOWN, note=False) is None
    assert await redis.keys() == []
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("", "", "")


@pytest.mark.parametrize(
    ("later", "mismatch"),
    [
        (Owner("test", "a2", "s2", "account"), None),
        (Owner("test", "a2", "s2"), None),
        (Owner("test", "a1", "s1", "other"), Mismatch("stripe", "account")),
        (Owner("live", "a1", "s1", "account"), Mismatch("mode", "test")),
        (Owner("live", "a2", "s2"), Mismatch("mode", "test")),
    ],
)
async def test_known_account_is_compared_and_never_replaced(
    redis: Redis, later: Owner, mismatch: Mismatch | None
) -> None:
    await start(redis, KNOWN)
    assert await start(redis, later) == mismatch
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("test", "account", PREFIX)
    assert await fields(redis) == {b"mode", b"stripe"}


@pytest.mark.parametrize(
    ("later", "mismatch"),
    [
        (Owner("test", "a1", "s1", "account"), None),
        (Owner("test", "a1", "s2", "account"), None),
        (Owner("test", "a2", "s1", "account"), None),
        (Owner("test", "a2", "s2", "other"), Mismatch("keys", "")),
        (Owner("test", "a2", "s2"), Mismatch("keys", "")),
        (Owner("live", "a1", "s1", "account"), Mismatch("mode", "test")),
    ],
)
async def test_unknown_account_is_completed_only_with_a_key_that_was_there(
    redis: Redis, later: Owner, mismatch: Mismatch | None
) -> None:
    await start(redis, UNKNOWN)
    assert await start(redis, later) == mismatch
    account = later.stripe if mismatch is None else ""
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("test", account, PREFIX)


async def test_keys_of_an_unknown_account_are_rotated_one_after_the_other(redis: Redis) -> None:
    for autumn_key, stripe_key in (("a1", "s1"), ("a2", "s1"), ("a2", "s2"), ("a3", "s2")):
        assert await start(redis, Owner("test", autumn_key, stripe_key)) is None
    assert await start(redis, Owner("test", "a1", "s1")) == Mismatch("keys", "")


async def test_unknown_account_is_completed_once(redis: Redis) -> None:
    await start(redis, UNKNOWN)
    await start(redis, KNOWN)
    assert await start(redis, Owner("test", "a1", "s1", "other")) == Mismatch("stripe", "account")


async def test_inbox_that_is_a_key_of_another_prefix_is_named(redis: Redis) -> None:
    await start(redis, KNOWN)
    for inbox in (f"{PREFIX}:dead", f"{PREFIX}-outcomes"):
        found = await compare_owner(redis, prefix="other", inbox=inbox, owner=KNOWN, note=True)
        assert found == Mismatch("inbox", PREFIX)
    assert not await redis.exists("other:owner")


async def test_user_that_may_not_read_another_owner_may_start(redis: Redis) -> None:
    await redis.execute_command(  # type: ignore[no-untyped-call]  # of redis-py
        "ACL", "SETUSER", "app", "reset", "on", ">word", "~other:*", "~shop:updates*", "+@all"
    )
    port = redis.connection_pool.connection_kwargs["port"]
    async with Redis.from_url(f"redis://app:word@127.0.0.1:{port}/0") as app:
        assert await compare_owner(app, prefix="other", inbox="shop:updates", owner=KNOWN, note=True) is None
    await redis.execute_command("ACL", "DELUSER", "app")  # type: ignore[no-untyped-call]  # of redis-py
