"""The check, before any work, that the key prefix and the inbox belong to this deployment.

If Stripe does not answer, only what is known without it is compared, and the rest later (worker.owner_loop).
"""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from redis.asyncio import Redis

from config.settings import Settings
from jobs.errors import SyncError, TryAgain
from jobs.ownership import OUTCOMES, Mismatch, Owner, compare_owner, digest_of, owner_key, reader_key
from jobs.stripe_gateway import open_stripe

LOOK_SECONDS: Final = 5.0
"""How long Stripe may take to say which account it is, at every start."""
HOW: Final = "docs/operations.md, Moving a deployment"

log = structlog.get_logger(__name__)


class ForeignDeploymentError(Exception):
    """The key prefix or the inbox belongs to another deployment: `text` says to which, `fix` what to do."""

    def __init__(self, text: str, fix: str) -> None:
        """See the class."""
        super().__init__(f"{text}. {fix}")
        self.text = text
        self.fix = fix


@dataclass(frozen=True)
class Account:
    """What Stripe tells of its account: `digest` is that of its id, "" if it does not tell; then `why_not` is a code.

    `may_follow`: it may tell later, as after an outage.
    """

    digest: str
    why_not: str = ""
    may_follow: bool = False


async def refuse_foreign(settings: Settings, redis: Redis, *, note: bool = True) -> Account:
    """Compare this deployment with the owner that Redis keeps; with `note`, keep what was not known yet.

    Return what Stripe told of its account. Raises ForeignDeploymentError if they differ, and RedisError.
    """
    account = await ask_for_account(settings)
    await compare_with(settings, redis, account, note=note)
    return account


async def compare_with(settings: Settings, redis: Redis, account: Account, *, note: bool) -> None:
    """Compare with what is known of the account. Raises what `refuse_foreign` raises."""
    prefix, inbox, owner = settings.key_prefix, settings.inbox_stream, owner_of(settings, account)
    mismatch = await compare_owner(redis, prefix=prefix, inbox=inbox, owner=owner, note=note)
    if mismatch is not None:
        raise ForeignDeploymentError(*_in_words(mismatch, owner, prefix, inbox))


def owner_of(settings: Settings, account: Account) -> Owner:
    """Return this deployment as Redis would keep it."""
    return Owner(
        mode=settings.mode,
        autumn_key=digest_of("autumn_key", settings.autumn_secret_key.get_secret_value()),
        stripe_key=digest_of("stripe_key", settings.stripe_api_key.get_secret_value()),
        stripe=account.digest,
    )


async def ask_for_account(settings: Settings) -> Account:
    """Ask Stripe which account the key belongs to. Raises nothing."""
    key, base_url = settings.stripe_api_key.get_secret_value(), settings.stripe_api_base
    try:
        async with (
            asyncio.timeout(LOOK_SECONDS),
            open_stripe(
                api_key=key, base_url=base_url, turn=lambda _: nullcontext(), timeout_seconds=LOOK_SECONDS
            ) as stripe,
        ):
            return Account(digest_of("stripe", await stripe.account_id()))
    except SyncError as error:
        # A refusal that names no account stays one until somebody changes the key or its rights.
        return Account("", error.code, may_follow=isinstance(error, TryAgain))
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return Account("", type(error).__name__, may_follow=True)


def warn_if_unknown(account: Account) -> None:
    """Log that only the mode was compared, unless the account is known."""
    if account.digest:
        return
    fix = "no job is taken until it does" if account.may_follow else "let the key read its account, or use a secret key"
    log.warning("account_unknown", reason=account.why_not, fix=fix)


def _in_words(mismatch: Mismatch, owner: Owner, prefix: str, inbox: str) -> tuple[str, str]:
    kept = mismatch.kept
    if mismatch.what == "inbox":
        return (
            f"INBOX_STREAM: {inbox} is a key of the deployment with KEY_PREFIX={kept}, and this one has {prefix}",
            f"Choose a name that does not begin with {kept}: and is not {kept}{OUTCOMES}",
        )
    if mismatch.what == "reader":
        return (
            f"INBOX_STREAM: {inbox} is read by the deployment with KEY_PREFIX={kept}, and this one has {prefix}",
            f"Give each deployment an inbox of its own; to move on purpose, delete the key {reader_key(inbox)} ({HOW})",
        )
    text = {
        "mode": f"belongs to a deployment in {kept} mode, and these keys are for {owner.mode} mode",
        "stripe": f"belongs to another Stripe account (digest {kept}, this one's is {owner.stripe})",
        "keys": (
            f"belongs to a deployment in {owner.mode} mode whose Stripe account is not known, and which has neither of "
            "these two keys"
        ),
    }[mismatch.what]
    first = "Start it once with one of its former keys" if mismatch.what == "keys" else ""
    own = "give each deployment a KEY_PREFIX and an INBOX_STREAM of its own"
    return (
        f"KEY_PREFIX: {prefix} {text}",
        f"{first + '; ' + own if first else own[:1].upper() + own[1:]}; to move on purpose, delete the key "
        f"{owner_key(prefix)} ({HOW})",
    )
