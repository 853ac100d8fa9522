"""The Autumn simulator's client of Stripe: over real HTTP and with the organisation's key.

It decides nothing about Autumn's customers. It turns a failure of Stripe into Autumn's error for it.
"""

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from sandbox.autumn.reads import Behaviour
from sandbox.autumn.rows import RefusedError, Row

Form = dict[str, str]

_TIMEOUT = aiohttp.ClientTimeout(total=80)
_STRIPE_VERSION = "2025-10-29.preview"
_LOST = "An error occurred with our connection to Stripe."
_UNREADABLE = "Invalid JSON received from the Stripe API"
_MOST_TRIES = 3
_METADATA_KEYS = 48
_KEY_CHARACTERS = 40
_VALUE_CHARACTERS = 500
_EXPANDED = ("test_clock", "invoice_settings.default_payment_method", "discount.source.coupon.applies_to")


class StripeCaller:
    """The organisation's access to Stripe; the key is None if the organisation has not connected Stripe.

    After a 5xx it retries with the same Idempotency-Key and makes three attempts in all.
    """

    def __init__(self, url: str, key: str | None, env: str, behaviour: Behaviour) -> None:
        """Note the URL of Stripe; `session` opens the connection."""
        self.url = url
        self.key = key
        self.env = env
        self.behaviour = behaviour
        self.session: aiohttp.ClientSession | None = None

    def open(self) -> aiohttp.ClientSession:
        """Open a session for the time that the simulator serves; the caller closes it."""
        self.session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self.session

    async def retrieve(self, stripe_id: str) -> dict[str, Any]:
        """Call `GET /v1/customers/{id}`; a deleted customer is a success as well.

        Raises:
            RefusedError: Stripe failed.
        """
        return await self._call("GET", f"/v1/customers/{quote(stripe_id, safe='')}")

    async def update(self, stripe_id: str, form: Form) -> dict[str, Any]:
        """Call `POST /v1/customers/{id}` with the SDK's random key, so that the write causes an echo in Autumn.

        Raises:
            RefusedError: Stripe failed.
        """
        key = f"stripe-node-retry-{uuid.uuid4()}"
        return await self._call("POST", f"/v1/customers/{quote(stripe_id, safe='')}", form, key)

    async def create(self, row: Row, forwarded: Form) -> dict[str, Any]:
        """Call `POST /v1/customers` for an Autumn customer, with a key that begins with `autumn:`.

        Raises:
            RefusedError: Stripe failed.
        """
        form = {name: row[name] for name in ("name", "email") if row[name]}
        form["metadata[autumn_id]"] = row["id"] or ""
        form["metadata[autumn_internal_id]"] = row["internal_id"]
        form |= forwarded
        form |= {f"expand[{place}]": what for place, what in enumerate(_EXPANDED)}
        digest = hashlib.sha256(row["internal_id"].encode()).digest()
        return await self._call("POST", "/v1/customers", form, f"autumn:customer:{base64.b64encode(digest).decode()}")

    async def delete(self, stripe_id: str) -> None:
        """Call `DELETE /v1/customers/{id}`.

        Raises:
            RefusedError: Stripe failed.
        """
        await self._call("DELETE", f"/v1/customers/{quote(stripe_id, safe='')}")

    async def import_billing(self, stripe_id: str) -> None:
        """Read the subscriptions and schedules of the Stripe customer to which a new customer is linked.

        Raises:
            RefusedError: Stripe failed; both calls were made.
        """
        customer = quote(stripe_id, safe="")
        failures = []
        for path in (
            f"/v1/subscriptions?customer={customer}&limit=100",
            f"/v1/subscription_schedules?customer={customer}&scheduled=true&limit=100",
        ):
            try:
                await self._call("GET", path)
            except RefusedError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    async def _call(self, method: str, path: str, form: Form | None = None, key: str | None = None) -> dict[str, Any]:
        if self.key is None:
            raise _not_connected(self.env)
        if self.session is None:
            raise RuntimeError("the simulator calls Stripe only while it serves")
        headers = {"Authorization": f"Bearer {self.key}", "Stripe-Version": _STRIPE_VERSION}
        if key:
            headers["Idempotency-Key"] = key
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = "&".join(f"{name}={quote(value, safe='')}" for name, value in (form or {}).items())
        status, raw = 0, b""
        try:
            for tried in range(_MOST_TRIES):
                if tried:
                    await asyncio.sleep(self.behaviour.stripe_retry_pause_seconds)
                async with self.session.request(
                    method, URL(self.url + path, encoded=True), data=body.encode() or None, headers=headers
                ) as answer:
                    status, raw = answer.status, await answer.read()
                if status < 500:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RefusedError(400, "stripe_error", f"(Stripe Error) {_LOST}") from error
        return _read(status, raw)


def stripe_metadata(metadata: Mapping[str, Any], removed: list[str]) -> Form:
    """Return the fields of forwarded metadata, within Stripe's limits and without keys that begin with `autumn_`."""
    form: Form = {}
    for key, value in list(metadata.items())[:_METADATA_KEYS]:
        if not key.startswith("autumn_"):
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            form[f"metadata[{key[:_KEY_CHARACTERS]}]"] = text[:_VALUE_CHARACTERS]
    return form | {f"metadata[{key[:_KEY_CHARACTERS]}]": "" for key in removed if not key.startswith("autumn_")}


def _read(status: int, raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RefusedError(400, "stripe_error", f"(Stripe Error) {_UNREADABLE}")
    if status < 400:
        return answer
    error = answer.get("error")
    message = str(error.get("message", "")) if isinstance(error, dict) else ""
    if status == 429:
        raise RefusedError(429, "stripe_rate_limit_exceeded", message)
    raise RefusedError(400, "stripe_error", f"(Stripe Error) {message}")


def _not_connected(env: str) -> RefusedError:
    page = "https://app.useautumn.com/sandbox/dev" if env == "sandbox" else "https://app.useautumn.com/dev"
    return RefusedError(
        400,
        "invalid_request",
        f"There is no Stripe account linked to this organization. Please connect it here: {page}?tab=stripe",
    )
