"""The check, before any work, that the key prefix and the inbox belong to this deployment.

If Stripe does not answer, a worker with the same two keys as at the last start goes on. Any other worker waits
(worker.loops.owner).
"""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
import structlog
from redis.asyncio import Redis

from config.settings import Settings
from jobs.errors import Limited, SyncError, TryAgain
from jobs.queue.ownership import OUTCOMES, UNDECIDED, Mismatch, Owner, compare_owner, digest_of, owner_key, reader_key
from jobs.stripe.client import open_stripe
from jobs.stripe.errors import status_of

FETCH_SECONDS: Final = 5.0
"""The longest wait of a starting worker for Stripe's account. After that it decides without it."""
HOW: Final = "docs/operations.md, Moving a deployment"

log = structlog.get_logger(__name__)


class ForeignDeploymentError(Exception):
    """The key prefix or the inbox belongs to another deployment. `text` names it, `fix` says what to do."""

    def __init__(self, text: str, fix: str) -> None:
        """See the class."""
        super().__init__(f"{text}. {fix}")
        self.text = text
        self.fix = fix


@dataclass(frozen=True)
class Account:
    """The digest of the id of the Stripe account. If Stripe does not return it, it is "" and `why_not` is a code.

    `may_follow` is True if Stripe may return it later, for example after an outage.
    """

    digest: str
    why_not: str = ""
    may_follow: bool = False


async def refuse_foreign(settings: Settings, redis: Redis, *, note: bool = True) -> tuple[Account, bool]:
    """Compare this deployment with the owner in Redis. With `note`, store this one if nothing differs.

    Return the account and whether the comparison is complete. If not, the start must wait for the account, and nothing
    was stored. Raises ForeignDeploymentError if the owner differs, and RedisError.
    """
    account = await fetch_account(settings, FETCH_SECONDS)
    return account, await compare_with(settings, redis, account, note=note)


async def compare_with(settings: Settings, redis: Redis, account: Account, *, note: bool) -> bool:
    """Compare with a known account. Return False if only the account can decide, and Stripe may return it later.

    Raises what `refuse_foreign` raises.
    """
    prefix, inbox, owner = settings.key_prefix, settings.inbox_stream, owner_of(settings, account)
    mismatch = await compare_owner(
        redis, prefix=prefix, inbox=inbox, owner=owner, note=note, may_follow=account.may_follow
    )
    if mismatch is None or mismatch == UNDECIDED:
        return mismatch is None
    raise ForeignDeploymentError(*_in_words(mismatch, owner, prefix, inbox))


def owner_of(settings: Settings, account: Account) -> Owner:
    """Return this deployment in the form that Redis stores."""
    return Owner(
        mode=settings.mode,
        autumn_key=digest_of("autumn_key", settings.autumn_secret_key.get_secret_value()),
        stripe_key=digest_of("stripe_key", settings.stripe_api_key.get_secret_value()),
        stripe=account.digest,
    )


async def fetch_account(settings: Settings, timeout_seconds: float) -> Account:
    """Ask Stripe for the account of the key. Raises nothing."""
    key, base_url = settings.stripe_api_key.get_secret_value(), settings.stripe_api_base
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            open_stripe(
                api_key=key, base_url=base_url, throttle=lambda _: nullcontext(), timeout_seconds=timeout_seconds
            ) as stripe,
        ):
            return Account(digest_of("stripe", await stripe.account_id()))
    except SyncError as error:
        return Account("", error.code, _may_pass(error))
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return Account("", type(error).__name__, may_follow=True)


def _may_pass(error: SyncError) -> bool:
    """Return whether the error may pass by itself.

    A refusal lasts until a person changes the key or its rights. An unexpected answer of a proxy may last forever.
    """
    if isinstance(error, Limited):
        return True
    status = status_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
    is_answer = error.code == "unexpected_response" or (
        status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR
    )
    return isinstance(error, TryAgain) and not is_answer


def warn_if_unknown(account: Account, *, is_compared: bool = True) -> None:
    """Log that the account was not compared, unless it is known."""
    if account.digest:
        return
    if not is_compared:
        fix = "the worker starts no job until Stripe returns it"
    elif account.may_follow:
        fix = "nothing to do: both keys are the same as at the last start"
    else:
        fix = "allow the key to read its account, or use a secret key"
    log.warning("account_check_postponed", reason=account.why_not, fix=fix)


def _in_words(mismatch: Mismatch, owner: Owner, prefix: str, inbox: str) -> tuple[str, str]:
    kept = mismatch.kept
    if mismatch.what == "inbox":
        return (
            f"INBOX_STREAM: {inbox} is a key of the deployment with KEY_PREFIX={kept}; this one has {prefix}",
            f"Choose a name that does not begin with {kept}: and is not {kept}{OUTCOMES}",
        )
    if mismatch.what == "reader":
        return (
            f"INBOX_STREAM: {inbox} is read by the deployment with KEY_PREFIX={kept}; this one has {prefix}",
            f"Give each deployment its own inbox; to move a deployment, delete the key {reader_key(inbox)} ({HOW})",
        )
    if mismatch.what == "own":
        return (
            f"KEY_PREFIX: {prefix} has a key {kept}, which another deployment reads as its inbox",
            "Choose another KEY_PREFIX, or give that deployment another INBOX_STREAM and delete the key "
            f"{reader_key(kept)} ({HOW})",
        )
    text = {
        "mode": f"belongs to a deployment in {kept} mode; these keys are for {owner.mode} mode",
        "stripe": f"belongs to another Stripe account (digest {kept}; the digest of this one is {owner.stripe})",
        "keys": (
            f"belongs to other keys of a Stripe account (digest {kept}), and Stripe does not return the account of "
            "these keys"
            if kept
            else f"belongs to a deployment in {owner.mode} mode with an unknown Stripe account and two other keys"
        ),
    }[mismatch.what]
    own = "give each deployment its own KEY_PREFIX and INBOX_STREAM"
    first = own[:1].upper() + own[1:]
    if mismatch.what == "keys":
        readable = "Allow the key to read its account, or start" if kept else "Start"
        first = f"{readable} it once with one of its former keys; {own}"
    return f"KEY_PREFIX: {prefix} {text}", f"{first}; to move a deployment, delete the key {owner_key(prefix)} ({HOW})"
