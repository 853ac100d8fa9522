"""Read the events that Stripe sends by webhook. No HTTP, no clock.

Stripe's SDK checks the signature. It can check the age only by its own clock, so the age is checked here.
"""

from collections.abc import Sequence
from typing import Final

import pydantic_core
import stripe

from jobs.stripe.events import EventAnswer

TOLERANCE_SECONDS: Final = 300.0
"""The greatest difference between the time of a signature and now, as in Stripe's SDK."""
_DIGITS_MAX: Final = 12


class WebhookError(ValueError):
    """A request that is not an event signed by Stripe. The text says why and contains no value of the request."""


def verified_event(
    payload: bytes,
    signature: str,
    secrets: Sequence[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float,
) -> EventAnswer:
    """Return the event in the raw body of a request whose `Stripe-Signature` fits one of the secrets.

    `now` is in seconds since the epoch. An empty `signature` is a missing header. Several secrets are valid while one
    is rolled. A part of the event of an unknown form is named by its `wrong`; the id is always known.

    Raises:
        WebhookError: the header is missing or wrong, no secret fits, the signature is too old or is from the future,
            or the body is not an event.
    """
    if not signature:
        raise WebhookError("no signature: the header Stripe-Signature is missing")
    signed_at = _signed_at(signature)
    if not any(_fits(payload, signature, secret) for secret in secrets):
        raise WebhookError("no secret fits the signature: compare STRIPE_WEBHOOK_SECRETS with the endpoint in Stripe")
    if abs(now - signed_at) > tolerance_seconds:
        when = "is too old" if signed_at < now else "is from the future"
        raise WebhookError(f"the signature {when}: check the clock of this machine")
    return _event(payload)


def _signed_at(signature: str) -> int:
    """Return the time in the header, in seconds since the epoch. Raises WebhookError unless there is exactly one.

    The SDK would use the first of several, and may find one that is not the time that was checked here.
    """
    times = [part[2:] for part in signature.split(",") if part.partition("=")[0] == "t"]
    # The SDK cannot compare signatures that are not ASCII.
    if len(times) != 1 or not signature.isascii() or not times[0].isdigit() or len(times[0]) > _DIGITS_MAX:
        raise WebhookError("no signature: the header Stripe-Signature has another form than Stripe's")
    return int(times[0])


def _fits(payload: bytes, signature: str, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(payload, signature, secret))
    except (stripe.SignatureVerificationError, UnicodeError):
        # A body or a secret that is not UTF-8 text has no signature.
        return False


def _event(payload: bytes) -> EventAnswer:
    try:
        body = pydantic_core.from_json(payload)
    except ValueError:
        raise WebhookError("not an event: the body is not JSON") from None
    event = EventAnswer.model_validate(body)
    if "id" in event.wrong or body.get("object") != "event":
        raise WebhookError("not an event: the body is another object")
    return event
