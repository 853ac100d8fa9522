"""The command `customer-sync status`: where a customer, an event or everything stands.

Reads and hands on, no more. The words for a person are in worker.story and worker.preview_story, what machines read in
worker.status_json; looking at both services is up to jobs.preview.
"""

import json
from typing import Annotated

import typer
from redis.asyncio import Redis

from config.settings import RedisPlace, load_settings
from jobs.dead_letters import DeadLetters, NewestLetters
from jobs.enqueue import outcome_of
from jobs.errors import Halt, SyncError, TryAgain
from jobs.overview import Standing, read_overview, read_standing
from jobs.preview import Preview, preview
from worker.console import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, NOT_FOUND, fail, printable, say, with_redis
from worker.lifespan import open_resources
from worker.preview_story import tell_failure, tell_preview
from worker.status_json import Json, outcome_json, overview_json, preview_json, standing_json
from worker.story import EVENT_NOT_KNOWN, tell, tell_outcome, tell_overview, verdict_of


def status(
    customer_id: Annotated[str | None, typer.Argument(help="A customer's id; without: everything together.")] = None,
    event_id: Annotated[str | None, typer.Option("--event", help="An event's id, or its entry's.")] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Look at the customer in both services now, and show both sides, names and addresses included, and "
            "what a sync would do. Writes nothing; needs the keys.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell where a customer, an event or everything stands: whether it is right, and if not, what can be done."""
    if customer_id is not None and event_id is not None:
        fail(EX_USAGE, "say which: either a customer or --event")
    if live and customer_id is None:
        fail(EX_USAGE, "--live: looks at one customer; say which")
    if customer_id is not None:
        _customer(customer_id, live=live, as_json=as_json)
    elif event_id is not None:
        _event(event_id, as_json=as_json)
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
    async with open_resources(load_settings(), redis) as resources:
        return await preview(resources, customer_id)


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
    overview = with_redis(lambda redis, place: read_overview(redis, place.key_prefix, place.inbox_stream))
    if as_json:
        _print_json(overview_json(overview))
    else:
        say(tell_overview(overview))


def _print_json(answer: Json) -> None:
    typer.echo(json.dumps(answer))
