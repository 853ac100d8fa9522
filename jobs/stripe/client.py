"""The client of Stripe: the few requests that a sync makes, each answer read into one of our models.

Only this file calls Stripe. It sends requests by the SDK's raw call and validates the bodies with our own models: the
SDK's objects validate nothing, and building them is half the cost of a call. The SDK retries nothing. A sync decides
about retries because it knows the customer's whole history, and each retry begins with a new fetch.
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
    EventListParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentIntentUpdateParams,
)

from jobs.errors import Absent, GiveUp, Halt, OthersFound
from jobs.observer import NOBODY, Observer, observed
from jobs.plan.customer import AUTUMN_ID, NoCustomer, PaymentIntent, Payments, StripeCustomer, normal_form
from jobs.plan.steps import RECEIPT_MARK, ReceiptStep, UpdateStripe
from jobs.stripe.errors import SDK_ERRORS, account_named_by, as_sync_error, status_of
from jobs.stripe.events import OUR_KEY, EventAnswer, EventAnswers
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
LIST_EVENTS = "GET /v1/events"
ACCOUNT = "GET /v1/account"
ENDPOINTS = (LIST, SEARCH, CREATE, RETRIEVE, UPDATE, LIST_PAYMENTS, RETRIEVE_PAYMENT, UPDATE_PAYMENT, LIST_EVENTS)
LIST_LIMIT = 100
NAMED_AT_MOST = 5
NOBODY_ID = "customer-sync-nobody"
"""An id that no customer of Autumn has. It does no harm if one does."""

Throttle = Callable[[str], AbstractAsyncContextManager[None]]
"""A context manager for one request to an endpoint, named "METHOD /path/{id}".

