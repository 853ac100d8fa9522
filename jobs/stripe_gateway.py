"""The door to Stripe: the few requests a sync makes, each answer read into a model of our own.

The only file that calls Stripe. Requests go through the SDK's raw call and their bodies into models of our own,
because the SDK's objects check nothing and building them is half the cost of a call. The SDK retries nothing:
retries are decided with the customer's whole history in hand, and each begins with a new look.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import stripe
from pydantic import BaseModel, ConfigDict, ValidationError
from stripe.params import (
    CustomerCreateParams,
    CustomerListParams,
    CustomerSearchParams,
    CustomerUpdateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentIntentUpdateParams,
)

from jobs.customer import AUTUMN_ID, NoCustomer, PaymentIntent, Payments, StripeCustomer
from jobs.errors import Absent, GiveUp, TryAgain
from jobs.profile import UpdateStripe
from jobs.receipts import MARK, ReceiptStep, SetReceiptEmail
from jobs.stripe_errors import SDK_ERRORS, as_sync_error

LIST = "GET /v1/customers"
SEARCH = "GET /v1/customers/search"
CREATE = "POST /v1/customers"
RETRIEVE = "GET /v1/customers/{id}"
UPDATE = "POST /v1/customers/{id}"
LIST_PAYMENTS = "GET /v1/payment_intents"
RETRIEVE_PAYMENT = "GET /v1/payment_intents/{id}"
UPDATE_PAYMENT = "POST /v1/payment_intents/{id}"
LIST_LIMIT = 100


class _Customer(BaseModel):
    """A customer object, as far as it is read here. Source: Stripe's API reference, the customer object."""

    model_config = ConfigDict(frozen=True)

    id: str
    deleted: bool = False
    name: str | None = None
    email: str | None = None
    livemode: bool | None = None
    """Only a deleted customer has none."""
    metadata: dict[str, str] = {}

    def as_ours(self) -> StripeCustomer:
        if self.livemode is None:
            raise TryAgain("stripe", "unexpected_response", "wrong fields: livemode", maybe_applied=True)
        return StripeCustomer(self.id, self.name, self.email, "live" if self.livemode else "test", self.metadata)


class _Page(BaseModel):
    """A page of a list or of a search."""

    data: list[_Customer]
    has_more: bool


class _Charge(BaseModel):
    """The charge of a payment, as far as it is read here. Source: Stripe's API reference, the charge object."""

    created: float
    receipt_email: str | None = None
    """Where the receipt was sent."""


class _PaymentIntent(BaseModel):
    """A payment intent, as far as it is read here. Source: Stripe's API reference, the PaymentIntent object."""

    id: str
    status: str
    receipt_email: str | None = None
    metadata: dict[str, str] = {}
    latest_charge: _Charge | str | None = None
    """The charge where it was asked for, else its id."""

    def as_ours(self) -> PaymentIntent:
        charge = self.latest_charge if isinstance(self.latest_charge, _Charge) else None
        succeeded_at = charge.created if charge and self.status == "succeeded" else None
        was_mailed = charge is not None and bool(charge.receipt_email)
        return PaymentIntent(self.id, self.status, self.receipt_email or None, self.metadata, succeeded_at, was_mailed)


class _Payments(BaseModel):
    """A page of payment intents."""

    data: list[_PaymentIntent]
    has_more: bool


Turn = Callable[[str], AbstractAsyncContextManager[None]]
"""Waits until one request to the endpoint, named "METHOD /path/{id}", may go out, and sees how it ends."""
Model = TypeVar("Model", bound=BaseModel)


def idempotency_key(customer_id: str, entry_ids: Sequence[str], step: str) -> str:
    """The key of one write: the same customer, entries and step give the same key, anything else another.

    It begins with `autumn:`, because Autumn takes every other customer.updated for an edit by hand and copies it
    back. The rest is a digest, because a key may have 255 characters and a hundred entries' ids have more.
    """
    digest = hashlib.sha256("\n".join([customer_id, step, *entry_ids]).encode()).hexdigest()[:40]
    return f"autumn:{step}:{digest}"


