"""Stripe as an HTTP server: the part that the worker and Autumn use, with limits, idempotency and faults.

A request passes the checks in Stripe's order: the key, the rate limits, the idempotency key, the object's lock, the
active faults, and then the endpoint, which is in `sandbox.stripe.account`. It imports neither the worker nor Stripe's
SDK, so that it cannot share an error with either.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.faults import Switches
from sandbox.stripe.account import Account
from sandbox.stripe.errors import Json, StripeError, broken, forbidden, no_such_url, rate_limited, unauthorized
from sandbox.stripe.events import By, Cause, Events
from sandbox.stripe.limits import IdempotencyKeys, Locks, Outcome, RateLimits
from sandbox.stripe.payments import NEW, Mail
from sandbox.stripe.requests import ENDPOINTS, Endpoint, normalized, parse_form, validate
from sandbox.stripe.webhooks import Webhooks
from sandbox.stripe.writes import Change, Write


@dataclass
class Call:
    """One received request and its answer."""

    at: float
    """The time in seconds since the epoch, by the simulator's clock."""
    request_id: str
    method: str
    path: str
    endpoint: str
    """The endpoint's name, as customers.update; empty for a path that Stripe does not have."""
    idempotency_key: str | None
    user_agent: str
    stripe_version: str | None
    params: Json = field(default_factory=dict)
    """As sent: all values are strings, nested by their brackets."""
    authorized: bool = False
    status: int | None = None
    """None while it runs, or if the connection was closed before the answer."""
    replayed: bool = False


