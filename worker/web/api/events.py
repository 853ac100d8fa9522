"""POST /v1/events and GET /v1/events/ID: the way in for apps that cannot reach Redis.

A token of INTAKE_TOKENS is the access check, made before a body of more than a form is read. Its name becomes the
`source` of the events. No line of the log contains a token or anything else of a request.
"""

import asyncio
import hmac
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from pydantic import SecretStr
from redis.exceptions import RedisError

from autumn_sync_client.outcomes import Outcome
from config.settings import Settings
from jobs.enqueue import poll_outcome
from jobs.errors import describe
from jobs.inbox import Found, Inbox, RateExceededError
from worker.redis_client import open_briefly
from worker.web.api.bodies import read_events
from worker.web.api.openapi import openapi_document
from worker.web.api.refusals import RefusalError, json_answer, rate_limited, unavailable
from worker.web.credentials import digest_of
from worker.web.server import BODY_LIMITS, BODY_SECONDS, FORM_BYTES, kept_open

log = structlog.get_logger(__name__)

ROOT: Final = "/v1/"
PATH: Final = "/v1/events"
DOCUMENT_PATH: Final = "/v1/openapi.json"
BODY_BYTES: Final = 1024 * 1024
"""The largest body. As parsed JSON, it takes up to forty times as much memory."""
DISCARDED_AT_MOST: Final = 16 * BODY_BYTES
"""The largest body that is received and thrown away, so that the client reads why it was refused."""
WAIT_AT_MOST: Final = 30.0
"""The longest `wait` for an outcome, in seconds."""
REDIS_SECONDS: Final = 5.0
"""The longest time for one call of Redis."""
THREADS: Final = 2
"""Bodies over IN_LOOP_BYTES that are checked at the same time."""
IN_LOOP_BYTES: Final = 16 * 1024
"""The largest body that is checked in the event loop. It takes some milliseconds, and less than with a thread."""
BODIES_AT_MOST: Final = 4
"""Bodies over FORM_BYTES of a source that a process receives at the same time. Others of the source wait."""
WAITS_AT_MOST: Final = 32
"""Requests that wait for an outcome at the same time, because each keeps a connection."""
WAITS_OF_SOURCE: Final = 16
"""Requests of a source that wait for an outcome at the same time."""
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


@asynccontextmanager
async def open_intake(
    settings: Settings, may_add: asyncio.Event
) -> AsyncIterator[list[Callable[[web.Application], None]]]:
    """Connect to Redis for the length of the block, and yield `intake_of`."""
    url, certificate = settings.redis_url.get_secret_value(), settings.redis_certificate
    # The worker's own client would repeat a command after the app has got its answer.
    async with open_briefly(url, certificate, seconds=REDIS_SECONDS) as redis:
        inbox = Inbox(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix)
        yield intake_of(settings.intake_tokens, inbox, may_add)


def add_intake(app: web.Application, intake: "Intake | None") -> None:
    """Add the routes and the access check to the application."""
    app.add_routes([web.get(DOCUMENT_PATH, _document)])
    # Before the middleware that reads the body.
    app.middlewares.insert(0, _is_off if intake is None else intake.check)
    if intake is not None:
        app[BODY_LIMITS][PATH] = intake.body_limit
        app.add_routes([web.post(PATH, intake.receive), web.get(PATH + "/{id:(?s:.+)}", intake.status)])


