"""POST /v1/events and GET /v1/events/ID: the way in for apps that cannot reach Redis.

A token of INTAKE_TOKENS is the access check, made before a body of more than a form is read. Its name becomes the
`source` of the events. No line of the log contains a token or anything else of a request.
"""

import asyncio
import hmac
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from pydantic import JsonValue, SecretStr
from redis.exceptions import RedisError

from autumn_sync_client.outcomes import Outcome
from jobs.enqueue import poll_outcome
from jobs.errors import describe
from jobs.events import CustomerUpdate, EventError, Fault, new_update, parse_json
from jobs.inbox import Found, Inbox, RateExceededError
from worker.web.credentials import digest_of
from worker.web.openapi import openapi_document
from worker.web.server import BODY_LIMITS, BODY_SECONDS, FORM_BYTES

log = structlog.get_logger(__name__)

PATH: Final = "/v1/events"
DOCUMENT_PATH: Final = "/v1/openapi.json"
BODY_BYTES: Final = 4 * 1024 * 1024
EVENTS_AT_MOST: Final = 1_000
DISCARDED_AT_MOST: Final = 4 * BODY_BYTES
"""The largest body that is received and thrown away, so that the client reads why it was refused."""
FAULTS_AT_MOST: Final = 1_000
"""Faults that an answer lists. Events after these are not checked."""
WAIT_AT_MOST: Final = 30.0
"""The longest `wait` for an outcome, in seconds."""
REDIS_SECONDS: Final = 5.0
"""The longest time for one call of Redis."""
BODIES_AT_MOST: Final = 4
"""Requests over FORM_BYTES that are read and stored at the same time, because each may need a hundred megabytes."""
WAITS_AT_MOST: Final = 32
"""Requests that wait for an outcome at the same time: half of the port's connections."""
TURN_SECONDS: Final = 0.005
"""The time for which events are checked before other tasks of the process may run."""
RETRY_SECONDS: Final = 2
LOG_AGAIN_SECONDS: Final = 600.0
CODES: Final[Mapping[int, str]] = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    411: "length_required",
    413: "too_large",
    415: "unsupported_encoding",
}
"""The codes of refusals that worker.web.server and aiohttp make."""


class _RefusalError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: JsonValue,
    ) -> None:
        super().__init__(message)
        self._status = status
        self._answer = {"error": code, "message": message, **more}
        self._headers = headers

    def response(self) -> web.Response:
        return _json(self._answer, self._status, self._headers)