class StripeGateway:
    """Stripe's customers, as a sync needs them. Every request waits for its turn under the shared rates first."""

    def __init__(self, client: stripe.StripeClient, turn: Turn) -> None:
        """`turn` waits until one request to the named endpoint may go out, and sees how it ends."""
        self._client = client
        self._turn = turn

    async def retrieve(self, stripe_id: str) -> StripeCustomer | NoCustomer:
        """The customer, or that there is none (any more). Raises SyncError for anything else."""
        try:
            body = await self._get(RETRIEVE, stripe_id=stripe_id)
        except Absent:
            return NoCustomer.MISSING
        customer = _parse(_Customer, body)
        return NoCustomer.DELETED if customer.deleted else customer.as_ours()

    async def find_ours(self, autumn_id: str, email: str | None) -> tuple[tuple[StripeCustomer, ...], bool]:
        """Every customer that carries this `metadata.autumn_id`, by e-mail list (exact, at once) and by search (lags).

        What only the search shows is retrieved, because it may have changed since. False where the account has no
        search: then there may be others. Raises SyncError if a look fails: then nothing may be created.
        """
        found: dict[str, StripeCustomer] = {}
        if email:
            listed: CustomerListParams = {"email": email, "limit": LIST_LIMIT}
            pages = self._pages(LIST, dict(listed))
            found |= {each.id: each async for each in pages if each.metadata.get(AUTUMN_ID) == autumn_id}
        search: CustomerSearchParams = {
            "query": f"metadata['{AUTUMN_ID}']:'{autumn_id}'",
            "limit": LIST_LIMIT,
        }
        try:
            page = _parse(_Page, await self._get(SEARCH, dict(search)))
        except GiveUp:
            # The query is always of the same form: who refuses it has no search, as in India.
            return tuple(found.values()), False
        for each in page.data:
            if each.id not in found:
                now = await self.retrieve(each.id)
                if isinstance(now, StripeCustomer) and now.owner == autumn_id:
                    found[now.id] = now
        return tuple(found.values()), True

    async def create(self, autumn_id: str, generation: int, still_ours: Callable[[], None]) -> StripeCustomer:
        """Create the customer of an Autumn id; asked again within 24 hours, Stripe answers as it did the first time.

        The body is constant and the key depends on the id and the `generation` alone, so that no retry and no race
        makes a second customer. A failure that Stripe stored is repeated too: the next generation gets past it, and
        may be used only when a search would have found what the failed one left behind. `still_ours` raises where
        the right to write is lost; it is asked when the request's turn has come.
        """
        params: CustomerCreateParams = {"metadata": {AUTUMN_ID: autumn_id}}
        key = idempotency_key(autumn_id, (), f"create-{generation}")
        return _parse(_Customer, await self._post(CREATE, key, still_ours, dict(params))).as_ours()

    async def update(self, step: UpdateStripe, key: str, still_ours: Callable[[], None]) -> StripeCustomer:
        """Write a step's fields under the idempotency key; the customer as it is afterwards. See `create`."""
        params: CustomerUpdateParams = {}
        if step.name is not None:
            params["name"] = step.name
        if step.email is not None:
            params["email"] = step.email
        if step.metadata:
            params["metadata"] = dict(step.metadata)
        body = await self._post(UPDATE, key, still_ours, dict(params), stripe_id=step.stripe_id)
        return _parse(_Customer, body).as_ours()

    async def payments(self, stripe_id: str, *, with_charges: bool) -> Payments:
        """The newest hundred payment intents of a customer, in one call. Raises SyncError.

        `succeeded_at` is known only `with_charges`, which a restricted key may read with the permission for charges.
        """
        params: PaymentIntentListParams = {"customer": stripe_id, "limit": LIST_LIMIT}
        if with_charges:
            params["expand"] = ["data.latest_charge"]
        page = _parse(_Payments, await self._get(LIST_PAYMENTS, dict(params)))
        return Payments(tuple(each.as_ours() for each in page.data), all_seen=not page.has_more)

    async def payment(self, intent_id: str) -> PaymentIntent:
        """One payment intent as it is now. Raises SyncError."""
        params: PaymentIntentRetrieveParams = {"expand": ["latest_charge"]}
        body = await self._get(RETRIEVE_PAYMENT, dict(params), stripe_id=intent_id)
        return _parse(_PaymentIntent, body).as_ours()

    async def write_receipt(self, step: ReceiptStep, key: str, still_ours: Callable[[], None]) -> PaymentIntent:
        """Set or clear a payment's receipt address, with our mark beside it; the payment afterwards. See `create`."""
        params: PaymentIntentUpdateParams = {
            "receipt_email": step.address if isinstance(step, SetReceiptEmail) else "",
            "metadata": {MARK: step.mark},
        }
        body = await self._post(UPDATE_PAYMENT, key, still_ours, dict(params), stripe_id=step.intent_id)
        return _parse(_PaymentIntent, body).as_ours()

    async def _pages(self, endpoint: str, params: dict[str, Any]) -> AsyncIterator[StripeCustomer]:
        while True:
            page = _parse(_Page, await self._get(endpoint, params))
            for customer in page.data:
                yield customer.as_ours()
            if not page.has_more or not page.data:
                return
            params["starting_after"] = page.data[-1].id

    async def _get(self, endpoint: str, params: Mapping[str, Any] | None = None, *, stripe_id: str = "") -> object:
        async with self._turn(endpoint):
            return await self._send(endpoint, stripe_id, params or {})

    async def _post(
        self, endpoint: str, key: str, still_ours: Callable[[], None], params: Mapping[str, Any], *, stripe_id: str = ""
    ) -> object:
        async with self._turn(endpoint):
            still_ours()
            return await self._send(endpoint, stripe_id, {**params, "idempotency_key": key})

    async def _send(self, endpoint: str, stripe_id: str, params: Mapping[str, Any]) -> object:
        method, route = endpoint.split(" ")
        try:
            path = route.replace("{id}", quote(stripe_id, safe=""))
            answer = await self._client.raw_request_async(method.lower(), path, **params)
        except SDK_ERRORS as error:
            raise as_sync_error(error) from error
        data: object = answer.data
        return data


def _parse(model: type[Model], body: object) -> Model:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in each["loc"]) for each in error.errors(include_input=False))
        raise TryAgain("stripe", "unexpected_response", f"wrong fields: {fields}", maybe_applied=True) from None


@asynccontextmanager
async def open_stripe(
    *,
    api_key: str,
    base_url: str,
    turn: Turn,
    max_connections: int = 50,
    timeout_seconds: float = 30.0,
) -> AsyncIterator[StripeGateway]:
    """Open the connections to Stripe and close them at the end; `turn` as StripeGateway takes it."""
    stripe.enable_telemetry = False  # a switch of the SDK's module; there is none per client
    connector = aiohttp.TCPConnector(limit=max_connections)
    timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=10.0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url},
            max_network_retries=0,
            http_client=stripe.AIOHTTPClient(session=session, timeout=timeout),
        )
        yield StripeGateway(client, turn)
