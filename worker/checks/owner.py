"""The check of `customer-sync doctor` that the keys in Redis belong to this deployment. Reads only."""

from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from config.settings import Settings
from jobs.queue.ownership import Kept, read_owner
from worker.checks.check import Check, Found
from worker.ownership import LOOK_SECONDS, Account, ForeignDeploymentError, ask_for_account, compare_with


@dataclass(frozen=True)
class OwnerSubject:
    """The settings of this deployment, and the Redis that keeps the owner of its keys."""

    settings: Settings
    redis: Redis


async def _owner(subject: OwnerSubject) -> Found:
    settings, redis = subject.settings, subject.redis
    account = await ask_for_account(settings, LOOK_SECONDS)
    try:
        is_compared = await compare_with(settings, redis, account, note=False)
    except ForeignDeploymentError as error:
        return Found("wrong", error.text, error.fix)
    kept = await read_owner(redis, prefix=settings.key_prefix, inbox=settings.inbox_stream)
    return _judge(settings, kept, account, is_compared)


def _judge(settings: Settings, kept: Kept, account: Account, is_compared: bool) -> Found:
    """Return the finding if nothing differs from what is known."""
    if not kept.mode:
        text = f"{settings.key_prefix} belongs to no deployment yet: the first start makes it this one's"
    else:
        whose = f"the Stripe account with the digest {kept.stripe}" if kept.stripe else "a Stripe account not known yet"
        text = f"{settings.key_prefix} belongs to {kept.mode} mode and {whose}"
    if not account.digest:
        text += f"; not compared by the account, because Stripe does not tell it ({account.why_not})"
        return Found("warning", text, _fix(account, is_compared))
    if kept.mode:
        text += ", as these keys do" if kept.stripe else "; the next start adds this one's"
    return Found("ok", text)


def _fix(account: Account, is_compared: bool) -> str:
    if not is_compared:
        return "Run doctor again when Stripe answers; a start waits for it until then"
    if account.may_follow:
        return "Nothing to do: both keys are those of the last start"
    return "Let the key read its account, or use a secret key"


OWNER_CHECKS: Final = (Check("owner", _owner, ("redis", "redis-access", "redis-keys")),)