class Tokens:
    """The tokens of INTAKE_TOKENS. Only their digests are kept."""

    def __init__(self, entries: Sequence[SecretStr]) -> None:
        """Read entries of the form `name:token`."""
        pairs = [entry.get_secret_value().partition(":") for entry in entries]
        self._digests = [(name, digest_of(token)) for name, _, token in pairs]

    def name_of(self, request: web.Request) -> str | None:
        """Return the name of the token in the header `Authorization`, or None. A wrong one takes the same time."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        digest, found = digest_of(given.strip()), None
        for name, each in self._digests:
            if hmac.compare_digest(digest, each):
                found = name
        return found if scheme.lower() == "bearer" else None


def intake_of(
    entries: Sequence[SecretStr], inbox: Inbox, may_add: asyncio.Event
) -> list[Callable[[web.Application], None]]:
    """Return a function that adds the routes to an application. Without tokens it adds only the document.

    No event is added before `may_add` is set.
    """
    return [partial(add_intake, intake=Intake(Tokens(entries), inbox, may_add) if entries else None)]


def add_intake(app: web.Application, intake: "Intake | None") -> None:
    """Add the routes and the access check to the application."""
    app.add_routes([web.get(DOCUMENT_PATH, _document)])
    # Before the middleware that reads the body.
    app.middlewares.insert(0, _is_off if intake is None else intake.check)
    if intake is not None:
        app[BODY_LIMITS][PATH] = intake.body_limit
        app.add_routes([web.post(PATH, intake.receive), web.get(PATH + "/{id:.+}", intake.status)])


@web.middleware
async def _is_off(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not _is_ours(request):
        return await handler(request)
    answer = _json({"error": "not_found", "message": "This worker takes no events over HTTP."}, 404)
    answer.force_close()
    return answer


def _is_ours(request: web.Request) -> bool:
    return request.path == PATH or request.path.startswith(PATH + "/")


async def _document(_: web.Request) -> web.Response:
    return _json(openapi_document())


class Intake:
    """The access check and the handlers of the routes."""

    def __init__(self, tokens: Tokens, inbox: Inbox, may_add: asyncio.Event) -> None:
        """Keep all three; nothing is opened."""
        self._tokens = tokens
        self._inbox = inbox
        self._may_add = may_add
        self._bodies = asyncio.Semaphore(BODIES_AT_MOST)
        self._waits = 0
        self._logged_at = -math.inf

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the token, and answer every error as JSON. Requests to other paths pass."""
        if not _is_ours(request):
            return await handler(request)
        try:
            is_large = FORM_BYTES < (request.content_length or 0) <= self.body_limit(request)
            async with self._bodies if is_large else nullcontext():
                return await handler(request)
        except _RefusalError as refusal:
            return refusal.response()
        except web.HTTPException as refusal:
            if refusal.status == web.HTTPRequestEntityTooLarge.status_code:
                await self._discard_body(request)
            return self._answer_to(request, refusal)
        except Exception as error:
            log.error("intake_failed", cause=describe(error))
            return _json({"error": "internal_error", "message": "Send the request again."}, 500)

    def body_limit(self, request: web.Request) -> int:
        """Return the largest body of a request in bytes. Without a valid token it is that of a form."""
        return FORM_BYTES if self._tokens.name_of(request) is None else BODY_BYTES

    async def _discard_body(self, request: web.Request) -> None:
        """Receive a body that is too large, if its token is valid, because many clients read no answer before that."""
        if self._tokens.name_of(request) is None or (request.content_length or 0) > DISCARDED_AT_MOST:
            return
        with suppress(TimeoutError, ConnectionError, web.RequestPayloadError, HttpProcessingError):
            async with asyncio.timeout(BODY_SECONDS):
                async for _ in request.content.iter_any():
                    pass

    def _answer_to(self, request: web.Request, refusal: web.HTTPException) -> web.Response:
        code = CODES.get(refusal.status, "invalid_request")
        answer = _json({"error": code, "message": refusal.text or refusal.reason}, refusal.status)
        if self._tokens.name_of(request) is None:
            answer = self._unauthorized().response()
        elif "Allow" in refusal.headers:
            answer.headers["Allow"] = refusal.headers["Allow"]
        if refusal.keep_alive is False:
            answer.force_close()
        return answer

    def _unauthorized(self) -> _RefusalError:
        now = time.monotonic()
        if now - self._logged_at >= LOG_AGAIN_SECONDS:
            self._logged_at = now
            log.warning("intake_refused", reason="no token of INTAKE_TOKENS")
        text = "Send the header Authorization: Bearer TOKEN with a valid token."
        return _RefusalError(401, "unauthorized", text, headers={"WWW-Authenticate": "Bearer"})

    def _source_of(self, request: web.Request) -> str:
        source = self._tokens.name_of(request)
        if source is None:
            raise self._unauthorized()
        return source

    async def receive(self, request: web.Request) -> web.Response:
        """POST /v1/events: check the events, and answer 202 after Redis has all of them."""
        source = self._source_of(request)
        updates = await _read_events(await request.read())
        fields = [{**update.fields(), "source": source} for update in updates]
        if not self._may_add.is_set():
            raise _unavailable("This worker may not take events yet, because it is starting. Send the request again.")
        async with _redis_answers():
            try:
                entries = await self._inbox.add(source, fields)
            except RateExceededError as error:
                text = "This token has sent too many events. Send them again later."
                raise _RefusalError(429, "rate_limited", text, headers=_retry_after(error.wait_seconds)) from None
        ids = [update.event_id or entry for update, entry in zip(updates, entries, strict=True)]
        return _json({"ids": ids}, 202)

    async def status(self, request: web.Request) -> web.Response:
        """GET /v1/events/ID: answer what is known of an event. With `wait`, as soon as it no longer waits."""
        self._source_of(request)
        event_id, wait_seconds = request.match_info["id"], _wait_of(request)

        async def read() -> Outcome:
            async with _redis_answers():
                found = await self._inbox.find(event_id)
            if found.outcome is None:
                raise _unknown(found)
            return found.outcome

        async with self._waiting(wait_seconds):
            outcome = await poll_outcome(read, wait_seconds=wait_seconds)
        return _json(
            {
                "id": event_id,
                "status": outcome.status,
                "customer_id": outcome.customer_id,
                "entry_id": outcome.entry_id,
                "reason": outcome.reason,
                "at": outcome.at,
            }
        )

    @asynccontextmanager
    async def _waiting(self, seconds: float) -> AsyncIterator[None]:
        """Count the request while it waits. Raises _RefusalError if too many wait."""
        counts = int(seconds > 0)
        if counts and self._waits >= WAITS_AT_MOST:
            text = f"{WAITS_AT_MOST} requests already wait for an outcome. Ask again later, or without wait."
            raise _RefusalError(429, "rate_limited", text, headers=_retry_after(RETRY_SECONDS))
        self._waits += counts
        try:
            yield
        finally:
            self._waits -= counts


