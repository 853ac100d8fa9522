"""The door to Autumn: its customers, over HTTP.

The only file that imports httpx. It calls the transport without `httpx.AsyncClient`: the client adds 17 % to an event's
processor time, even by `send` with a ready request (docs/benchmarks.md). Whatever goes wrong on the way leaves here as
an error of `jobs.errors`. No rate limit, no retry and no decision in here: the caller knows what else is going on.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import BaseModel, JsonValue, ValidationError

from jobs.autumn.errors import LATE_SECONDS, error_from
from jobs.autumn.models import UpdateCustomerResponse, explain, is_no_customer, read_customer
from jobs.autumn.pages import PAGE_MAX, CustomerPage, ListedCustomer, ListedCustomers
from jobs.errors import GiveUp, TimedOut, TryAgain
from jobs.observer import NOBODY, Observer, observed

KEEP_ALIVE_SECONDS: Final = 4.0
"""How long a connection may idle. Less than the 5 s after which many servers close: a request that meets
the closing is lost, and nobody knows whether its update was applied."""

_UNSENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Failures of opening a connection, so that nothing was sent."""

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than a page of a thousand customers with a hundred balances each has."""

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class _Endpoint:
    """What all calls of an endpoint have in common, parsed once."""

    path: str
    url: httpx.URL
    headers: httpx.Headers
    is_write: bool


class _Answer(NamedTuple):
    status_code: int
    headers: Mapping[str, str]
    content: bytes


class AutumnClient:
    """Autumn's customers. One key, hence one organisation and environment.

    Each method raises:
        TryAgain: no answer, an answer that cannot be read, a limit, or a server's error. `maybe_applied` is
            True where an update may have been done all the same.
        GiveUp: the request will never be accepted, as with `customer_not_found`; or Autumn answered about
            another customer, `other_customer`.
        Halt: the key, its scopes, the version or Autumn's link to Stripe need mending.
        Absent: `stripe_customer_missing`, the customer's `stripe_id` (old or new) is not at Stripe.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        base_url: str,
        headers: httpx.Headers,
        *,
        timeout_seconds: float,
        observer: Observer = NOBODY,
    ) -> None:
        """`headers` hold the key and the version; `timeout_seconds` is for a call from start to end."""
        self._transport = transport

        def endpoint(path: str, *, is_write: bool = False) -> _Endpoint:
            return _Endpoint(path, httpx.URL(base_url + path), headers, is_write)

        self._update = endpoint("/v1/customers.update", is_write=True)
        self._get = endpoint("/v1/customers.get")
        self._get_or_create = endpoint("/v1/customers.get_or_create", is_write=True)
        self._list = endpoint("/v1/customers.list")
        self._timeout_seconds = timeout_seconds
        # Less time for a connection than for the call, so that it can be told that nothing was sent.
        self._extensions = {"timeout": {"connect": timeout_seconds / 3, "pool": timeout_seconds / 3}}
        self._observer = observer

    async def update(self, customer_id: str, changes: Mapping[str, JsonValue]) -> UpdateCustomerResponse:
        """Change the named fields of the customer and return it as it is then. The class says what it raises.

        One call at a time per customer: Autumn reads, merges and writes without a lock.
        """
        # No Idempotency-Key: Autumn keeps no answer, it says 409 to a second request whatever the first did.
        # A retry after a lost answer could never get through, while to set the same values again is harmless.
        body = {**changes, "customer_id": customer_id}
        customer = await self._call(self._update, body, read_customer)
        return _asked_for(customer, customer_id)

    async def get(self, customer_id: str) -> UpdateCustomerResponse:
        """The customer as Autumn's cache has it, which every write keeps current. The class says what it raises.

        Past the cache a replica may answer, which lags behind.
        """
        customer = await self._call(self._get, {"customer_id": customer_id}, read_customer)
        return _asked_for(customer, customer_id)

    async def get_or_create(self, customer_id: str) -> UpdateCustomerResponse:
        """The customer, created with nothing but its id where there is none. The class says what it raises."""
        customer = await self._call(self._get_or_create, {"customer_id": customer_id}, read_customer)
        return _asked_for(customer, customer_id)

    async def list_page(self, cursor: str = "", limit: int = PAGE_MAX) -> CustomerPage:
        """Up to `limit` customers from `cursor` on, newest first; "" begins.

        Read from a replica that may lag: confirm with `get` what matters. The class says what it raises: among it
        GiveUp for a limit above what the server allows (see `jobs.autumn.pages.fitting_page`).
        """
        # Never with `created_at_range`: Autumn answers 500 to every later page of such a list.
        body: dict[str, JsonValue] = {"start_cursor": cursor, "limit": limit}
        page = await self._call(self._list, body, CustomerPage.model_validate_json)
        if page.next_cursor == cursor or (page.next_cursor is not None and not page.list):
            raise TryAgain("autumn", "unexpected_response", f"the list does not go on from the cursor {cursor!r}")
        return page

    async def newest(self, limit: int) -> Sequence[ListedCustomer]:
        """The newest customers, up to `limit`, at any version since 2.1; `list_page` needs 2.3.

        The class says what it raises.
        """
        return (await self._call(self._list, {"limit": limit}, ListedCustomers.model_validate_json)).list

    async def _call(
        self, endpoint: _Endpoint, body: Mapping[str, JsonValue], read: Callable[[bytes], Answer]
    ) -> Answer:
        content, writing = _encoded(body), endpoint.is_write
        with observed(self._observer, "autumn", f"POST {endpoint.path}") as call:
            answer = await self._post(endpoint, content)
            call.status_code = answer.status_code
            if answer.status_code != HTTPStatus.OK:
                raise error_from(answer.status_code, answer.headers, answer.content, writing=writing)
            try:
                return read(answer.content)
            except ValidationError as error:
                # Not GiveUp, although it may never get better: the update is done, and Stripe has yet to agree.
                # It ends in a dead letter too, only later, and not at all where a proxy had spoken for Autumn.
                may_land = LATE_SECONDS if writing and is_no_customer(error) else 0.0
                raise TryAgain(
                    "autumn",
                    "unexpected_response",
                    explain(error),
                    maybe_applied=writing,
                    may_land_for_seconds=may_land,
                ) from error

    async def _post(self, endpoint: _Endpoint, content: bytes) -> _Answer:
        request = httpx.Request(
            "POST", endpoint.url, headers=endpoint.headers, content=content, extensions=self._extensions
        )
        writing = endpoint.is_write
        try:
            # httpx's time-outs are for each step: a body that trickles in would never meet one.
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._transport.handle_async_request(request)
                try:
                    return _Answer(answer.status_code, answer.headers, await _bounded(answer, writing=writing))
                finally:
                    await answer.aclose()
        # Errors of aiohttp that the transport has no name for, such as broken HTTP, come through as they are, and so
        # does that of a status line which is no UTF-8.
        except (httpx.HTTPError, aiohttp.ClientError, UnicodeError, TimeoutError) as error:
            raise _unanswered(error, writing=writing, timeout_seconds=self._timeout_seconds) from error


