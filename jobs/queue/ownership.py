"""The account and mode that a key prefix belongs to, and the prefix that reads an inbox.

Two deployments that share either would apply events in the wrong order, or write one account's data to another. Redis
holds no account id: it holds a digest of the id, which survives a key rotation, and digests of both API keys.

A start with the same two keys as the last one is the same deployment. If a key changed, the account decides. If Stripe
never reveals the account, one of the two keys has to be the same. Autumn reveals no id of its organisation, so it is
not compared.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from jobs.queue.key_types import or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import RecordKeys
from jobs.queue.scripts import Scripts

MODES: Final = ("live", "test")
OUTCOMES: Final = "-outcomes"
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Owner:
    """A deployment, as Redis stores it: `mode` is live or test, the other fields are digests.

    `stripe` is the digest of Stripe's account id, "" if it is not known.
    """

    mode: str
    autumn_key: str
    stripe_key: str
    stripe: str = ""


@dataclass(frozen=True)
class Kept:
    """The stored mode and account digest of a prefix, and the prefix that reads the inbox. Unknown ones are ""."""

    mode: str
    stripe: str
    reader: str


@dataclass(frozen=True)
class Mismatch:
    """A difference between this deployment and the stored one. `kept` is the stored value, by `what`:

    - `mode`: the mode.
    - `stripe`: the digest of the account.
    - `keys`: the digest of the account, or "". One of the accounts is not known, and both keys differ.
    - `reader`: the prefix that reads the inbox.
    - `inbox`: the prefix that has the inbox as a key of its own.
    - `own`: a key of this prefix that another deployment reads as its inbox.
    - `undecided`: "". Nothing differs yet, and only the account can decide.
    """

    what: Literal["mode", "stripe", "keys", "reader", "inbox", "own", "undecided"]
    kept: str


UNDECIDED: Final = Mismatch("undecided", "")


def owner_key(prefix: str) -> str:
    """Return the key of the hash with the owner of a key prefix. Permanent."""
    return f"{prefix}:owner"


def reader_key(inbox: str) -> str:
    """Return the key that holds the prefix of the deployment that reads an inbox. Permanent."""
    return f"{inbox}:reader"


def digest_of(kind: str, value: str) -> str:
    """Return the digest of a Stripe account (`stripe`) or of an API key (`autumn_key`, `stripe_key`)."""
    return hashlib.sha256(f"{kind}\n{value}".encode()).hexdigest()[:16]


async def compare_owner(
    redis: Redis, *, prefix: str, inbox: str, owner: Owner, note: bool, may_follow: bool = False
) -> Mismatch | None:
    """Return the difference from the stored deployment; None if there is none. Then store this one if `note` is set.

    `may_follow`: the account is not known now, but Stripe may reveal it later. Raises RedisError.
    """
    other = await _deployment_with_key(redis, inbox)
    if other not in {"", prefix}:
        return Mismatch("inbox", other)
    own = await _own_key_read_by_another(redis, prefix)
    if own:
        return Mismatch("own", own)
    arguments = [prefix, int(note), owner.mode, owner.stripe, owner.autumn_key, owner.stripe_key, int(may_follow)]
    found = await Scripts(redis, "check_owner").run("check_owner", [owner_key(prefix), reader_key(inbox)], arguments)
    if not found:
        return None
    what, kept = (each.decode(errors="replace") for each in found)
    return Mismatch(what, kept)


async def read_owner(redis: Redis, *, prefix: str, inbox: str) -> Kept:
    """Return the stored owner. Raises RedisError, also if one of the two keys has the wrong type."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hmget(owner_key(prefix), ["mode", "stripe"])
        pipe.get(reader_key(inbox))
        (mode, stripe), reader = await pipe.execute()
    return Kept(_text(mode), _text(stripe), _text(reader))


async def _deployment_with_key(redis: Redis, name: str) -> str:
    """Return the prefix of the deployment that has a key of this name; "" if there is none.

    Such a prefix has an owner. If the Redis user may not read it, the result is "". Raises RedisError.
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


async def _own_key_read_by_another(redis: Redis, prefix: str) -> str:
    """Return a key of a prefix without an owner that another deployment reads as its inbox; "" if there is none."""
    if await redis.exists(owner_key(prefix)):
        return ""
    waits, records = MailboxKeys(prefix), RecordKeys(prefix)
    keys = [waits.waiting, waits.dispatched, waits.oldest, waits.rechecks, waits.queue, records.dead, records.aside]
    keys += [records.totals, records.last_success, records.outcomes, records.reviews]
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.get(reader_key(key))
        readers = await pipe.execute(raise_on_error=False)
    # An error means that the user lacks a permission, or that the key belongs to another application.
    pairs = zip(keys, readers, strict=True)
    others = (key for key, reader in pairs if isinstance(reader, bytes) and _text(reader) != prefix)
    return next(others, "")


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")
