"""The way over HTTP: `POST /v1/events` and `GET /v1/events/ID` of a worker. It needs the package httpx."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args
from urllib.parse import quote

import httpx

from autumn_sync_client.errors import (
    ClientError,
    InvalidEvents,
    InvalidField,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from autumn_sync_client.events import EVENT_ID_MAX, CustomerUpdate
from autumn_sync_client.outcomes import Outcome, Status
from autumn_sync_client.steps import event_json
from autumn_sync_client.values import UNFIT_TEXT

TIMEOUT_SECONDS: Final = 10.0
"""For connecting and for each answer. The wait for an outcome is added to it."""
WAIT_MAX_SECONDS: Final = 30
"""The longest wait of one request."""
TEXT_MAX: Final = 300
PORT_MAX: Final = 65_535


@dataclass(frozen=True)
class HttpRequest:
    """A request. `path` includes the query."""

    method: str
    path: str
    content: bytes | None = None
    wait_seconds: int = 0


@dataclass(frozen=True)
class HttpAnswer:
    """An answer. `body` is the parsed JSON, None if it is not JSON. `retry_after` is in seconds."""

    status: int
    body: Any = None
    retry_after: float | None = None


class HttpRequests:
    """The requests over HTTP."""

    def to_send(self, updates: Sequence[CustomerUpdate]) -> HttpRequest:
        """Return the request that sends events."""
        return HttpRequest("POST", "/v1/events", b"[" + b",".join(map(event_json, updates)) + b"]")

    def ids(self, updates: Sequence[CustomerUpdate], answer: HttpAnswer) -> list[str]:
        """Return the id of each event."""
        ids = answer.body.get("ids") if isinstance(answer.body, dict) else None
        if answer.status != HTTPStatus.ACCEPTED or not isinstance(ids, list) or len(ids) != len(updates):
            raise error_of(answer)
        return [str(each) for each in ids]

    def to_read(self, event_id: str, wait_seconds: float) -> HttpRequest:
        """Return the request for an outcome. It waits for whole seconds."""
        wait = min(int(wait_seconds), WAIT_MAX_SECONDS)
        return HttpRequest("GET", f"/v1/events/{_path_part(event_id)}?wait={wait}", wait_seconds=wait)

    def outcome(self, answer: HttpAnswer) -> Outcome | None:
        """Return the outcome, None if nothing is known of the event."""
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == HTTPStatus.NOT_FOUND and body.get("error") == "unknown_event":
            return None
        if answer.status != HTTPStatus.OK or body.get("status") not in get_args(Status):
            raise error_of(answer)
        return Outcome(
            status=body["status"],
            customer_id=str(body.get("customer_id")),
            entry_id=str(body.get("entry_id")),
            reason=body.get("reason"),
            at=body.get("at"),
        )


def _path_part(event_id: str) -> str:
    """Return the id as a part of a path. Raises UnexpectedAnswer if no event can have it, so no answer is expected."""
    if not isinstance(event_id, str) or not 0 < len(event_id) <= EVENT_ID_MAX or UNFIT_TEXT.search(event_id):
        raise UnexpectedAnswer(f"the id of an event has 1 to {EVENT_ID_MAX} characters")
    # httpx resolves the parts "." and "..".
    return event_id.replace(".", "%2E") if event_id in {".", ".."} else quote(event_id, safe="")


def error_of(answer: HttpAnswer) -> ClientError:
    """Return the error that an answer means."""
    body = answer.body if isinstance(answer.body, dict) else {}
    text = ": ".join(str(part) for part in (answer.status, body.get("error"), body.get("message")) if part)[:TEXT_MAX]
    match answer.status:
        case HTTPStatus.BAD_REQUEST if fields := _invalid_fields(body):
            return InvalidEvents(fields)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Unauthorized(f"The worker refuses the token ({text})")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited(f"Too many requests ({text})", answer.retry_after)
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(f"The worker cannot accept events now ({text})", answer.retry_after)
        case HTTPStatus.NOT_FOUND:
            return UnexpectedAnswer(f"Nothing is there ({text}): check the URL, and INTAKE_TOKENS of the worker")
    return UnexpectedAnswer(f"The answer is unexpected ({text})")


def _invalid_fields(body: Mapping[str, Any]) -> list[InvalidField]:
    fields = body.get("fields")
    try:
        return [InvalidField(int(each["entry"]), str(each["field"]), str(each["message"])) for each in fields or []]
    except (KeyError, TypeError, ValueError):
        return []


class SyncConnection:
    """A connection of the sync client."""

    def __init__(self, url: str, token: str) -> None:
        """Connect with the first request."""
        self._http = httpx.Client(base_url=checked_url(url), headers=_headers(token))

    def call(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer. Raises Unavailable if there is none."""
        try:
            return _answer(self._http.request(request.method, request.path, **_options(request)))
        except httpx.RequestError as error:
            raise _no_answer(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class AsyncConnection:
    """A connection of the async client."""

    def __init__(self, url: str, token: str) -> None:
        """Connect with the first request."""
        self._http = httpx.AsyncClient(base_url=checked_url(url), headers=_headers(token))

    async def call(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer. Raises Unavailable if there is none."""
        try:
            return _answer(await self._http.request(request.method, request.path, **_options(request)))
        except httpx.RequestError as error:
            raise _no_answer(error) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()


def checked_url(url: str) -> str:
    """Return the URL. Raises ValueError, which does not show it, if it is not that of a worker."""
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise ValueError("the URL must begin with https:// or http://")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        # Its text may contain a part of the URL.
        parsed = None
    if parsed is None or not parsed.host or (parsed.port or 0) > PORT_MAX:
        raise ValueError("the URL has no valid host or port")
    if parsed.query or parsed.fragment:
        raise ValueError("the URL must end with the host or a path, without ? and #")
    if parsed.userinfo:
        raise ValueError("the URL must have no user or password: the token is the access check")
    return url


def _headers(token: str) -> dict[str, str]:
    # An error of httpx about the header would contain the token.
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()) or " " in token or not token:
        raise ValueError("the token is empty, or has a space, a line break or a character that is not ASCII")
    return {"Authorization": f"Bearer {token}"}


def _options(request: HttpRequest) -> dict[str, Any]:
    headers = {} if request.content is None else {"Content-Type": "application/json"}
    return {"content": request.content, "headers": headers, "timeout": TIMEOUT_SECONDS + request.wait_seconds}


def _answer(response: httpx.Response) -> HttpAnswer:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    # A proxy may send a date instead of seconds.
    seconds = response.headers.get("Retry-After", "")
    return HttpAnswer(response.status_code, body, float(seconds) if seconds.isdecimal() else None)


def _no_answer(error: httpx.RequestError) -> Unavailable:
    return Unavailable(f"The worker does not answer ({type(error).__name__}: {error})")
