"""The command `customer-sync status`: where a customer, an event or everything stands.

Reads and hands on, no more. The words for a person are in worker.status.customer_text, worker.status.live_text and
worker.status.terminal, what machines read in worker.status.json and worker.status.json; looking at both services is up
to jobs.sync.preview.

`customer-sync status --watch`: the snapshot in place, read anew again and again, whatever Redis does in between.

Draws and waits, no more: what is drawn comes from worker.status.terminal.
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

from config.settings import RedisPlace, load_measures, load_settings
from jobs.enqueue import outcome_of
from jobs.errors import Halt, SyncError, TryAgain
from jobs.queue.dead_letters import DeadLetters, NewestLetters
from jobs.queue.status import Standing, read_standing
from jobs.sync.preview import Preview, preview
from worker.cli.console import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, NOT_FOUND, fail, say, warn, with_redis
from worker.formatting import printable
from worker.lifespan import open_resources
from worker.status.customer_text import EVENT_NOT_KNOWN, tell, tell_outcome, verdict_of
from worker.status.json import Json, outcome_json, preview_json, snapshot_json, standing_json
from worker.status.live_text import tell_failure, tell_preview
from worker.status.shared_state import HOW_TO_REPAIR, SharedStateReader
from worker.status.snapshot import Snapshot, Snapshots
from worker.status.terminal import snapshot_lines

EVERY_SECONDS: Final = 2.0
HOW: Final = Text(f"renewed every {EVERY_SECONDS:.0f} seconds; Ctrl-C ends it", style="dim")


async def watch(console: Console, first: Snapshot, read: Callable[[], Awaitable[Snapshot]]) -> None:
    """Draw the snapshot until cancelled. `read` raises RedisError, TimeoutError or OSError where Redis is away."""
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
"""A narrower terminal wraps: an id that is cut is of no use. Without one, lines are as long as they are printed."""


def status(
    customer_id: Annotated[str | None, typer.Argument(metavar="CUSTOMER", help="A customer's id in Autumn.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--event", metavar="ID", help="An event's id, or its entry's: what became of it.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Look at the customer in both services now, and show both sides, names and addresses included, and "
            "what a sync would do. Writes nothing; needs the keys.",
        ),
    ] = False,
    watched: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show everything in place, renewed every 2 seconds, until Ctrl-C. Needs a terminal, because what it "
            "wrote to a file or a pipe would never end; scripts take --json.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell whether a customer, an event or everything is right.

    And if not, why, and what can be done. Without arguments it shows what the operator's page shows: whether everything
    is all right, the way of the events, the last hours, what waits and why, dead letters, scans. It needs REDIS_URL
    alone; with the worker's other settings it knows the limits and the schedule, too.

    Ends with 0 whenever it could tell, also where a person should look: --json has that as `verdict`. Ends with 1 where
    a customer or an event is not known.
    """
    if customer_id is not None and event_id is not None:
        fail(EX_USAGE, "say which: either a customer or --event")
    if live and customer_id is None:
        fail(EX_USAGE, "--live: looks at one customer; say which")
    if watched and (customer_id is not None or event_id is not None or as_json):
        fail(EX_USAGE, "--watch: shows everything; it goes without a customer, --event and --json")
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
        now = await _look(redis, customer_id) if live else None
        letters = DeadLetters(redis, inbox=place.inbox_stream, prefix=place.key_prefix)
        standing = await read_standing(redis, place.key_prefix, customer_id)
        return standing, await letters.newest_of(customer_id), now

    try:
        standing, letters, now = with_redis(read)
    except SyncError as error:
        fail(_exit_code(error), printable(tell_failure(error, customer_id)))
    if as_json:
        _print_json({**standing_json(standing, letters), "live": None if now is None else preview_json(now)})
    else:
        say([] if now is None else [*tell_preview(now, standing.entries), "on record:"])
        say(tell(standing, letters))
    if now is None and verdict_of(standing, letters).kind == "not-known":
        raise typer.Exit(NOT_FOUND)


async def _look(redis: Redis, customer_id: str) -> Preview:
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
        say(tell_outcome(outcome))
    else:
        fail(NOT_FOUND, EVENT_NOT_KNOWN)
    if outcome is None:
        raise typer.Exit(NOT_FOUND)


def _everything(*, as_json: bool) -> None:
    snapshot = with_redis(lambda redis, _: _snapshots(redis).read())
    if snapshot.state.unreadable_totals:
        names = ", ".join(snapshot.state.unreadable_names)
        warn(
            f"left out, because they are not numbers: {len(snapshot.state.unreadable_totals)} totals ({names}). "
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
    """Until Ctrl-C, which is how it is meant to end."""
    if not sys.stdout.isatty():
        fail(EX_USAGE, "--watch: needs a terminal to draw on; without it status shows everything once, as --json does")

    async def run(redis: Redis, _: RedisPlace) -> None:
        # The first one says why Redis does not tell; later ones must not hang where it does.
        first = await _snapshots(redis).read()
        await watch(Console(highlight=False), first, _snapshots(redis, is_brief=True).read)

    with suppress(KeyboardInterrupt):
        with_redis(run)


def _snapshots(redis: Redis, *, is_brief: bool = False) -> Snapshots:
    measures = load_measures()
    state = SharedStateReader(
        redis, prefix=measures.key_prefix, inbox=measures.inbox_stream, scan_schedule=measures.scan_schedule
    )
    return Snapshots(redis, measures, state.look if is_brief else state.read)


def _print_json(answer: Json) -> None:
    typer.echo(json.dumps(answer))
