"""The door to Stripe: the few requests a sync makes, each answer read into a model of our own.

The only file that calls Stripe. Requests go through the SDK's raw call and their bodies into models of our own,
because the SDK's objects check nothing and building them is half the cost of a call. The SDK retries nothing:
retries are decided with the customer's whole history in hand, and each begins with a new look.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, NamedTuple

import aiohttp
import stripe
from stripe.params import (
    CustomerCreateParams,
    CustomerListParams,
    CustomerSearchParams,
    CustomerUpdateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentIntentUpdateParams,
)

from jobs.errors import Absent, GiveUp, Halt, OthersFound
from jobs.observer import NOBODY, Observer, observed
from jobs.plan.customer import AUTUMN_ID, NoCustomer, PaymentIntent, Payments, StripeCustomer, normal_form
from jobs.plan.steps import RECEIPT_MARK, ReceiptStep, UpdateStripe
from jobs.stripe.errors import SDK_ERRORS, account_named_by, as_sync_error, status_of
from jobs.stripe.models import (
    AccountAnswer,
    CustomerAnswer,
    CustomerAnswers,
    PaymentAnswer,
    PaymentAnswers,
    parse,
    parse_one,
    unexpected,
)
from jobs.stripe.transport import CarefulClient, path_of

LIST = "GET /v1/customers"
SEARCH = "GET /v1/customers/search"
CREATE = "POST /v1/customers"
RETRIEVE = "GET /v1/customers/{id}"
UPDATE = "POST /v1/customers/{id}"
LIST_PAYMENTS = "GET /v1/payment_intents"
RETRIEVE_PAYMENT = "GET /v1/payment_intents/{id}"
UPDATE_PAYMENT = "POST /v1/payment_intents/{id}"
ACCOUNT = "GET /v1/account"
ENDPOINTS = (LIST, SEARCH, CREATE, RETRIEVE, UPDATE, LIST_PAYMENTS, RETRIEVE_PAYMENT, UPDATE_PAYMENT)
LIST_LIMIT = 100
NAMED_AT_MOST = 5
NOBODY_ID = "customer-sync-nobody"
"""An id that no customer of Autumn's has; it does no harm if one does."""


Throttle = Callable[[str], AbstractAsyncContextManager[None]]
"""Waits until one request to the endpoint, named "METHOD /path/{id}", may go out, and sees how it ends."""


def idempotency_key(customer_id: str, entry_ids: Sequence[str], step: str) -> str:
    """The key of one write: the same customer, entries and step give the same key, anything else another.

    It begins with `autumn:`, because Autumn takes every other customer.updated for an edit by hand and copies it
    back. The rest is a digest, because a key may have 255 characters and a hundred entries' ids have more.
    """
    digest = hashlib.sha256("\n".join([customer_id, step, *entry_ids]).encode()).hexdigest()[:40]
    return f"autumn:{step}:{digest}"


def _address(email: str) -> str:
    """The address in one spelling: Stripe may store its domain in punycode, and another case."""
    name, at, domain = normal_form("email", email).rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{name}{at}{domain}"


def _others_found(autumn_id: str, others: set[str]) -> OthersFound:
    named = ", ".join(sorted(others)[:NAMED_AT_MOST])
    text = (
        f"asked for the Stripe customers of {autumn_id}, answered with others only: {named}. "
        f"If this lasts, link {autumn_id} in Autumn to its Stripe customer, then replay"
    )
    return OthersFound("stripe", "unexpected_response", text)


class _Answer(NamedTuple):
    data: object
    is_repeated: bool


class Created(NamedTuple):
    """A created customer. `is_repeated`: an earlier request with the same key has created it."""

    customer: StripeCustomer
    is_repeated: bool


