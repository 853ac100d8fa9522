"""A stateful simulator of Autumn's customers API over HTTP, for tests, chaos runs and manual experiments.

It answers like the recordings of the real service. It also has Autumn's weaknesses: no locks, the order of its writes,
its errors and its echoes. It must import nothing of jobs, worker or config, so that it cannot share an error with the
worker that it checks. REST routes, `expand` and forms before 2.0 are not simulated.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from sandbox.autumn import checks, customers
from sandbox.autumn.limits import Headers, Limiter, limit_headers
from sandbox.autumn.lists import list_customers
from sandbox.autumn.reads import Behaviour
from sandbox.autumn.rows import RefusedError, Row, spoken_version
from sandbox.autumn.stripe_client import StripeCaller
from sandbox.faults import Switches

_UPDATE = "/v1/customers.update"
_ENDPOINTS = {
    _UPDATE: customers.update,
    "/v1/customers.get": customers.get,
    "/v1/customers.get_or_create": customers.get_or_create,
    "/v1/customers.list": list_customers,
    "/v1/customers.delete": customers.delete,
}
_READS = ("/v1/customers.get", "/v1/customers.list")
_SHOWN_OF_A_KEY = 15
_MAX_BODY_BYTES = 256 * 1024 * 1024
_TOO_MANY = "Too many requests, please try again later."
_UNAVAILABLE = "Service is temporarily unavailable, please retry shortly."


@dataclass(frozen=True)
class Call:
    """One request that was served.

    `status` is 0 if the client got no answer; `started` and `ended` are times of the simulator's clock.
    """

    method: str
    path: str
    body: dict[str, Any]
    status: int
    started: float
    ended: float


class AutumnSimulator(Behaviour):
    """One organisation in one environment; `app()` serves it, and its data outlives the app.

    `key` and `stripe.key` may be changed while it serves. With `stripe_key=None` the organisation has no Stripe
    account; with `updates_per_second=None` it has no limits. `database_seconds` adds time between an update's read and
    its write.

    It receives Stripe's events at `webhook_path` and does not check their signature. It copies the non-empty name and
    e-mail of a `customer.updated` to the customer with that `stripe_id` (to one of them if there are several), unless
    the event's idempotency key begins with `autumn:`. All other events change nothing.

    Options that may be set while it serves are those of `Behaviour` (`stale_reads`, `caches`, `broken_second_page`,
    `largest_page`, `newest_version`, `stripe_retry_pause_seconds`) and `replica_lag_seconds`: lists, and gets with
    `x-skip-cache: true`, have the state of that many seconds ago by `clock`; seeded rows are older than any lag.
    The fault `403` removes the key's scope for the endpoints of its route.
    """

    def __init__(
        self,
        *,
        stripe_url: str,
        key: str = "am_sk_test_sandbox",
        env: str = "sandbox",
        stripe_key: str | None = "sk_test_sandbox",
        updates_per_second: int | None = 25,
        clock: Callable[[], float] = time.time,
        forwards_metadata: bool = False,
        database_seconds: float = 0.0,
    ) -> None:
        """Prepare the organisation; the app opens its connections when it starts."""
        super().__init__()
        self.key = key
        self.env = env
        self.clock = clock
        self.stripe = StripeCaller(stripe_url, stripe_key, env, self)
        self.limiter = Limiter(updates_per_second, clock)
        self.organisation = customers.Organisation(
            env=env,
            clock=clock,
            stripe=self.stripe,
            behaviour=self,
            forwards_metadata=forwards_metadata,
            database_seconds=database_seconds,
        )
        self.customers = self.organisation.customers
        self.calls: list[Call] = []
        self.copied: list[customers.Copied] = []
        """Return each event of Stripe that changed a customer, in order."""
        self.switches = Switches()
        self.max_parallel_updates: dict[str, int] = {}
        self.max_updates_in_flight = 0
        self._updating: list[tuple[str, web.Request]] = []
        self._idempotency_keys: set[str] = set()

    @property
    def webhook_path(self) -> str:
        """Return the path of the webhook endpoint for Stripe's events."""
        return f"/webhooks/stripe/org_sandbox/{self.env}"

    def app(self) -> web.Application:
        """Return an application that serves this organisation. After it has stopped, another one may serve it."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.cleanup_ctx.append(self._lifespan)
        app.router.add_post("/webhooks/stripe/{organisation}/{env}", self._webhook)
        app.router.add_route("*", "/v1/{path:.*}", self._serve)
        return app

    def seed(self, customer_id: str | None, **fields: Any) -> Row:
        """Seed a customer without HTTP; `fields` are those of the answer, and `internal_id`.

        Raises:
            ValueError: a field that a customer does not have.
        """
        row = self.organisation.blank(customer_id)
        unknown = fields.keys() - row.keys()
        if unknown:
            raise ValueError(f"a customer has no {sorted(unknown)}")
        row.update(fields)
        self.organisation.keep(row)
        self.organisation.reads.planted(customers.kept_under(row))
        return row

    @property
    def replica_lag_seconds(self) -> float:
        """Return the lag of lists and of gets with `x-skip-cache: true`. May be set."""
        return self.organisation.reads.lag_seconds

    @replica_lag_seconds.setter
    def replica_lag_seconds(self, seconds: float) -> None:
        self.organisation.reads.lag_seconds = seconds

    def hold_lists(self) -> None:
        """Keep the present state in lists: their replica lags from now on. `organisation.replica = None` ends that."""
        self.organisation.replica = {key: dict(row) for key, row in self.customers.items()}

    async def _lifespan(self, _: web.Application) -> AsyncIterator[None]:
        async with self.stripe.open():
            yield

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parsed = _parsed(await request.read())
        body = parsed if isinstance(parsed, dict) else {}
        started, status = self.clock(), 0
        try:
            with self._counted(request, body):
                response = await self._answer(request, parsed)
            status = 0 if _gone(request) else response.status
            return response
        finally:
            self.calls.append(Call(request.method, request.path, body, status, started, self.clock()))

    @contextmanager
    def _counted(self, request: web.Request, body: Mapping[str, Any]) -> Iterator[None]:
        """Count the parallel updates. An update whose client has disconnected continues and counts until it ends."""
        if request.path != _UPDATE:
            yield
            return
        customer_id = str(body.get("customer_id"))
        self._updating.append((customer_id, request))
        of_this_one = sum(of == customer_id for of, _ in self._updating)
        self.max_parallel_updates[customer_id] = max(self.max_parallel_updates.get(customer_id, 0), of_this_one)
        self.max_updates_in_flight = max(self.max_updates_in_flight, len(self._updating))
        try:
            yield
        finally:
            self._updating = [(of, other) for of, other in self._updating if other is not request]

    async def _answer(self, request: web.Request, parsed: Any) -> web.StreamResponse:
        try:
            self._authenticate(request)
            version = spoken_version(request.headers.get("x-api-version"), self.newest_version)
        except RefusedError as refused:
            return self._refused(refused)
        customer_id = parsed.get("customer_id") if isinstance(parsed, dict) else None
        taken = self.limiter.take(request.path, version, customer_id)
        if not taken.allowed:
            return _too_many(taken.headers)
        response = await self.switches.serve(request, partial(self._run, parsed, version), self._fault)
        for name, value in taken.headers.items():
            response.headers.setdefault(name, value)
        return response

    async def _run(self, parsed: Any, version: str, request: web.Request) -> web.Response:
        try:
            return _json(200, await self._endpoint(request, parsed, version))
        except RefusedError as refused:
            return self._refused(refused)

    async def _endpoint(self, request: web.Request, parsed: Any, version: str) -> Row:
        endpoint = _ENDPOINTS.get(request.path) if request.method == "POST" else None
        if endpoint is None:
            raise RefusedError(401, "no_auth_header", "Unauthorized - no session found")
        key = request.headers.get("Idempotency-Key")
        if key in self._idempotency_keys:
            message = f"Another request with idempotency key {key} has already been received"
            raise RefusedError(409, "duplicate_idempotency_key", message)
        if key:
            self._idempotency_keys.add(key)
        try:
            checks.check_object(parsed)
            if endpoint is customers.get:
                skips_cache = request.headers.get("x-skip-cache") == "true"
                return await customers.get(self.organisation, parsed, version, skips_cache=skips_cache)
            return await endpoint(self.organisation, parsed, version)
        except RefusedError as refused:
            if key and refused.status != 409:
                # Autumn forgets the key of a failed request, so that it can be retried.
                self._idempotency_keys.discard(key)
            raise

    def _authenticate(self, request: web.Request) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not token:
            raise RefusedError(401, "no_secret_key", "Secret key not found in Authorization header")
        if not token.startswith("am_sk_"):
            raise RefusedError(401, "invalid_request", "Invalid authorization token prefix")
        if token != self.key:
            masked = token[:_SHOWN_OF_A_KEY] + "*" * len(token[_SHOWN_OF_A_KEY:])
            raise RefusedError(401, "invalid_secret_key", f"Invalid secret key: {masked}")

    async def _webhook(self, request: web.Request) -> web.Response:
        event = await request.json()
        if event["type"] != "customer.updated":
            return _json(200, {"received": True})
        copied = customers.copy_from_stripe(self.organisation, event)
        if copied is not None:
            self.copied.append(copied)
        return _json(200, {"success": True})

    def _fault(self, status: int, request: web.Request) -> web.Response:
        if status == 400:
            return self._refused(RefusedError(400, "invalid_request", "Invalid request"))
        if status == 403:
            scope = "customers:read" if request.path in _READS else "customers:write"
            return self._refused(RefusedError(403, "insufficient_scopes", f"Insufficient scopes. Missing: {scope}"))
        if status == 429:
            return _too_many(limit_headers(self.limiter.updates_per_second or 0, remaining=0))
        if status == 503:
            response = self._refused(RefusedError(503, "service_unavailable", _UNAVAILABLE))
            response.headers["Retry-After"] = "1"
            return response
        return self._refused(RefusedError(status, "internal_error", "Internal server error"))

    def _refused(self, refused: RefusedError) -> web.Response:
        return _json(refused.status, {"message": refused.message, "code": refused.code, "env": self.env})


def _parsed(raw: bytes) -> Any:
    """Return the body as Autumn reads it: invalid JSON is an empty object, a lone surrogate a replacement character."""
    try:
        whole = (
            json.dumps(json.loads(raw), ensure_ascii=False)
            .encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
        )
    except ValueError:
        return {}
    return json.loads(whole)


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _json(status: int, answer: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=json.dumps(answer).encode(), content_type="application/json")


def _too_many(headers: Headers) -> web.Response:
    plain = {"Content-Type": "text/plain; charset=UTF-8", "retry-after": "1"}
    return web.Response(status=429, body=_TOO_MANY.encode(), headers={**headers, **plain})
