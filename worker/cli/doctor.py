"""The command `customer-sync doctor`: check everything before the first event. It changes nothing.

The checks are in `worker.checks`. This file runs them in order and prints what they find.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated

import typer

from config.loading import SettingsError, load_place, load_settings
from config.settings import RedisPlace, Settings
from worker.checks.check import Check, Checkup, Found, Line, skipped_for
from worker.checks.owner import OWNER_CHECKS, OwnerSubject
from worker.checks.redis import REDIS_CHECKS, RedisSubject, redis_error_in_words
from worker.checks.services import SERVICE_CHECKS, SETTINGS_CHECKS, TEST_NOTIFICATION, Services, service_error_in_words
from worker.lifespan import open_services
from worker.redis_client import open_briefly

WRONG = 1


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    test_notification: Annotated[
        bool, typer.Option("--test-notification", help="Also send a test notification to NOTIFY_URL.")
    ] = False,
) -> None:
    """Check the settings, Redis, both keys and the limits. It changes nothing. Exits with 1 if a check fails."""
    checkup = Checkup()

    async def run() -> None:
        async for line in _examine(checkup, SETTINGS_CHECKS + (TEST_NOTIFICATION,) * test_notification):
            typer.echo(_as_json(line) if as_json else _as_text(line))

    asyncio.run(run())
    if not as_json:
        typer.echo(_summary(checkup))
    if not checkup.is_passed:
        raise typer.Exit(WRONG)


async def _examine(checkup: Checkup, settings_checks: Sequence[Check[Settings]]) -> AsyncIterator[Line]:
    settings = _load(checkup)
    yield checkup.lines[-1]
    place = settings or _place()
    if place is None:
        for line in checkup.skip(REDIS_CHECKS, because_of="settings"):
            yield line
    else:
        async with open_briefly(place.redis_url.get_secret_value(), place.redis_certificate) as redis:
            subject = RedisSubject(redis, place.key_prefix, place.inbox_stream)
            async for line in checkup.run(REDIS_CHECKS, subject, redis_error_in_words):
                yield line
    if settings is None:
        names = [check.name for check in (*SERVICE_CHECKS, *OWNER_CHECKS)]
        for name in [*names, *(check.name for check in settings_checks)]:
            yield checkup.note(name, skipped_for("settings"))
        return
    async with _open(settings) as services:
        async for line in checkup.run(SERVICE_CHECKS, services, service_error_in_words):
            yield line
    async with open_briefly(settings.redis_url.get_secret_value(), settings.redis_certificate) as redis:
        async for line in checkup.run(OWNER_CHECKS, OwnerSubject(settings, redis), redis_error_in_words):
            yield line
    async for line in checkup.run(settings_checks, settings, service_error_in_words):
        yield line


def _load(checkup: Checkup) -> Settings | None:
    try:
        settings = load_settings()
    except SettingsError as error:
        checkup.note("settings", Found("wrong", "; ".join(str(error).splitlines()), "Correct the environment or .env"))
        return None
    checkup.note("settings", Found("ok", f"both keys begin like {settings.mode} keys"))
    return settings


def _place() -> RedisPlace | None:
    try:
        return load_place()
    except SettingsError:
        return None


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Services]:
    """Open both services without slots of the shared rates, because a slot is a write to Redis."""
    async with open_services(settings, lambda _: nullcontext()) as (autumn, stripe):
        yield Services(settings, autumn, stripe)


def _as_text(line: Line) -> str:
    fix = f". {line.found.fix}" if line.found.fix else ""
    return f"{line.found.verdict:<8} {line.check:<18} {line.found.text}{fix}"


def _as_json(line: Line) -> str:
    found = line.found
    return json.dumps({"check": line.check, "verdict": found.verdict, "text": found.text, "fix": found.fix})


def _summary(checkup: Checkup) -> str:
    count = Counter(line.found.verdict for line in checkup.lines)
    return f"{count['ok']} ok, {count['warning']} warnings, {count['wrong']} wrong, {count['skipped']} skipped"