class StripeGateway:
    """Stripe's customers, as a sync needs them. Every request is throttled under the shared rates first."""

    def __init__(self, client: stripe.StripeClient, throttle: Throttle, observer: Observer = NOBODY) -> None:
        """`throttle` waits until one request to the named endpoint may go out, and sees how it ends."""
        self._client = client
        self._throttle = throttle
        self._observer = observer

    async def retrieve(self, stripe_id: str) -> StripeCustomer | NoCustomer:
        """The customer, or that there is none (any more). Raises SyncError for anything else."""
        try:
            body = await self._get(RETRIEVE, stripe_id=stripe_id)
        except Absent:
            return NoCustomer.MISSING
        customer = parse_one(CustomerAnswer, body, stripe_id)
        return NoCustomer.DELETED if customer.deleted else customer.as_ours()

    async def find_ours(self, autumn_id: str, email: str | None) -> tuple[tuple[StripeCustomer, ...], bool]:
        """Every customer that carries this `metadata.autumn_id`, by e-mail list (exact, at once) and by search (lags).

        What only the search shows is retrieved, because it may have changed since. False where the account has no
        search: then there may be others. Raises SyncError if a look fails: then nothing may be created.

        An answer that shows only customers of other owners may hide ours, so it raises OthersFound: the sync tries
        again, and after RETRY_FOR the event is a dead letter that names them. A deleted customer is skipped, and if
        one of ours is found, the others do not matter.
        """
        others = set[str]()
        found = await self._listed(autumn_id, email, others) if email else {}
        search: CustomerSearchParams = {
            "query": f"metadata['{AUTUMN_ID}']:'{autumn_id}'",
            "limit": LIST_LIMIT,
        }
        try:
            page = parse(CustomerAnswers, await self._get(SEARCH, dict(search)))
        except GiveUp:
            # The query is always of the same form: who refuses it has no search, as in India.
            searched = False
        else:
            searched = True
            for each in page.objects():
                if each.id not in found:
                    await self._look_at_hit(each, autumn_id, found, others)
        if others and not found:
            raise _others_found(autumn_id, others)
        return tuple(found.values()), searched

    async def _look_at_hit(
        self, hit: CustomerAnswer, autumn_id: str, found: dict[str, StripeCustomer], others: set[str]
    ) -> None:
        """Add what the search shows, as it is now, to `found`; the id of what was not asked for to `others`."""
        now = await self.retrieve(hit.id)
        if not isinstance(now, StripeCustomer):
            return
        if now.owner == autumn_id:
            found[now.id] = now
        elif autumn_id.casefold() not in {(hit.metadata.get(AUTUMN_ID) or "").casefold(), (now.owner or "").casefold()}:
            # The search ignores case, and shows what was so some time ago.
            others.add(hit.id)

    async def _listed(self, autumn_id: str, email: str, others: set[str]) -> dict[str, StripeCustomer]:
        """Those of `find_ours` that have this e-mail address, by id; ids of what was not asked for go to `others`."""
        params: CustomerListParams = {"email": email, "limit": LIST_LIMIT}
        found = {}
        async for each in self._pages(LIST, dict(params)):
            if each.owner == autumn_id:
                found[each.id] = each
            elif _address(each.email or "") != _address(email):
                others.add(each.id)
        return found

    async def account_id(self) -> str:
        """Return the id of the account that the key belongs to.

        A restricted key often may not read it; then Stripe's refusal names the id. Raises SyncError.
        """
        try:
            return parse(AccountAnswer, await self._get(ACCOUNT)).id
        except Halt as error:
            named = account_named_by(error)
            if named is None:
                raise
            return named

    async def has_search(self) -> bool:
        """Whether the account has search, by a search for a customer that is not there. Raises SyncError."""
        search: CustomerSearchParams = {"query": f"metadata['{AUTUMN_ID}']:'{NOBODY_ID}'", "limit": 1}
        try:
            await self._get(SEARCH, dict(search))
        except GiveUp:
            return False
        return True

    async def customer_page(
        self, after: str, *, created_since_ms: int | None = None
    ) -> tuple[list[StripeCustomer], str | None]:
        """The hundred customers behind the id `after`, newest first, and the id to go on from, None at the end.

        "" begins. With `created_since_ms` (milliseconds since the epoch) only those that were created then or later.
        Raises SyncError; Absent where `after` was deleted meanwhile.
        """
        params: CustomerListParams = {"limit": LIST_LIMIT}
        if after:
            params["starting_after"] = after
        if created_since_ms is not None:
            params["created"] = {"gte": created_since_ms // 1000}
        page = parse(CustomerAnswers, await self._get(LIST, dict(params)))
        return [each.as_ours() for each in page.objects(after)], page.last_id

    async def payment_page(
        self, after: str, *, with_charges: bool
    ) -> tuple[list[tuple[str, PaymentIntent]], str | None]:
        """The hundred payment intents of all customers behind `after`, each with its customer; as `customer_page`.

        Those of no customer are left out. `with_charges`: see `payments`.
        """
        params: PaymentIntentListParams = {"limit": LIST_LIMIT}
        if after:
            params["starting_after"] = after
        if with_charges:
            params["expand"] = ["data.latest_charge"]
        page = parse(PaymentAnswers, await self._get(LIST_PAYMENTS, dict(params)))
        return [(each.customer_id, each.as_ours()) for each in page.objects(after) if each.customer_id], page.last_id

    async def create(self, autumn_id: str, generation: int, still_ours: Callable[[], None]) -> Created:
        """Create the customer of an Autumn id; asked again within 24 hours, Stripe answers as it did the first time.

        The body is constant and the key depends on the id and the `generation` alone, so that no retry and no race
        makes a second customer. A failure that Stripe stored is repeated too: the next generation gets past it, and
        may be used only when a search would have found what the failed one left behind. `still_ours` raises where
        the right to write is lost; it is asked after the throttle.
        """
        params: CustomerCreateParams = {"metadata": {AUTUMN_ID: autumn_id}}
        key = idempotency_key(autumn_id, (), f"create-{generation}")
        answer = await self._post(CREATE, key, still_ours, dict(params))
        created = parse(CustomerAnswer, answer.data)
        if created.metadata.get(AUTUMN_ID) != autumn_id:
            raise unexpected(
                f"asked to create a customer, answered with {created.id}, whose {AUTUMN_ID} is another one"
            )
        return Created(created.as_ours(), answer.is_repeated)

    async def update(self, step: UpdateStripe, key: str, still_ours: Callable[[], None]) -> StripeCustomer:
        """Write a step's fields under the idempotency key; the customer as it is afterwards. See `create`."""
        params: CustomerUpdateParams = {}
        if step.name is not None:
            params["name"] = step.name
        if step.email is not None:
            params["email"] = step.email
        if step.metadata:
            params["metadata"] = dict(step.metadata)
        answer = await self._post(UPDATE, key, still_ours, dict(params), stripe_id=step.stripe_id)
        return parse_one(CustomerAnswer, answer.data, step.stripe_id).as_ours()

    async def payments(self, stripe_id: str, *, with_charges: bool) -> Payments:
        """The newest hundred payment intents of a customer, in one call. Raises SyncError.

        `succeeded_at` is known only `with_charges`, which a restricted key may read with the permission for charges.
        """
        params: PaymentIntentListParams = {"customer": stripe_id, "limit": LIST_LIMIT}
        if with_charges:
            params["expand"] = ["data.latest_charge"]
        page = parse(PaymentAnswers, await self._get(LIST_PAYMENTS, dict(params)))
        for each in page.objects():
            if each.customer_id != stripe_id:
                raise unexpected(f"asked for payments of {stripe_id}, answered with {each.id} of another customer")
        return Payments(tuple(each.as_ours() for each in page.objects()), all_seen=not page.has_more)

    async def payment(self, intent_id: str) -> PaymentIntent:
        """One payment intent as it is now. Raises SyncError."""
        params: PaymentIntentRetrieveParams = {"expand": ["latest_charge"]}
        body = await self._get(RETRIEVE_PAYMENT, dict(params), stripe_id=intent_id)
        return parse_one(PaymentAnswer, body, intent_id).as_ours()

    async def write_receipt(self, step: ReceiptStep, key: str, still_ours: Callable[[], None]) -> PaymentIntent:
        """Set or clear a payment's receipt address, with our mark beside it; the payment afterwards. See `create`."""
        params: PaymentIntentUpdateParams = {
            "receipt_email": step.address,
            "metadata": {RECEIPT_MARK: step.mark},
        }
        answer = await self._post(UPDATE_PAYMENT, key, still_ours, dict(params), stripe_id=step.intent_id)
        return parse_one(PaymentAnswer, answer.data, step.intent_id).as_ours()

    async def _pages(self, endpoint: str, params: dict[str, Any]) -> AsyncIterator[StripeCustomer]:
        """Each customer of a list once. Raises SyncError, also for a page that brings nothing new."""
        seen = set[str]()
        while True:
            page = parse(CustomerAnswers, await self._get(endpoint, params))
            new = [each for each in page.objects(params.get("starting_after", "")) if each.id not in seen]
            if page.has_more and not new:
                raise unexpected("the list does not go on: a page brings nothing new")
            for customer in new:
                yield customer.as_ours()
            if page.last_id is None:
                return
            seen |= {each.id for each in new}
            params["starting_after"] = page.last_id

    async def _get(self, endpoint: str, params: Mapping[str, Any] | None = None, *, stripe_id: str = "") -> object:
        async with self._throttle(endpoint):
            return (await self._send(endpoint, stripe_id, params or {})).data

    async def _post(
        self, endpoint: str, key: str, still_ours: Callable[[], None], params: Mapping[str, Any], *, stripe_id: str = ""
    ) -> _Answer:
        async with self._throttle(endpoint):
            still_ours()
            return await self._send(endpoint, stripe_id, {**params, "idempotency_key": key})

    async def _send(self, endpoint: str, stripe_id: str, params: Mapping[str, Any]) -> _Answer:
        method, route = endpoint.split(" ")
        with observed(self._observer, "stripe", endpoint) as call:
            try:
                path = path_of(route, stripe_id)
                answer = await self._client.raw_request_async(method.lower(), path, **params)
            except SDK_ERRORS as error:
                call.status_code = status_of(error)
                raise as_sync_error(error) from error
            call.status_code = answer.code
        is_repeated = {name.lower(): value for name, value in answer.headers.items()}.get("idempotent-replayed")
        return _Answer(answer.data, is_repeated == "true")


@asynccontextmanager
async def open_stripe(
    *,
    api_key: str,
    base_url: str,
    throttle: Throttle,
    max_connections: int = 50,
    timeout_seconds: float = 30.0,
    observer: Observer = NOBODY,
) -> AsyncIterator[StripeGateway]:
    """Open the connections to Stripe and close them at the end; `throttle` as StripeGateway takes it."""
    stripe.enable_telemetry = False  # a switch of the SDK's module; there is none per client
    connector = aiohttp.TCPConnector(limit=max_connections)
    timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=10.0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url},
            max_network_retries=0,
            http_client=CarefulClient(session, timeout=timeout),
        )
        yield StripeGateway(client, throttle, observer)
