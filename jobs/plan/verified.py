"""The values that both sides of a customer agreed on, so that a later sync can write without a fetch. No I/O here.

The customer record holds them as digests, without a name or an e-mail address. A sync trusts them for
LINK_TRUST_SECONDS after the fetch that verified them, while the watch is up to date and has noted no change of the
customer by another writer since. If the answer to its first write shows anything else, the sync fetches both sides.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from jobs.plan.customer import (
    AUTUMN_ID,
    METADATA_VALUE_MAX,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    Mode,
    Payments,
    StripeCustomer,
    StripeView,
    shown_by,
)
from jobs.plan.merge import Changes
from jobs.plan.policy import Policy
from jobs.plan.profile import PROFILE, digest_of, digests_of, metadata_text, too_long
from jobs.plan.steps import UpdateStripe


@dataclass(frozen=True)
class Verified:
    """The values that both sides of a linked customer have.

    `at` is when the sync that fetched both sides began, in seconds since the epoch, on the clock of Redis. `digests`
    holds a digest (`digest_of`) of the name, the e-mail, and each metadata key that is copied to Stripe. `receipts` is
    the policy under which payments were read. `changes` is the number of events by then that led to a reconcile.
    """

    stripe_id: str
    at: float
    receipts_on: bool
    digests: Mapping[str, str]
    receipts: str = "mirror"
    changes: int = 0

    def first_write(self, changes: Changes) -> UpdateStripe | None:
        """Return the write to Stripe that precedes the update of Autumn; None if the changes need none.

        It includes a value that both sides had, because somebody may have changed it in Stripe since.
        """
        named = {name: str(changes[name]) for name in PROFILE if name in changes}
        return UpdateStripe(self.stripe_id, name=named.get("name"), email=named.get("email")) if named else None

    def fits(self, autumn: AutumnCustomer, mode: Mode) -> bool:
        """Whether Autumn still shows these values, whatever its receipts flag is."""
        same = _digests(autumn, self.copied_keys) == self.digests
        return same and autumn.stripe_id == self.stripe_id and autumn.mode == mode

    def view(self, autumn: AutumnCustomer, mode: Mode) -> StripeView:
        """Return Stripe's side of a customer whose values fit.

        Payments are left out while the flag stays as it is, because the watch requests a sync for each new one.
        """
        metadata = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: metadata_text(self.receipts_on)}
        metadata |= {key: text for key, text in _copied(autumn, self.copied_keys).items() if text}
        linked = StripeCustomer(self.stripe_id, autumn.name, autumn.email, mode, metadata)
        return StripeView(
            linked=linked, payments=Payments(()) if autumn.send_email_receipts == self.receipts_on else None
        )

    def is_still_in_stripe(self, stripe: StripeCustomer, autumn_id: str, changes: Changes, mode: Mode) -> bool:
        """Whether the answer to the first write shows these values, except the fields of the changes."""
        others = [name for name in PROFILE if name not in changes]
        same = all(digest_of(autumn_id, name, getattr(stripe, name)) == self.digests[name] for name in others)
        return same and stripe.owner == autumn_id and stripe.mode == mode

    @property
    def copied_keys(self) -> Collection[str]:
        """The metadata keys that were copied to Stripe when the values were verified."""
        return [name.removeprefix("metadata.") for name in self.digests if name not in PROFILE]


def verify(
    autumn: AutumnCustomer, stripe: StripeCustomer | None, policy: Policy, *, at: float, changes: int
) -> Verified | None:
    """Return the values of both sides; None if the customer is not linked to its own, or the sides differ."""
    if stripe is None or stripe.id != autumn.stripe_id or stripe.owner != autumn.id:
        return None
    keys = policy.metadata_keys
    copied = _copied(autumn, keys)
    shown = {key: stripe.metadata.get(key, "") for key in copied}
    names = digests_of(autumn.id, {name: getattr(stripe, name) for name in PROFILE})
    digests = _digests(autumn, keys)
    same = shown == copied and all(digests[name] == names[name] for name in PROFILE)
    if not same or stripe.metadata.get(SEND_EMAIL_RECEIPTS) != metadata_text(autumn.send_email_receipts):
        return None
    return Verified(stripe.id, at, autumn.send_email_receipts, digests, policy.receipts, changes)


def is_fitting(verified: Verified, policy: Policy) -> bool:
    """Whether the values were verified under this policy."""
    return {*verified.copied_keys} == {*policy.metadata_keys} and verified.receipts == policy.receipts


def can_be_written(changes: Changes) -> bool:
    """Whether changes can be sent without a fetch: they set no link, and clear no name or e-mail."""
    values = [changes[name] for name in PROFILE if name in changes]
    return "stripe_id" not in changes and all(values) and too_long(changes) is None


def read_verified(text: str) -> Verified:
    """Return the values that a record holds. Raises ValueError, TypeError or KeyError if the text is malformed."""
    found = json.loads(text)
    verified = Verified(**{**found, "digests": dict(found["digests"])})
    texts = [verified.stripe_id, verified.receipts, *verified.digests.values()]
    if not all(isinstance(each, str) for each in texts) or not isinstance(verified.receipts_on, bool):
        raise TypeError("not digests")
    if not isinstance(verified.changes, int):
        raise TypeError("not a count")
    if isinstance(verified.at, bool) or not math.isfinite(verified.at) or not set(PROFILE) <= verified.digests.keys():
        raise ValueError("not a time, or no digests")
    return verified


def write_verified(verified: Verified | None) -> str:
    """Return the values as a record holds them; "" for None."""
    return "" if verified is None else json.dumps(vars(verified))


def _digests(autumn: AutumnCustomer, keys: Collection[str]) -> dict[str, str]:
    shown = shown_by(autumn)
    return digests_of(autumn.id, {name: shown.get(name) for name in (*PROFILE, *(f"metadata.{key}" for key in keys))})


def _copied(autumn: AutumnCustomer, keys: Collection[str]) -> dict[str, str]:
    """Return the metadata that Stripe has of a customer that agrees; "" for a key without a value."""
    return {key: _as_copied(autumn.metadata.get(key)) for key in keys}


def _as_copied(value: JsonValue) -> str:
    return "" if value is None else metadata_text(value)[:METADATA_VALUE_MAX]