@web.middleware
async def _is_off(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not _is_ours(request):
        return await handler(request)
    answer = json_answer({"error": "not_found", "message": "This worker takes no events over HTTP."}, 404)
    answer.force_close()
    return answer


def _is_ours(request: web.Request) -> bool:
    return request.path.startswith(ROOT) and request.path != DOCUMENT_PATH


async def _document(_: web.Request) -> web.Response:
    return json_answer(openapi_document())


class Intake:
    """The access check and the handlers of the routes."""

    def __init__(self, tokens: Tokens, inbox: Inbox, may_add: asyncio.Event) -> None:
        """Keep all three; nothing is opened."""
        self._tokens = tokens
        self._inbox = inbox
        self._may_add = may_add
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="intake")
        self._bodies: dict[str, asyncio.Semaphore] = defaultdict(partial(asyncio.Semaphore, BODIES_AT_MOST))
        self._waits: Counter[str] = Counter()
        self._logged_at = -math.inf

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the token, and answer every error as JSON. Requests to other paths pass."""
        if not _is_ours(request):
            return await handler(request)
        source = self._tokens.name_of(request)
        is_large = FORM_BYTES < (request.content_length or 0) <= self.body_limit(request)
        try:
            if source is None:
                return await handler(request)
            with kept_open(request):
                async with self._bodies[source] if is_large else nullcontext():
                    return await handler(request)
        except RefusalError as refusal:
            return refusal.response()
        except web.HTTPException as refusal:
            if refusal.status == web.HTTPRequestEntityTooLarge.status_code:
                await self._discard_body(request)
            return self._answer_to(request, refusal)
        except Exception as error:
            log.error("intake_failed", cause=describe(error))
            return json_answer({"error": "internal_error", "message": "Send the request again."}, 500)

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
        text = refusal.text or refusal.reason
        if refusal.status == web.HTTPNotFound.status_code:
            text = f"There is no such path. Send events to {PATH}, and read an outcome from {PATH}/ID."
        answer = json_answer({"error": code, "message": text}, refusal.status)
        if self._tokens.name_of(request) is None:
            answer = self._unauthorized().response()
        elif "Allow" in refusal.headers:
            answer.headers["Allow"] = refusal.headers["Allow"]
        if refusal.keep_alive is False:
            answer.force_close()
        return answer

    def _unauthorized(self) -> RefusalError:
        now = time.monotonic()
        if now - self._logged_at >= LOG_AGAIN_SECONDS:
            self._logged_at = now
            log.warning("intake_refused", reason="no token of INTAKE_TOKENS")
        text = "Send the header Authorization: Bearer TOKEN with a valid token."
        return RefusalError(401, "unauthorized", text, headers={"WWW-Authenticate": "Bearer"})

    def _source_of(self, request: web.Request) -> str:
        source = self._tokens.name_of(request)
        if source is None:
            raise self._unauthorized()
        return source

    async def receive(self, request: web.Request) -> web.Response:
        """POST /v1/events: check the events, and answer 202 after Redis has all of them."""
        source = self._source_of(request)
        events = await self._events_in(await request.read(), source)
        if not self._may_add.is_set():
            text = "This worker may not take events yet, because it is starting. Send the request again."
            raise unavailable(text, RETRY_SECONDS)
        async with _redis_answers(source):
            entries = await self._inbox.add(source, events)
        ids = [fields.get("event_id", entry) for fields, entry in zip(events, entries, strict=True)]
        return json_answer({"ids": ids}, 202)

    async def _events_in(self, body: bytes, source: str) -> list[dict[str, str]]:
        if len(body) <= IN_LOOP_BYTES:
            return read_events(body, source)
        return await asyncio.get_running_loop().run_in_executor(self._threads, read_events, body, source)

    async def status(self, request: web.Request) -> web.Response:
        """GET /v1/events/ID: answer what is known of an event. With `wait`, as soon as it no longer waits."""
        source = self._source_of(request)
        event_id, wait_seconds = request.match_info["id"], _wait_of(request)
        found: Found | None = None

        async def read() -> Outcome | None:
            nonlocal found
            async with _redis_answers(source):
                if found is None:
                    found = await self._inbox.find(source, event_id)
                    if found.outcome is None and found.is_searched:
                        raise _unknown(is_searched=True)
                else:
                    # Without a search, which costs Redis milliseconds.
                    found = replace(found, outcome=await self._inbox.follow(event_id, found.outcome))
            return found.outcome

        async with self._waiting(source, wait_seconds):
            outcome = await poll_outcome(read, wait_seconds=wait_seconds)
        if outcome is None:
            raise _unknown(is_searched=False)
        return json_answer(
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
    async def _waiting(self, source: str, seconds: float) -> AsyncIterator[None]:
        """Count the request while it waits. Raises RefusalError if too many wait."""
        counts = int(seconds > 0)
        if counts and (self._waits[source] >= WAITS_OF_SOURCE or self._waits.total() >= WAITS_AT_MOST):
            text = "Too many requests already wait for an outcome. Ask again later, or without wait."
            raise rate_limited(text, RETRY_SECONDS)
        self._waits[source] += counts
        try:
            yield
        finally:
            self._waits[source] -= counts


def _unknown(*, is_searched: bool) -> RefusalError:
    text = "Nothing is known of this event. Events are known for 24 hours."
    if not is_searched:
        text = "This event may be in the inbox, which has more events than were searched. Ask again later."
    return RefusalError(404, "unknown_event", text)


def _wait_of(request: web.Request) -> float:
    """Return the parameter `wait`, in seconds. Raises RefusalError if it is not a number from 0 to WAIT_AT_MOST."""
    try:
        seconds = float(request.query.get("wait", "0"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= WAIT_AT_MOST:
        raise RefusalError(400, "invalid_request", f"wait: must be a number from 0 to {WAIT_AT_MOST:.0f}.")
    return seconds


@asynccontextmanager
async def _redis_answers(source: str) -> AsyncIterator[None]:
    """Bound the time of a call of Redis. Raises RefusalError if Redis does not answer or refuses it, or by the rate."""
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            yield
    except RateExceededError as error:
        raise rate_limited(
            f"{source} has sent too many requests. Send this one again later.", error.wait_seconds
        ) from None
    except (RedisError, TimeoutError, OSError):
        text = "Redis did not confirm the request. Send it again; events with an event_id are never applied twice."
        raise unavailable(text, RETRY_SECONDS) from None
