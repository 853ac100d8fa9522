"""The owner of a key prefix and the reader of an inbox, as the script compares and stores them."""

import pytest
from redis.asyncio import Redis

from jobs.queue.ownership import UNDECIDED, Kept, Mismatch, Owner, compare_owner, read_owner
from tests.conftest import INBOX, PREFIX

UNKNOWN = Owner("test", autumn_key="a1", stripe_key="s1")
KNOWN = Owner("test", autumn_key="a1", stripe_key="s1", stripe="account")
ALL = {b"mode", b"stripe", b"autumn_key", b"stripe_key"}


async def start(
    redis: Redis, owner: Owner, *, note: bool = True, may_follow: bool = False, inbox: str = INBOX
) -> Mismatch | None:
    return await compare_owner(redis, prefix=PREFIX, inbox=inbox, owner=owner, note=note, may_follow=may_follow)


async def fields(redis: Redis) -> set[bytes]:
    return set(await redis.hgetall(f"{PREFIX}:owner"))  # type: ignore[misc]  # of redis-py


async def test_first_start_decides_the_owner(redis: Redis) -> None:
    assert await start(redis, KNOWN) is None
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("test", "account", PREFIX)
    assert await fields(redis) == ALL


async def test_compare_without_note_stores_nothing(redis: Redis) -> None:
    assert await start(redis, KNOWN, note=False) is None
    assert await redis.keys() == []
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("", "", "")


@pytest.mark.parametrize(
    ("later", "mismatch"),
    [
        (Owner("test", "a2", "s2", "account"), None),
        (Owner("test", "a2", "s1"), None),
        (Owner("test", "a1", "s2"), None),
        (Owner("test", "a2", "s2"), Mismatch("keys", "account")),
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
    assert await fields(redis) == ALL


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
async def test_unknown_account_is_completed_only_with_known_key(
    redis: Redis, later: Owner, mismatch: Mismatch | None
) -> None:
    await start(redis, UNKNOWN)
    assert await start(redis, later) == mismatch
    account = later.stripe if mismatch is None else ""
    assert await read_owner(redis, prefix=PREFIX, inbox=INBOX) == Kept("test", account, PREFIX)


async def test_keys_of_unknown_account_are_rotated_one_by_one(redis: Redis) -> None:
    for autumn_key, stripe_key in (("a1", "s1"), ("a2", "s1"), ("a2", "s2"), ("a3", "s2")):
        assert await start(redis, Owner("test", autumn_key, stripe_key)) is None
    assert await start(redis, Owner("test", "a1", "s1")) == Mismatch("keys", "")


async def test_new_keys_are_stored_when_account_matches(redis: Redis) -> None:
    await start(redis, KNOWN)
    assert await start(redis, Owner("test", "a2", "s2", "account")) is None
    assert await start(redis, Owner("test", "a2", "s2"), may_follow=True) is None
    assert await start(redis, Owner("test", "a1", "s1"), may_follow=True) == UNDECIDED


@pytest.mark.parametrize("later", [Owner("test", "a2", "s1"), Owner("test", "a1", "s2"), Owner("test", "a2", "s2")])
async def test_start_with_new_key_stores_nothing_while_stripe_is_down(redis: Redis, later: Owner) -> None:
    await start(redis, KNOWN)
    before = await redis.hgetall(f"{PREFIX}:owner")  # type: ignore[misc]  # of redis-py
    assert await start(redis, later, may_follow=True, inbox="another-inbox") == UNDECIDED
    assert await redis.hgetall(f"{PREFIX}:owner") == before  # type: ignore[misc]  # of redis-py
    assert not await redis.exists("another-inbox:reader")


async def test_first_start_stores_nothing_while_stripe_is_down(redis: Redis) -> None:
    assert await start(redis, UNKNOWN, may_follow=True) == UNDECIDED
    assert await redis.keys() == []


async def test_account_stored_without_keys_is_compared(redis: Redis) -> None:
    await redis.hset(f"{PREFIX}:owner", mapping={"mode": "test", "stripe": "account"})  # type: ignore[misc]  # of redis-py
    assert await start(redis, UNKNOWN, may_follow=True) == UNDECIDED
    assert await start(redis, UNKNOWN) == Mismatch("keys", "account")
    assert await start(redis, KNOWN) is None
    assert await fields(redis) == ALL


async def test_compare_without_note_deletes_no_key_of_wrong_type(redis: Redis) -> None:
    await redis.set(f"{PREFIX}:owner", "x")
    assert await start(redis, KNOWN, note=False) is None
    assert await redis.get(f"{PREFIX}:owner") == b"x"
    assert await start(redis, KNOWN) is None
    assert await fields(redis) == ALL


@pytest.mark.parametrize("own", [f"{PREFIX}:dead", f"{PREFIX}:waiting", f"{PREFIX}-outcomes"])
async def test_prefix_whose_key_is_foreign_inbox_is_refused(redis: Redis, own: str) -> None:
    assert await compare_owner(redis, prefix="other", inbox=own, owner=KNOWN, note=True) is None
    assert await start(redis, KNOWN) == Mismatch("own", own)
    assert not await redis.exists(f"{PREFIX}:owner")


async def test_unknown_account_is_completed_once(redis: Redis) -> None:
    await start(redis, UNKNOWN)
    await start(redis, KNOWN)
    assert await start(redis, Owner("test", "a1", "s1", "other")) == Mismatch("stripe", "account")


async def test_inbox_that_is_key_of_another_prefix_is_refused(redis: Redis) -> None:
    await start(redis, KNOWN)
    for inbox in (f"{PREFIX}:dead", f"{PREFIX}-outcomes"):
        found = await compare_owner(redis, prefix="other", inbox=inbox, owner=KNOWN, note=True)
        assert found == Mismatch("inbox", PREFIX)
    assert not await redis.exists("other:owner")


async def test_start_succeeds_without_permission_to_read_other_owner(redis: Redis) -> None:
    await redis.execute_command(  # type: ignore[no-untyped-call]  # of redis-py
        "ACL", "SETUSER", "app", "reset", "on", ">word", "~other:*", "~shop:updates*", "+@all"
    )
    port = redis.connection_pool.connection_kwargs["port"]
    async with Redis.from_url(f"redis://app:word@127.0.0.1:{port}/0") as app:
        assert await compare_owner(app, prefix="other", inbox="shop:updates", owner=KNOWN, note=True) is None
    await redis.execute_command("ACL", "DELUSER", "app")  # type: ignore[no-untyped-call]  # of redis-py
