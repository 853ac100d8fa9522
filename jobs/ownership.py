"""The account and mode that a key prefix belongs to, and the prefix that reads an inbox.

Two deployments that share either would lose the order of changes, or write one account's changes to another. Nothing
here names an account: Redis keeps a digest of its id, which stays the same when a key is rotated.

Autumn tells no id of its organisation. So a prefix whose Stripe account is not known yet is held by the digests of both
keys: another start needs one of the two. When the account is known, its digest takes their place.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from jobs.scripts import Scripts
from jobs.wrong_types import or_none

MODES: Final = ("live", "test")
OUTCOMES: Final = "-outcomes"
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Owner:
    """Whose deployment this is: its `mode` is live or test, the others are digests.

    `stripe` is the one of Stripe's account id, "" if it is not known.
    """

    mode: str
    autumn_key: str
    stripe_key: str
    stripe: str = ""


@dataclass(frozen=True)
class Kept:
    """What Redis keeps: the mode and the account's digest of the owner of a prefix, and who reads the inbox.

    Each is "" if it is not known.
    """

    mode: str
    stripe: str
    reader: str


@dataclass(frozen=True)
class Mismatch:
    """What differs, and what Redis keeps of it.

    `kept` is a mode, a digest of an account, the prefix that reads the inbox, or the prefix that has the inbox as a key
    of its own. With `keys` the account of the owner is not known, and both keys are others than at its start.
    """

    what: Literal["mode", "stripe", "keys", "reader", "inbox"]
    kept: str


def owner_key(prefix: str) -> str:
    """A hash of the owner of a key prefix. Permanent."""
    return f"{prefix}:owner"


def reader_key(inbox: str) -> str:
    """The key prefix of the deployment that reads an inbox. Permanent."""
    return f"{inbox}:reader"


def digest_of(kind: str, value: str) -> str:
    """Return what Redis keeps of an account of Stripe (`stripe`) or of a key (`autumn_key`, `stripe_key`)."""
    return hashlib.sha256(f"{kind}\n{value}".encode()).hexdigest()[:16]


async def compare_owner(redis: Redis, *, prefix: str, inbox: str, owner: Owner, note: bool) -> Mismatch | None:
    """Return what differs from what Redis keeps, None if nothing does; with `note`, keep what was not known yet.

    Raises RedisError.
    """
    other = await _deployment_with_key(redis, inbox)
    if other not in {"", prefix}:
        return Mismatch("inbox", other)
    arguments = [prefix, int(note), owner.mode, owner.stripe, owner.autumn_key, owner.stripe_key]
    found = await Scripts(redis, "own").run("own", [owner_key(prefix), reader_key(inbox)], arguments)
    if not found:
        return None
    what, kept = (each.decode(errors="replace") for each in found)
    return Mismatch(what, kept)


async def read_owner(redis: Redis, *, prefix: str, inbox: str) -> Kept:
    """Return what Redis keeps. Raises RedisError, also if one of the two keys has another type."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hmget(owner_key(prefix), ["mode", "stripe"])
        pipe.get(reader_key(inbox))
        (mode, stripe), reader = await pipe.execute()
    return Kept(_text(mode), _text(stripe), _text(reader))


async def _deployment_with_key(redis: Redis, name: str) -> str:
    """Return the prefix of the deployment that has this name for a key of its own; "" if there is none.

    Such a prefix has an owner. If the user of Redis may not read that, it is not known. Raises RedisError.
    """
    first, colon, _ = name.partition(":")
    prefixes = [first] if colon else [name.removesuffix(OUTCOMES)] if name.endswith(OUTCOMES) else []
    for prefix in filter(_PREFIX.fullmatch, prefixes):
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hget(owner_key(prefix), "mode")
            (mode,) = await pipe.execute(raise_on_error=False)
        if not isinstance(mode, NoPermissionError) and _text(or_none(mode)) in MODES:
            return prefix
    return ""


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")