class StripeSimulator:
    """A Stripe account behind HTTP; a server runs `app()`.

    The faults `500` and `lost` happen after the start of the execution. Their answer is stored under the request's
    idempotency key and replayed for 24 hours: a 500 for the first, the true answer for the second. `403`, `429` and
    `503` happen before and store nothing. A 400 is a failed validation and stores nothing. A 404 is stored, because the
    look-up is part of the execution. With `other` the true answer is stored.
    """

    def __init__(
        self,
        *,
        key: str = "sk_test_sandbox",
        restricted_key: str = "rk_test_sandbox",
        livemode: bool = False,
        requests_per_second: int | None = 25,
        endpoint_requests_per_second: int | None = 25,
        search_per_second: int | None = 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Accept both keys; `restricted_key` lacks the `missing_permissions`. None: no limit."""
        self.key = key
        self.restricted_key = restricted_key
        self.missing_permissions: set[str] = set()
        """The permissions that the restricted key lacks, as rak_customer_write or rak_payment_intent_read."""
        self.names_account = True
        """Whether a 403 names the account's id, as Stripe's does. May be set."""
        self.requests_per_second = requests_per_second
        self.endpoint_requests_per_second = endpoint_requests_per_second
        self.search_per_second = search_per_second
        self.webhooks = Webhooks(clock=clock)
        """Autumn's webhook endpoint, and those that `add_endpoint` adds."""
        self.events = Events(self.webhooks, livemode=livemode, clock=clock)
        """All events, and the trouble of their list."""
        self.account = Account(self.events, livemode=livemode, clock=clock)
        self.calls: list[Call] = []
        self.writes: list[Write] = []
        """Each executed POST and DELETE, in order. `seed_customer`, `edit`, `succeed` and the like are no requests."""
        self.normalizes = False
        """Whether a customer's values are stored and returned in the form of `normalized`. Seeded values stay."""
        self.switches = Switches(misdirect=self._about_others)
        self._clock = clock
        self._limits = RateLimits(clock)
        self._keys = IdempotencyKeys(clock)
        self._locks = Locks()

    @property
    def customers(self) -> dict[str, Json]:
        """Return the customers by id; a deleted one has only id, object and deleted."""
        return self.account.customers.stored

    @property
    def payment_intents(self) -> dict[str, Json]:
        """Return the payment intents by id."""
        return self.account.payments.intents

    @property
    def charges(self) -> dict[str, Json]:
        """Return the charges of succeeded payment intents, by id."""
        return self.account.payments.charges

    @property
    def mails(self) -> list[Mail]:
        """Return each mailed receipt, in order."""
        return self.account.payments.mails

    @property
    def search_lag_seconds(self) -> float:
        """Return the lag of the search, at most an hour; it always finds seeded customers. May be set."""
        return self.account.customers.search_lag_seconds

    @search_lag_seconds.setter
    def search_lag_seconds(self, seconds: float) -> None:
        self.account.customers.search_lag_seconds = seconds

    @property
    def search_available(self) -> bool:
        """Return whether the account has a search; accounts in India have none. May be set."""
        return self.account.customers.search_available

    @search_available.setter
    def search_available(self, available: bool) -> None:
        self.account.customers.search_available = available

    @property
    def _named_account(self) -> str:
        return self.account.id if self.names_account else ""

    def seed_customer(self, **fields: Any) -> Json:
        """Seed an old customer; `deleted=True` seeds a deleted one.

        Raises: ValueError for a field that a customer does not have.
        """
        return self.account.customers.seed(**fields)

    def seed_payment_intent(self, **fields: Any) -> Json:
        """Seed an old payment intent; that mails no receipt and makes no event.

        One with `status="succeeded"` gets a charge, created at `succeeded_at` (seconds since the epoch) or with the
        intent.

        Raises: ValueError for a field that a payment intent does not have, or a `succeeded_at` without success.
        """
        return self.account.payments.seed(**fields)

    def begin_payment(self, *, status: str = NEW, by: By = "app", **fields: Any) -> Json:
        """Begin a payment now, with its events, and bring it to `status`: requires_action, processing or succeeded.

        `by` is the sender of the request; "stripe" is a payment without one, as of a subscription.

        Raises:
            StripeError: no such customer.
            ValueError: a field that a payment intent does not have, or another status.
        """
        return self.account.payments.begin(status=status, by=by, **fields)

    def advance(self, payment_intent_id: str, status: str) -> Json:
        """Bring a payment intent to a later status, which Stripe does by itself; see `Payments.advance`."""
        return self.account.payments.advance(payment_intent_id, status)

    def succeed(self, payment_intent_id: str) -> Json:
        """Pay a payment intent. Raises: KeyError if there is no such payment intent."""
        return self.advance(payment_intent_id, "succeeded")

    def finalize_invoice(self, customer_id: str, *, amount: int = 1000) -> Json:
        """Finalize a new invoice and begin its payment. Raises: StripeError if there is no such customer."""
        return self.account.invoices.finalize(customer_id, amount=amount)

    def pay_invoice(self, invoice_id: str) -> Json:
        """Pay an invoice by its payment intent. Raises: KeyError if there is no such invoice."""
        return self.account.invoices.pay(invoice_id)

    def edit(self, customer_id: str, /, **params: Any) -> Json:
        """Update a customer like a person in Stripe's dashboard, and return it. It makes an event, but no `Write`.

        `params` are those of the API: "" clears a field, and `metadata` merges. While an app serves, call this in its
        event loop.

        Raises:
            StripeError: no such customer, or a value that Stripe refuses.
        """
        return self._by_hand("customers.update", customer_id, params)

    def delete(self, customer_id: str) -> Json:
        """Delete a customer like a person in Stripe's dashboard, and return its remaining fields; see `edit`."""
        return self._by_hand("customers.delete", customer_id, {})

    def _by_hand(self, name: str, customer_id: str, params: Json) -> Json:
        endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.name == name)
        checked = self._checked(endpoint, params)
        return self._write(endpoint, customer_id, checked, self.events.cause("dashboard")).after

    def app(self) -> web.Application:
        """Return a new application that serves this account."""
        app = web.Application()
        app.cleanup_ctx.append(self._lifespan)
        for endpoint in ENDPOINTS:
            app.router.add_route(endpoint.method, endpoint.path, self._serving(endpoint))
        app.router.add_route("*", "/v1/{rest:.*}", self._serving(None))
        return app

    async def _lifespan(self, _: web.Application) -> AsyncIterator[None]:
        async with self.webhooks.serving():
            yield

    def _serving(self, endpoint: Endpoint | None) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            call = self._note(endpoint, request)
            try:
                response = await self._admit(endpoint, call, request)
            except StripeError as error:
                response = _refusal(error)
            response.headers["Request-Id"] = call.request_id
            answered = request.transport is not None and not request.transport.is_closing()
            call.status = response.status if answered else None
            return response

        return serve

    def _note(self, endpoint: Endpoint | None, request: web.Request) -> Call:
        call = Call(
            at=self._clock(),
            request_id=f"req_{len(self.calls):014d}",
            method=request.method,
            path=request.path,
            endpoint=endpoint.name if endpoint else "",
            idempotency_key=request.headers.get("Idempotency-Key") if request.method == "POST" else None,
            user_agent=request.headers.get("User-Agent", ""),
            stripe_version=request.headers.get("Stripe-Version"),
        )
        self.calls.append(call)
        return call

    async def _admit(self, endpoint: Endpoint | None, call: Call, request: web.Request) -> web.StreamResponse:
        # Use the raw query: a decoded one has a space in place of the + of an address.
        sent = await request.read() if call.method == "POST" else request.rel_url.raw_query_string.encode()
        call.params = parse_form(sent.decode(errors="replace"))
        self._authenticate(endpoint, call, request)
        if endpoint is None:
            raise no_such_url(call.method, call.path)
        self._spend(endpoint)
        target = request.match_info.get("id", "")
        with ExitStack() as held:
            if call.idempotency_key is not None:
                held.enter_context(self._keys.running(call.idempotency_key))
            if target and call.method != "GET":
                held.enter_context(self._locks.writing(target))

            async def run(_request: web.Request) -> web.StreamResponse:
                return self._run(endpoint, call, target)

            return await self.switches.serve(request, run, lambda status, _: self._fail(status, endpoint, call))

    def _authenticate(self, endpoint: Endpoint | None, call: Call, request: web.Request) -> None:
        key = _presented_key(request.headers.get("Authorization", ""))
        if not key or key not in (self.key, self.restricted_key):
            raise unauthorized(key)
        call.authorized = True
        if key == self.restricted_key and endpoint and endpoint.permission in self.missing_permissions:
            raise forbidden(key, self._named_account, endpoint.permission)

    def _spend(self, endpoint: Endpoint) -> None:
        windows = [
            ("all", self.requests_per_second, "global-rate"),
            (endpoint.name, self.endpoint_requests_per_second, "endpoint-rate"),
        ]
        if endpoint.name.endswith(".search"):
            windows.append(("search", self.search_per_second, "endpoint-rate"))
        self._limits.spend(windows)

    def _run(self, endpoint: Endpoint, call: Call, target: str) -> web.Response:
        """Return an answer and never raise, because a later fault may need to discard the answer."""
        try:
            if call.idempotency_key is not None:
                first = self._keys.stored(call.idempotency_key, call.path, call.params)
                if first is not None:
                    call.replayed = True
                    replay = {"Idempotent-Replayed": "true", "Original-Request": first.request_id}
                    return _answer(first.status, first.text, replay)
            response = _answer(200, json.dumps(self._execute(endpoint, call, target)))
        except StripeError as error:
            response = _refusal(error)
        if response.status != 400:
            self._store(call, response)
        return response

    def _execute(self, endpoint: Endpoint, call: Call, target: str) -> Json:
        params = self._checked(endpoint, call.params)
        if endpoint.method == "GET":
            done = self.account.reads[endpoint.name](target, params)
        else:
            key = call.idempotency_key
            change = self._write(endpoint, target, params, Cause(call.request_id, key))
            done = change.after
            self.writes.append(Write(self._clock(), call.request_id, endpoint.name, done["id"], key, change.fields()))
        return self.account.payments.expanded(done, params.get("expand", ()))

    def _checked(self, endpoint: Endpoint, raw: Json) -> Json:
        of_a_customer = endpoint.name in ("customers.create", "customers.update")
        return validate(endpoint, normalized(raw) if self.normalizes and of_a_customer else raw)

    def _write(self, endpoint: Endpoint, target: str, params: Json, cause: Cause) -> Change:
        change = self.account.writes[endpoint.name](target, params)
        self.events.of_write(endpoint.name, change, cause)
        return change

    def _fail(self, status: int, endpoint: Endpoint, call: Call) -> web.Response:
        if status == 400:
            error = StripeError(400, "Invalid request.")
        elif status == 403:
            error = forbidden(self.restricted_key, self._named_account, endpoint.permission)
        else:
            error = rate_limited("global-concurrency") if status == 429 else broken(status)
        response = _refusal(error)
        if status == 500:
            self._store(call, response)
        return response

    def _about_others(self, response: web.StreamResponse) -> web.StreamResponse:
        if not isinstance(response, web.Response) or response.status != 200:
            return response
        answer = self.account.about_others(json.loads(response.text or ""))
        return _answer(200, json.dumps(answer))

    def _store(self, call: Call, response: web.Response) -> None:
        if call.idempotency_key is not None:
            outcome = Outcome(
                call.path, call.params, response.status, response.text or "", call.request_id, self._clock()
            )
            self._keys.store(call.idempotency_key, outcome)


def _presented_key(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "basic":
        return key.strip()
    try:
        login, _, _ = base64.b64decode(key).partition(b":")
    except ValueError:
        return ""
    return login.decode(errors="replace")


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


def _refusal(error: StripeError) -> web.Response:
    return _answer(error.status, json.dumps(error.body), error.headers)
