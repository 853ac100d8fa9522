"""The account and mode that a key prefix belongs to, and the prefix that reads an inbox.

Two deployments that share either would lose the order of changes, or write one account's changes to another. Nothing
here names an account: Redis keeps a digest of its id, which stays the same when a key is rotated.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from jobs.scripts import Scripts


@dataclass(frozen=True)
class Owner:
    """Whose deployment this is: `mode` is live or test, `stripe` the digest of Stripe's account id, "" if not known."""

    mode: str
    stripe: str = ""


@dataclass(frozen=True)
class Mismatch:
    """The part that differs. `kept` is what Redis has of it: a mode, a digest of an account, or a key prefix."""

    what: Literal["mode", "stripe", "reader"]
    kept: str


def owner_key(prefix: str) -> str:
    """A hash of the owner of a key prefix. Permanent."""
    return f"{prefix}:owner"


def reader_key(inbox: str) -> str:
    """The key prefix of the deployment that reads an inbox. Permanent."""
    return f"{inbox}:reader"


def digest_of_account(account_id: str) -> str:
    """Return what Redis keeps of an account of Stripe."""
    return hashlib.sha256(f"stripe\n{account_id}".encode()).hexdigest()[:16]


async def compare_owner(redis: Redis, *, prefix: str, inbox: str, owner: Owner, note: bool) -> Mismatch | None:
    """Return what differs from what Redis keeps, None if nothing does; with `note`, keep what was not known yet.

    Raises RedisError.
    """
    arguments = [prefix, int(note), "mode", owner.mode, "stripe", owner.stripe]
    found = await Scripts(redis, "own").run("own", [owner_key(prefix), reader_key(inbox)], arguments)
    if not found:
        return None
    what, kept = (each.decode(errors="replace") for each in found)
    return Mismatch(what, kept)