It waits under the shared rates before the request and sees how the request ends.
"""


def idempotency_key(customer_id: str, entry_ids: Sequence[str], step: str) -> str:
    """Return the key of one write. The same customer, entries and step give the same key, anything else another one.

    It is OUR_KEY, the step and a digest: a key may have 255 characters, and the ids of a hundred entries have more.
    """
    digest = hashlib.sha256("\n".join([customer_id, step, *entry_ids]).encode()).hexdigest()[:40]
    return f"{OUR_KEY}{step}:{digest}"


def _address(email: str) -> str:
    """Return the address in one spelling. Stripe may store its domain in punycode, and in another case."""
    name, at, domain = normal_form("email", email).rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{name}{at}{domain}"


def _others_found(autumn_id: str, others: set[str]) -> OthersFound:
    named = ", ".join(sorted(others)[:NAMED_AT_MOST])
    text = (
        f"requested the Stripe customers of {autumn_id}, but Stripe answered only with others: {named}. "
        f"If this lasts, link {autumn_id} in Autumn to its Stripe customer, then replay"
    )
    return OthersFound("stripe", "unexpected_response", text)


class _Answer(NamedTuple):
    data: object
    is_repeated: bool


class Created(NamedTuple):
    """A created customer. `is_repeated`: an earlier request with the same key created it."""

    customer: StripeCustomer
    is_repeated: bool


class StripeGateway:
    """The client of Stripe's customers and payments. Every request is throttled under the shared rates first."""

    def __init__(self, client: stripe.StripeClient, throttle: Throttle, observer: Observer = NOBODY) -> None:
        """`throttle` waits until one request to the named endpoint may be sent, and sees how the request ends."""
        self._client = client
        self._throttle = throttle
        self._observer = observer

    async def retrieve(self, stripe_id: str) -> StripeCustomer | NoCustomer:
        """Return the customer, or that it is missing or deleted. Raises SyncError for any other failure."""
        try:
            body = await self._get(RETRIEVE, stripe_id=stripe_id)
        except Absent:
            return NoCustomer.MISSING
        customer = parse_one(CustomerAnswer, body, stripe_id)
        return NoCustomer.DELETED if customer.deleted else customer.as_ours()

    async def find_ours(self, autumn_id: str, email: str | None) -> tuple[tuple[StripeCustomer, ...], bool]:
        """Return every customer that carries this `metadata.autumn_id`, and whether the account has search.

        The list by e-mail is exact and current; the search lags. A customer that only the search shows is retrieved,
        because it may have changed since. Without search there may be more customers than those returned.

        An answer that shows only customers of other owners may hide ours, so it raises OthersFound. The sync tries
        again, and after RETRY_FOR the event is dead-lettered with their ids. Deleted customers do not count. If one of
        ours is found, the others do not matter. If a request fails, SyncError is raised and the caller must not create
        a customer.
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
            # The query always has the same form, so a refusal means that the account has no search, as in India.
            searched = False
        else:
            searched = True
            for each in page.objects():
                if each.id not in found:
                    await self._add_hit(each, autumn_id, found, others)
        if others and not found:
            raise _others_found(autumn_id, others)
        return tuple(found.values()), searched

    async def _add_hit(
        self, hit: CustomerAnswer, autumn_id: str, found: dict[str, StripeCustomer], others: set[str]
    ) -> None:
        """Retrieve a search result. Add it to `found` if it is ours, and its id to `others` if it does not match."""
        now = await self.retrieve(hit.id)
        if not isinstance(now, StripeCustomer):
            return
        if now.owner == autumn_id:
            found[now.id] = now
        elif autumn_id.casefold() not in {(hit.metadata.get(AUTUMN_ID) or "").casefold(), (now.owner or "").casefold()}:
            # The search ignores case and may show an old state, so such a result is not an error.
            others.add(hit.id)

    async def _listed(self, autumn_id: str, email: str, others: set[str]) -> dict[str, StripeCustomer]:
        """Return the customers of `find_ours` with this e-mail address, by id. Ids that do not match go to `others`."""
        params: CustomerListParams = {"email": email, "limit": LIST_LIMIT}
        found = {}
        async for each in self._pages(LIST, dict(params)):
            if each.owner == autumn_id:
                found[each.id] = each
            elif _address(each.email or "") != _address(email):
                others.add(each.id)
        return found

    async def account_id(self) -> str:
        """Return the id of the account that the key belongs to. Raises SyncError.

        A restricted key often may not read the account. Then Stripe's refusal names the id.
        """
        try:
            return parse(AccountAnswer, await self._get(ACCOUNT)).id
        except Halt as error:
            named = account_named_by(error)
            if named is None:
                raise
            return named

    async def has_search(self) -> bool:
        """Return whether the account has search. It searches for a customer that does not exist. Raises SyncError."""
        search: CustomerSearchParams = {"query": f"metadata['{AUTUMN_ID}']:'{NOBODY_ID}'", "limit": 1}
        try:
            await self._get(SEARCH, dict(search))
        except GiveUp:
            return False
        return True

    async def customer_page(
        self, after: str, *, created_since_ms: int | None = None
    ) -> tuple[list[StripeCustomer], str | None]:
        """Return the hundred customers after the id `after`, newest first, and the next `after`, None at the end.

        "" begins. With `created_since_ms` (milliseconds since the epoch) the list has only customers created since
        then. Raises SyncError; Absent if `after` was deleted meanwhile.
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
        """Return the hundred payment intents after the id `after`, each with its customer, and the next `after`.

        Payment intents without a customer are left out. `with_charges`: see `payments`. Paging and errors: see
        `customer_page`.
        """
        params: PaymentIntentListParams = {"limit": LIST_LIMIT}
        if after:
            params["starting_after"] = after
        if with_charges:
            params["expand"] = ["data.latest_charge"]
        page = parse(PaymentAnswers, await self._get(LIST_PAYMENTS, dict(params)))
        return [(each.customer_id, each.as_ours()) for each in page.objects(after) if each.customer_id], page.last_id

    async def event_page(
        self, types: Sequence[str], *, created_gte: int, created_lte: int, after: str
    ) -> tuple[list[EventAnswer], str | None]:
        """Return the hundred events after the id `after`, newest first, and the next `after`, None at the end.

        `types` has at most 20 types. The two times are in seconds since the epoch, both included. An event of an
        unknown form is in the page too, and its `wrong` names the parts. "" begins. Raises SyncError; Halt if the key
        may not read events; GiveUp or Absent if `after` has aged out, which happens after 30 days.
        """
        params: EventListParams = {
            "types": list(types),
            "created": {"gte": created_gte, "lte": created_lte},
            "limit": LIST_LIMIT,
        }
        if after:
            params["starting_after"] = after
        return parse(EventAnswers, await self._get(LIST_EVENTS, dict(params))).events(after)

    async def create(self, autumn_id: str, generation: int, still_ours: Callable[[], None]) -> Created:
        """Create the customer of an Autumn id. Within 24 hours, a repeated request gets the first answer again.

        The body is constant, and the key depends only on the id and the `generation`, so no retry and no race creates a
        second customer. Stripe repeats a stored failure as well. The next generation avoids it, but use it only when a
        search would have found a customer that the failed request created. `still_ours` raises if the right to write is
        lost; it is called after the throttle.
        """
        params: CustomerCreateParams = {"metadata": {AUTUMN_ID: autumn_id}}
        key = idempotency_key(autumn_id, (), f"create-{generation}")
        answer = await self._post(CREATE, key, still_ours, dict(params))
        created = parse(CustomerAnswer, answer.data)
        if created.metadata.get(AUTUMN_ID) != autumn_id:
            raise unexpected(
                f"requested a new customer, but Stripe answered with {created.id}, which has another {AUTUMN_ID}"
            )
        return Created(created.as_ours(), answer.is_repeated)

    async def update(self, step: UpdateStripe, key: str, still_ours: Callable[[], None]) -> StripeCustomer:
        """Write a step's fields under the idempotency key. Return the customer after the write. See `create`."""
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
        """Return a customer's newest hundred payment intents, in one request. Raises SyncError.

        `succeeded_at` is known only `with_charges`. A restricted key needs the permission for charges to read it.
        """
        params: PaymentIntentListParams = {"customer": stripe_id, "limit": LIST_LIMIT}
        if with_charges:
            params["expand"] = ["data.latest_charge"]
        page = parse(PaymentAnswers, await self._get(LIST_PAYMENTS, dict(params)))
        for each in page.objects():
            if each.customer_id != stripe_id:
                raise unexpected(
                    f"requested payments of {stripe_id}, but Stripe answered with {each.id} of another customer"
                )
        return Payments(tuple(each.as_ours() for each in page.objects()), all_seen=not page.has_more)

    async def payment(self, intent_id: str) -> PaymentIntent:
        """Return one payment intent. Raises SyncError."""
        params: PaymentIntentRetrieveParams = {"expand": ["latest_charge"]}
        body = await self._get(RETRIEVE_PAYMENT, dict(params), stripe_id=intent_id)
        return parse_one(PaymentAnswer, body, intent_id).as_ours()

    async def write_receipt(self, step: ReceiptStep, key: str, still_ours: Callable[[], None]) -> PaymentIntent:
        """Set or clear a payment's receipt address and our mark. Return the payment after the write. See `create`."""
        params: PaymentIntentUpdateParams = {
            "receipt_email": step.address,
            "metadata": {RECEIPT_MARK: step.mark},
        }
        answer = await self._post(UPDATE_PAYMENT, key, still_ours, dict(params), stripe_id=step.intent_id)
        return parse_one(PaymentAnswer, answer.data, step.intent_id).as_ours()

    async def _pages(self, endpoint: str, params: dict[str, Any]) -> AsyncIterator[StripeCustomer]:
        """Yield each customer of a list once. Raises SyncError, also for a page that has nothing new."""
        seen = set[str]()
        while True:
            page = parse(CustomerAnswers, await self._get(endpoint, params))
            new = [each for each in page.objects(params.get("starting_after", "")) if each.id not in seen]
            if page.has_more and not new:
                raise unexpected("the list does not go on: a page has nothing new")
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
    """Open the connections to Stripe, and close them at the end. `throttle`: see `StripeGateway`."""
    stripe.enable_telemetry = False  # a switch of the SDK's module; a client has none
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