async def _read_events(body: bytes) -> list[CustomerUpdate]:
    """Return the events of a body. Raises _RefusalError that lists every fault of every event."""
    try:
        found = parse_json(body.decode())
    except UnicodeDecodeError:
        raise _RefusalError(400, "invalid_json", "The body is not UTF-8 text.") from None
    except ValueError as error:
        raise _RefusalError(400, "invalid_json", f"The body {error}.") from None
    events = found if isinstance(found, list) else [found]
    if len(events) > EVENTS_AT_MOST:
        raise _RefusalError(413, "too_large", f"Send at most {EVENTS_AT_MOST:,} events in a request.")
    updates, faults = await _check_events(events)
    if faults or not events:
        listed = "" if len(faults) < FAULTS_AT_MOST else " More may be wrong than is listed."
        text = f"Nothing was accepted, because {'events are invalid' if events else 'the list is empty'}.{listed}"
        raise _RefusalError(400, "invalid_events", text, fields=faults)
    return updates


async def _check_events(events: Sequence[JsonValue]) -> tuple[list[CustomerUpdate], list[JsonValue]]:
    """Return the valid events, and the faults of the others. Other tasks run in between."""
    updates: list[CustomerUpdate] = []
    faults: list[JsonValue] = []
    until = time.monotonic() + TURN_SECONDS
    for index, event in enumerate(events):
        try:
            updates.append(_event_of(event))
        except EventError as error:
            faults += [{"entry": index, "field": each.field, "message": each.message} for each in error.faults]
            if len(faults) >= FAULTS_AT_MOST:
                break
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + TURN_SECONDS
    return updates, faults[:FAULTS_AT_MOST]


def _event_of(event: JsonValue) -> CustomerUpdate:
    if not isinstance(event, dict):
        raise EventError(Fault("", "must be a JSON object"))
    return new_update(**event)


def _unknown(found: Found) -> _RefusalError:
    text = "Nothing is known of this event. Events are known for 24 hours."
    if not found.is_searched:
        text = "This event may be in the inbox, which has more events than were searched. Ask again later."
    return _RefusalError(404, "unknown_event", text)


def _wait_of(request: web.Request) -> float:
    """Return the parameter `wait`, in seconds. Raises _RefusalError if it is not a number from 0 to WAIT_AT_MOST."""
    try:
        seconds = float(request.query.get("wait", "0"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= WAIT_AT_MOST:
        raise _RefusalError(400, "invalid_request", f"wait: must be a number from 0 to {WAIT_AT_MOST:.0f}.")
    return seconds


@asynccontextmanager
async def _redis_answers() -> AsyncIterator[None]:
    """Bound the time of a call of Redis. Raises _RefusalError if Redis does not answer or refuses it."""
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            yield
    except (RedisError, TimeoutError, OSError):
        text = "Redis did not confirm the request. Send it again; events with an event_id are never applied twice."
        raise _unavailable(text) from None


def _unavailable(text: str) -> _RefusalError:
    return _RefusalError(503, "redis_unavailable", text, headers=_retry_after(RETRY_SECONDS))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def _json(answer: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(answer).encode(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
