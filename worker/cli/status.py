"""The command `customer-sync status`: the state of the worker, a customer or an event.

It reads, and prints what `worker.status` makes of it, as text or as JSON. With --live, `jobs.sync.preview` fetches the
customer from both services. With --watch, the text is redrawn in place, also while Redis is away.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Final

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from config.loading import load_measures, load_settings
from config.settings import RedisPlace
from jobs.enqueue import outcome_of
from jobs.errors import Halt, SyncError, TryAgain
from jobs.queue.dead_letters import DeadLetters, NewestLetters
from jobs.queue.status import Standing, read_standing
from jobs.sync.preview import Preview, preview
from worker.cli.console import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, NOT_FOUND, fail, say, warn, with_redis
from worker.formatting import printable
from worker.lifespan import open_resources
from worker.status.customer_text import EVENT_NOT_KNOWN, outcome_lines, standing_lines, verdict_of
from worker.status.json import Json, outcome_json, preview_json, snapshot_json, standing_json
from worker.status.live_text import preview_failure_text, preview_lines
from worker.status.shared_state import HOW_TO_REPAIR, SharedStateReader
from worker.status.snapshot import Snapshot, SnapshotReader
from worker.status.terminal import snapshot_lines

EVERY_SECONDS: Final = 2.0
HOW: Final = Text(f"Updates every {EVERY_SECONDS:.0f} seconds. Press Ctrl-C to quit.", style="dim")


async def watch(console: Console, first: Snapshot, read: Callable[[], Awaitable[Snapshot]]) -> None:
    """Draw the snapshot until cancelled. `read` raises RedisError, TimeoutError or OSError while Redis is away."""
    newest, is_old = first, False
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            lines = snapshot_lines(newest, is_old=is_old, is_plain=console.options.ascii_only)
            live.update(Group(HOW, *lines), refresh=True)
            await asyncio.sleep(EVERY_SECONDS)
            try:
                newest, is_old = await read(), False
            except (RedisError, TimeoutError, OSError):
                is_old = True


COLUMNS, COLUMNS_AT_MOST = 80, 100
"""In a narrower terminal lines wrap, because an id that is cut off is useless."""


def status(
    customer_id: Annotated[str | None, typer.Argument(metavar="CUSTOMER", help="A customer's id in Autumn.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--event", metavar="ID", help="Show the outcome of an event, by event id or entry id.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Fetch the customer from Autumn and Stripe now. Show both sides (personal data) and the steps that a "
            "sync would take. Writes nothing; needs both keys.",
        ),
    ] = False,
    watched: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show the overview and update it every 2 seconds, until Ctrl-C. Needs a terminal; in scripts, use "
            "--json instead.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the state of a customer, an event, or the worker, with each problem and what to do about it.

    Without arguments it shows the same overview as the operator's page: whether all is well, the flow of events, the
    last hours, what waits and why, dead letters, and scans. It needs only REDIS_URL. With the worker's other settings
    it also shows the limits and the scan schedule.

    Exits with 0 even if a person should look; --json has that as `verdict`. Exits with 1 if the customer or the event
    is unknown.
    """
    if customer_id is not None and event_id is not None:
        fail(EX_USAGE, "--event: cannot be used with a customer; pass one of the two")
    if live and customer_id is None:
        fail(EX_USAGE, "--live: needs a customer; pass its id")
    if watched and (customer_id is not None or event_id is not None or as_json):
        fail(EX_USAGE, "--watch: cannot be used with a customer, --event or --json")
    if customer_id is not None:
        _customer(customer_id, live=live, as_json=as_json)
    elif event_id is not None:
        _event(event_id, as_json=as_json)
    elif watched:
        _watch()
    else:
        _everything(as_json=as_json)


def _customer(customer_id: str, *, live: bool, as_json: bool) -> None:
    async def read(redis: Redis, place: RedisPlace) -> tuple[Standing, NewestLetters, Preview | None]:
        now = await _preview(redis, customer_id) if live else None
        letters = DeadLetters(redis, inbox=place.inbox_stream, prefix=place.key_prefix)
        standing = await read_standing(redis, place.key_prefix, customer_id)
        return standing, await letters.newest_of(customer_id), now

    try:
        standing, letters, now = with_redis(read)
    except SyncError as error:
        fail(_exit_code(error), printable(preview_failure_text(error, customer_id)))
    if as_json:
        _print_json({**standing_json(standing, letters), "live": None if now is None else preview_json(now)})
    else:
        say([] if now is None else [*preview_lines(now, standing.entries), "on record:"])
        say(standing_lines(standing, letters))
    if now is None and verdict_of(standing, letters).kind == "not-known":
        raise typer.Exit(NOT_FOUND)


async def _preview(redis: Redis, customer_id: str) -> Preview:
    async with open_resources(load_settings(), redis) as deps:
        return await preview(deps, customer_id)


def _exit_code(error: SyncError) -> int:
    if isinstance(error, Halt):
        return EX_CONFIG
    return EX_UNAVAILABLE if isinstance(error, TryAgain) else NOT_FOUND


def _event(event_id: str, *, as_json: bool) -> None:
    outcome = with_redis(lambda redis, place: outcome_of(redis, event_id, prefix=place.key_prefix))
    if as_json:
        _print_json(outcome_json(event_id, outcome))
    elif outcome is not None:
        say(outcome_lines(outcome))
    else:
        fail(NOT_FOUND, EVENT_NOT_KNOWN)
    if outcome is None:
        raise typer.Exit(NOT_FOUND)


def _everything(*, as_json: bool) -> None:
    snapshot = with_redis(lambda redis, _: _snapshots(redis).read())
    if snapshot.state.unreadable_totals:
        names = ", ".join(snapshot.state.unreadable_names)
        warn(
            f"{len(snapshot.state.unreadable_totals)} totals are not numbers and are left out ({names}). "
            f"{HOW_TO_REPAIR}"
        )
    if as_json:
        _print_json(snapshot_json(snapshot))
        return
    console = Console(highlight=False)
    console.width = max(COLUMNS, min(COLUMNS_AT_MOST, console.width)) if sys.stdout.isatty() else COLUMNS
    for line in snapshot_lines(snapshot, is_plain=console.options.ascii_only):
        console.print(line)


def _watch() -> None:
    """Draw the overview until Ctrl-C."""
    if not sys.stdout.isatty():
        fail(EX_USAGE, "--watch: needs a terminal; run status without it, or with --json")

    async def run(redis: Redis, _: RedisPlace) -> None:
        # The first read reports why Redis fails; later reads must not hang while it is away.
        first = await _snapshots(redis).read()
        await watch(Console(highlight=False), first, _snapshots(redis, is_brief=True).read)

    with suppress(KeyboardInterrupt):
        with_redis(run)


def _snapshots(redis: Redis, *, is_brief: bool = False) -> SnapshotReader:
    measures = load_measures()
    state = SharedStateReader(
        redis, prefix=measures.key_prefix, inbox=measures.inbox_stream, scan_schedule=measures.scan_schedule
    )
    return SnapshotReader(redis, measures, state.read_cached if is_brief else state.read)


def _print_json(answer: Json) -> None:
    typer.echo(json.dumps(answer))
