"""The client of Autumn's customers, over HTTP.

Only this file imports httpx. It uses httpx's transport without the client around it: cookies, redirects and merged
addresses are of no use here and cost a sixth of an event's CPU (docs/benchmarks.md). Every failure leaves as an error
of `jobs.errors`. The caller applies rate limits, retries and decides, because it knows what else is running.
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
"""The longest time that a connection may idle. Many servers close after 5 s, so this is less. A request that meets the
closing is lost, and it is unknown whether its update was applied."""

_UNSENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Failures to open a connection, after which nothing was sent."""

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than a page of a thousand customers with a hundred balances each."""

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class _Endpoint:
    """The constant parts of a request to one endpoint, parsed once."""

    path: str
    url: httpx.URL
    headers: httpx.Headers
    is_write: bool


class _Answer(NamedTuple):
    status_code: int
    headers: Mapping[str, str]
    content: bytes


class AutumnClient:
    """The client of Autumn's customers, with one key and so for one organisation and environment.

    Each method raises:
        TryAgain: no answer, an answer that cannot be read, a limit, or a server's error. `maybe_applied` is
            True if an update may have been applied all the same.
        GiveUp: Autumn will never accept the request, as with `customer_not_found`; or it answered about
            another customer, `other_customer`.
        Halt: a person has to fix the key, its scopes, the version or Autumn's link to Stripe.
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
        """`headers` hold the key and the version. `timeout_seconds` is for a call from start to end."""
        self._transport = transport
        self.api_version = headers.get("x-api-version", "")
        """The version of the API that is sent with every call."""

        def endpoint(path: str, *, is_write: bool = False) -> _Endpoint:
            return _Endpoint(path, httpx.URL(base_url + path), headers, is_write)

        self._update = endpoint("/v1/customers.update", is_write=True)
        self._get = endpoint("/v1/customers.get")
        self._get_or_create = endpoint("/v1/customers.get_or_create", is_write=True)
        self._list = endpoint("/v1/customers.list")
        self._timeout_seconds = timeout_seconds
        # A connection gets less time than the call, so a timeout tells whether anything was sent.
        self._extensions = {"timeout": {"connect": timeout_seconds / 3, "pool": timeout_seconds / 3}}
        self._observer = observer

    async def update(self, customer_id: str, changes: Mapping[str, JsonValue]) -> UpdateCustomerResponse:
        """Change these fields of the customer and return the customer after the update. Errors: see the class.

        Make one call at a time for a customer: Autumn reads, merges and writes without a lock.
        """
        # No Idempotency-Key: Autumn keeps no answer and refuses every second request with 409, whatever the first one
        # did. A retry after a lost answer could never succeed, and it is harmless to set the same values again.
        body = {**changes, "customer_id": customer_id}
        customer = await self._call(self._update, body, read_customer)
        return _matching(customer, customer_id)

    async def get(self, customer_id: str) -> UpdateCustomerResponse:
        """Return the customer from Autumn's cache, which every write keeps current. Errors: see the class.

        Without the cache, a replica that lags behind may answer.
        """
        customer = await self._call(self._get, {"customer_id": customer_id}, read_customer)
        return _matching(customer, customer_id)

    async def get_or_create(self, customer_id: str) -> UpdateCustomerResponse:
        """Return the customer, created with only its id if there is none. Errors: see the class."""
        customer = await self._call(self._get_or_create, {"customer_id": customer_id}, read_customer)
        return _matching(customer, customer_id)

    async def list_page(self, cursor: str = "", limit: int = PAGE_MAX) -> CustomerPage:
        """Return up to `limit` customers from `cursor` on, newest first; "" begins. Errors: see the class.

        A replica that lags may answer, so confirm important values with `get`. Raises GiveUp for a limit above the
        server's maximum (see `jobs.autumn.pages.fitting_page`).
        """
        # Never with `created_at_range`: Autumn answers 500 to every later page of such a list.
        body: dict[str, JsonValue] = {"start_cursor": cursor, "limit": limit}
        page = await self._call(self._list, body, CustomerPage.model_validate_json)
        if page.next_cursor == cursor or (page.next_cursor is not None and not page.list):
            raise TryAgain("autumn", "unexpected_response", f"the list does not go on from the cursor {cursor!r}")
        return page

    async def newest(self, limit: int) -> Sequence[ListedCustomer]:
        """Return the newest customers, up to `limit`, at any version since 2.1; `list_page` needs 2.3.

        Errors: see the class.
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
                # Not GiveUp, although the answer may never become readable: the update is done, and Stripe still needs
                # it. It becomes a dead letter too, only later, and never if a proxy had answered in Autumn's place.
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
            # httpx's time-outs are for each step, so a body that trickles in would never exceed one.
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._transport.handle_async_request(request)
                try:
                    return _Answer(answer.status_code, answer.headers, await _bounded(answer, writing=writing))
                finally:
                    await answer.aclose()
        # The transport has no names for some errors of aiohttp, such as broken HTTP, and lets them through. It also
        # lets the error of a status line through that is not UTF-8.
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
    """Yield a client of Autumn at `base_url`, with at most `max_connections` at once. Close all at the end.

    `timeout_seconds` is for a whole call; a third of it is for getting a connection. The version is always sent,
    because without it the answer's shape depends on the organisation's age. Proxies of the environment are not used.
    """
    transport = AiohttpTransport(
        verify=_trusted(),
        trust_env=False,
        limits=httpx.Limits(max_connections=max_connections, keepalive_expiry=KEEP_ALIVE_SECONDS),
    )
    # httpx's headers hide the key when they are printed.
    headers = httpx.Headers(
        {
            "Authorization": f"Bearer {secret_key}",
            "x-api-version": api_version,
            "Content-Type": "application/json",
            # aiohttp would request every encoding that it can unpack, but httpx does the unpacking.
            "Accept-Encoding": "gzip",
        }
    )
    async with transport:
        yield AutumnClient(transport, base_url, headers, timeout_seconds=timeout_seconds, observer=observer)


@cache
def _trusted() -> ssl.SSLContext:
    """Return the certificates to trust, shared by all clients of the process: reading them takes 10 milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


