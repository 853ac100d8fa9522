"""The check, before any work, that the key prefix and the inbox belong to this deployment.

If Stripe does not answer, the start goes on, and only what is known without it is compared.
"""

import asyncio
from contextlib import nullcontext
from typing import Final

import aiohttp
from redis.asyncio import Redis

from config.settings import Settings
from jobs.errors import SyncError
from jobs.ownership import Mismatch, Owner, compare_owner, digest_of_account, owner_key, reader_key
from jobs.stripe_gateway import open_stripe

LOOK_SECONDS: Final = 5.0
"""How long Stripe may take to say which account it is, at every start."""


class ForeignDeploymentError(Exception):
    """The key prefix or the inbox belongs to another deployment; the text says to which, and what to do."""


async def refuse_foreign(settings: Settings, redis: Redis, *, note: bool = True) -> None:
    """Compare this deployment with the owner that Redis keeps; with `note`, keep what was not known yet.

    Raises ForeignDeploymentError if they differ, and RedisError.
    """
    prefix, inbox = settings.key_prefix, settings.inbox_stream
    owner = Owner(settings.mode, await _account(settings))
    mismatch = await compare_owner(redis, prefix=prefix, inbox=inbox, owner=owner, note=note)
    if mismatch is not None:
        raise ForeignDeploymentError(_text(mismatch, owner, prefix, inbox))


async def _account(settings: Settings) -> str:
    """The digest of Stripe's account; empty if Stripe does not tell, as for a restricted key without that right."""
    key, base_url = settings.stripe_api_key.get_secret_value(), settings.stripe_api_base
    try:
        async with (
            asyncio.timeout(LOOK_SECONDS),
            open_stripe(
                api_key=key, base_url=base_url, turn=lambda _: nullcontext(), timeout_seconds=LOOK_SECONDS
            ) as stripe,
        ):
            return digest_of_account(await stripe.account_id())
    except (SyncError, TimeoutError, aiohttp.ClientError, OSError):
        return ""


def _text(mismatch: Mismatch, owner: Owner, prefix: str, inbox: str) -> str:
    how = "docs/operations.md, Moving a deployment"
    if mismatch.what == "reader":
        return (
            f"INBOX_STREAM: {inbox} is read by the deployment with KEY_PREFIX={mismatch.kept}, "
            f"and this one has {prefix}. "
            f"Give each deployment an inbox of its own; to move on purpose, delete the key {reader_key(inbox)} ({how})"
        )
    if mismatch.what == "mode":
        text = f"belongs to a deployment in {mismatch.kept} mode, and these keys are for {owner.mode} mode"
    else:
        text = f"belongs to another Stripe account (digest {mismatch.kept}, this one's is {owner.stripe})"
    return (
        f"KEY_PREFIX: {prefix} {text}. Give each deployment a KEY_PREFIX and an INBOX_STREAM of its own; to move on "
        f"purpose, delete the key {owner_key(prefix)} ({how})"
    )