@asynccontextmanager
async def open_autumn(
    *,
    base_url: str,
    secret_key: str,
    api_version: str = "2.3.0",
    max_connections: int = 20,
    timeout_seconds: float = 30.0,
    observer: Observer = NOBODY,
) -> AsyncIterator[AutumnClient]:
    """Yield a client of Autumn at `base_url`, with at most `max_connections` at once, all closed at the end.

    `timeout_seconds` is for a whole call, a third of it for getting a connection. The version is always sent:
    without it the answer's shape depends on when the organisation was created. Proxies of the environment
    are not used.
    """
    transport = AiohttpTransport(
        verify=_trusted(),
        trust_env=False,
        limits=httpx.Limits(max_connections=max_connections, keepalive_expiry=KEEP_ALIVE_SECONDS),
    )
    # Headers of httpx do not show the key when they are printed.
    headers = httpx.Headers(
        {
            "Authorization": f"Bearer {secret_key}",
            "x-api-version": api_version,
            "Content-Type": "application/json",
            # aiohttp would ask for whatever it could unpack itself, but it is httpx that unpacks.
            "Accept-Encoding": "gzip",
        }
    )
    async with transport:
        yield AutumnClient(transport, base_url, headers, timeout_seconds=timeout_seconds, observer=observer)


@cache
def _trusted() -> ssl.SSLContext:
    """Return the certificates to trust, for all clients of the process: to read them takes 10 milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


async def _bounded(answer: httpx.Response, *, writing: bool) -> bytes:
    """The body. Raises TryAgain where it has more bytes than Autumn ever sends."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            may_land = LATE_SECONDS if writing else 0.0
            message = f"more than {ANSWER_BYTES_MAX} bytes"
            raise TryAgain("autumn", "unexpected_response", message, may_land_for_seconds=may_land)
    return bytes(body)


def _encoded(body: Mapping[str, JsonValue]) -> bytes:
    # In ASCII, so that half a surrogate pair is sent as its escape; UTF-8 has no form for it.
    try:
        return json.dumps(body, allow_nan=False).encode("ascii")
    except ValueError as error:
        raise GiveUp("event", "not_json", "The changes hold a number that JSON cannot express.") from error


def _asked_for(customer: UpdateCustomerResponse, customer_id: str) -> UpdateCustomerResponse:
    """The customer, if it is the one asked for.

    Autumn also finds customers by its internal id: then the answer is about one with another id or none.
    """
    if customer.id == customer_id:
        return customer
    raise GiveUp(
        "autumn",
        "other_customer",
        f"Request for the customer {customer_id!r}, Autumn answered with {customer.id!r}. "
        "Use the customer's own id, not Autumn's internal one.",
    )


def _unanswered(error: Exception, *, writing: bool, timeout_seconds: float) -> TryAgain:
    """The error of a call without a (whole) answer.

    Judged by the cause, because the transport calls a refused and a lost connection the same: ConnectTimeout.
    """
    cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
    if isinstance(cause, _UNSENT):
        return TryAgain("autumn", "no_connection", str(cause))
    message, may_land = f"{type(cause).__name__}: {cause}", LATE_SECONDS if writing else 0.0
    if not isinstance(cause, TimeoutError):
        return TryAgain("autumn", "connection_lost", message, may_land_for_seconds=may_land)
    # The next update of this customer waits until this one can no longer land on it.
    after_seconds = max(0.0, LATE_SECONDS - timeout_seconds) if writing else None
    return TimedOut("autumn", "timeout", message, after_seconds=after_seconds, may_land_for_seconds=may_land)
