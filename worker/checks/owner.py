"""The check of `customer-sync doctor` that the keys in Redis belong to this deployment. It only reads."""

from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from config.settings import Settings
from jobs.queue.ownership import Kept, read_owner
from worker.checks.check import Check, Found
from worker.ownership import FETCH_SECONDS, Account, ForeignDeploymentError, compare_with, fetch_account


@dataclass(frozen=True)
class OwnerSubject:
    """The settings of this deployment, and the Redis that stores the owner of its keys."""

    settings: Settings
    redis: Redis


async def _owner(subject: OwnerSubject) -> Found:
    settings, redis = subject.settings, subject.redis
    account = await fetch_account(settings, FETCH_SECONDS)
    try:
        is_compared = await compare_with(settings, redis, account, note=False)
    except ForeignDeploymentError as error:
        return Found("wrong", error.text, error.fix)
    kept = await read_owner(redis, prefix=settings.key_prefix, inbox=settings.inbox_stream)
    return _judge(settings, kept, account, is_compared)


def _judge(settings: Settings, kept: Kept, account: Account, is_compared: bool) -> Found:
    """Return the result if nothing differs from the stored owner."""
    if not kept.mode:
        text = f"{settings.key_prefix} belongs to no deployment yet; the first start assigns it to this one"
    else:
        whose = f"the Stripe account with the digest {kept.stripe}" if kept.stripe else "an unknown Stripe account"
        text = f"{settings.key_prefix} belongs to {kept.mode} mode and {whose}"
    if not account.digest:
        text += f"; the account was not compared, because Stripe does not return it ({account.why_not})"
        return Found("warning", text, _fix(account, is_compared))
    if kept.mode:
        text += ", the same as these keys" if kept.stripe else "; the next start stores this account"
    return Found("ok", text)


def _fix(account: Account, is_compared: bool) -> str:
    if not is_compared:
        return "Run doctor again when Stripe answers; a starting worker waits until then"
    if account.may_follow:
        return "Nothing to do: both keys are the same as at the last start"
    return "Allow the key to read its account, or use a secret key"


OWNER_CHECKS: Final = (Check("owner", _owner, ("redis", "redis-access", "redis-keys")),)