async def _bounded(answer: httpx.Response, *, writing: bool) -> bytes:
    """Return the body. Raises TryAgain if it has more bytes than Autumn ever sends."""
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
        raise GiveUp("event", "not_json", "The changes contain a number that JSON cannot express.") from error


def _matching(customer: UpdateCustomerResponse, customer_id: str) -> UpdateCustomerResponse:
    """Return the customer if its id is the requested one. Raises GiveUp.

    Autumn also finds customers by its internal id. Then the answer has another id, or none.
    """
    if customer.id == customer_id:
        return customer
    raise GiveUp(
        "autumn",
        "other_customer",
        f"Requested the customer {customer_id!r}, but Autumn answered with {customer.id!r}. "
        "Use the customer's own id, not Autumn's internal one.",
    )


def _unanswered(error: Exception, *, writing: bool, timeout_seconds: float) -> TryAgain:
    """Return the error of a call without a full answer.

    It depends on the cause, because the transport gives a refused and a lost connection the same name: ConnectTimeout.
    """
    cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
    if isinstance(cause, _UNSENT):
        return TryAgain("autumn", "no_connection", str(cause))
    message, may_land = f"{type(cause).__name__}: {cause}", LATE_SECONDS if writing else 0.0
    if not isinstance(cause, TimeoutError):
        return TryAgain("autumn", "connection_lost", message, may_land_for_seconds=may_land)
    # The next update of this customer waits until this one can no longer be applied after it.
    after_seconds = max(0.0, LATE_SECONDS - timeout_seconds) if writing else None
    return TimedOut("autumn", "timeout", message, after_seconds=after_seconds, may_land_for_seconds=may_land)
