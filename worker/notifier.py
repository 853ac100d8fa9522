"""Sends notifications about what needs a person to NOTIFY_URL, once a minute, from one of all workers.

The limits are those of `/readyz` (worker.status.health). A receiver that fails or hangs delays nothing else. It uses
aiohttp, as the port does: httpx stays the client of Autumn alone, and neither its redirects nor its cookies are wanted.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import Settings
from jobs.notifications.message import (
    SIGNATURE_HEADER,
    Alert,
    Notification,
    alert_began,
    alert_ended,
    body_of,
    dead_letters,
    needs_review,
    scan,
    signature_of,
)
from jobs.notifications.state import (
    FAILED,
    LONGEST_PAUSE_SECONDS,
    PAUSE_SECONDS,
    SENT,
    AlertMark,
    NotificationQueue,
    NotificationState,
    alerts_text,
)
from worker.status.health import why_not_ready
from worker.status.shared_state import SharedState, SharedStateReader

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 2.0
"""The pause between two checks whether a request is due."""
SEND_SECONDS: Final = 10.0
"""The longest time of a request, from its start to its end."""
OF_DEAD_LETTERS: Final = "CustomerSyncDeadLetters"
"""The alert that is left out, because dead letters have a notification of their own."""
CODE_MAX: Final = 64
OF_THE_BREAKER: Final = frozenset({"CustomerSyncHalted", "CustomerSyncOutage"})


async def send(settings: Settings, notifications: Sequence[Notification]) -> str:
    """Send one request. Return "" if the receiver accepted it, else a code. Raises no error of the network."""
    url = "" if settings.notify_url is None else settings.notify_url.get_secret_value()
    body = body_of(notifications, settings.notify_format, deployment=settings.key_prefix, mode=settings.mode)
    headers = {"Content-Type": "application/json", "User-Agent": "autumn-stripe-sync"}
    if settings.notify_secret is not None:
        secret = settings.notify_secret.get_secret_value()
        headers[SIGNATURE_HEADER] = signature_of(body, secret, int(time.time()))
    return await _post(url, body, headers)


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    timeout = aiohttp.ClientTimeout(total=SEND_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            is_accepted = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
            return "" if is_accepted else f"http_{answer.status}"
    except TimeoutError:
        return "timeout"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The text of the error may quote the address, which may hold a secret.
        return type(error).__name__


@dataclass(frozen=True)
class _Batch:
    """The notifications of a request, and the fields of the state before and after it."""

    notifications: list[Notification]
    before: Mapping[str, str]
    after: Mapping[str, str]


class Notifier:
    """The sender of notifications of one process."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Do no I/O. The settings have a NOTIFY_URL."""
        self._settings = settings
        self._queue = NotificationQueue(redis, settings.key_prefix)
        self._shared = SharedStateReader(
            redis, prefix=settings.key_prefix, inbox=settings.inbox_stream, scan_schedule=settings.scan_schedule
        )

    async def tick(self) -> None:
        """Send what is new, if a request is due in this process. Raises RedisError.

        A failure of the receiver is noted, and the next try is later. Nothing that still matters is left out then.
        """
        state = await self._queue.begin()
        if state is None:
            return
        try:
            await self._send(state, await self._collect(state))
        except asyncio.CancelledError:
            with suppress(RedisError):
                await self._queue.note({})
            raise

    async def _collect(self, state: NotificationState) -> _Batch:
        shared = await self._shared.read()
        alerts = alerts_of(shared)
        marks = {name: state.alerts.get(name) or AlertMark(state.now_ms, is_sent=False) for name in alerts}
        letters = await self._queue.count_dead_letters(state)
        reviews = await self._queue.count_reviews(state)
        run = shared.scan.last
        has_drift = run is not None and run.run != state.scan and run.state != "failed" and run.drift > 0
        notifications = [
            *([dead_letters(letters, state.dead_until)] if letters.count else []),
            *([needs_review(reviews, state.reviews_until)] if reviews.count else []),
            *(alert_began(name, mark, alerts[name]) for name, mark in marks.items() if not mark.is_sent),
            *(alert_ended(name, mark) for name, mark in state.alerts.items() if name not in marks),
            *([scan(run)] if run is not None and has_drift else []),
        ]
        since_ms = state.now_ms if state.unsent_since_ms is None else state.unsent_since_ms
        return _Batch(
            notifications,
            before={"alerts": alerts_text({**state.alerts, **marks}), "unsent_since_ms": str(since_ms)},
            after={
                "dead_after": state.dead_until,
                "dead_until": "",
                "reviews_after": state.reviews_until,
                "reviews_until": "",
                "alerts": alerts_text({name: AlertMark(mark.since_ms, is_sent=True) for name, mark in marks.items()}),
                "scan": run.run if run is not None else "",
                "failures": "",
                "unsent_since_ms": "",
                "next_ms": str(state.now_ms + int(PAUSE_SECONDS * 1000)),
            },
        )

    async def _send(self, state: NotificationState, batch: _Batch) -> None:
        if not batch.notifications:
            await self._queue.note(batch.after)
            return
        # Noted before they are sent: if this process is killed, the next one sends them again, or their end.
        if not await self._queue.note(batch.before, ends=False):
            return
        error = await send(self._settings, batch.notifications)
        if not error:
            if await self._queue.note(batch.after, total=SENT):
                log.info("notifications_sent", notifications=len(batch.notifications))
            return
        failures = state.failures + 1
        pause_seconds = min(PAUSE_SECONDS * 2 ** min(failures - 1, 10), LONGEST_PAUSE_SECONDS)
        next_ms = state.now_ms + int(pause_seconds * 1000)
        await self._queue.note({"failures": str(failures), "next_ms": str(next_ms)}, total=FAILED)
        log.warning("notifications_failed", error=error, tries=failures, after_seconds=pause_seconds)


def alerts_of(shared: SharedState) -> dict[str, Alert]:
    """Return the alerts that hold now, by name, without the one about dead letters."""
    texts: dict[str, list[str]] = {}
    for reason in why_not_ready(shared):
        if reason.alert != OF_DEAD_LETTERS:
            texts.setdefault(reason.alert, []).append(reason.text)
    breaker = shared.overview.breaker
    codes: dict[str, Any] = (
        {} if breaker is None else {"service": breaker.service[:CODE_MAX], "reason": breaker.reason[:CODE_MAX]}
    )
    return {name: Alert("; ".join(lines), codes if name in OF_THE_BREAKER else {}) for name, lines in texts.items()}
