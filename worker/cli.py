"""The command line, `customer-sync` or `python -m worker`: send an event, ask what became of it, see what waits."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, NoReturn, TypeVar

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import RedisPlace, SettingsError, load_place
from jobs.enqueue import outcome_of
from jobs.enqueue import send as send_update
from jobs.events import EventError, new_update
from jobs.overview import Overview, Standing, read_overview, read_standing
from jobs.record import Outcome

EX_USAGE, EX_UNAVAILABLE, EX_CONFIG = 64, 69, 78
NOT_FOUND = 1
Answer = TypeVar("Answer")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Keep customers the same in Autumn and in Stripe.",
    rich_markup_mode=None,
)


@app.command()
def send(
    customer_id: Annotated[str, typer.Argument(help="The customer's id in Autumn.")],
    changes: Annotated[
        str | None, typer.Argument(help='A JSON object, such as \'{"email": "ann@example.com"}\'. Without: reconcile.')
    ] = None,
    event_id: Annotated[str | None, typer.Option(help="Your own id: the same one twice is one event.")] = None,
    wait_seconds: Annotated[float, typer.Option("--wait", help="Wait for the outcome, in seconds.")] = 0.0,
) -> None:
    """Say that a customer changed, or, without changes, ask for a look at both sides."""
    try:
        said = None if changes is None else json.loads(changes)
        kind = "customer.reconcile" if changes is None else "customer.updated"
        update = new_update(customer_id=customer_id, type=kind, changes=said, event_id=event_id)
    except json.JSONDecodeError as error:
        _fail(EX_USAGE, f"changes: is not valid JSON ({error.msg} at character {error.pos})")
    except EventError as error:
        _fail(EX_USAGE, str(error))

    async def act(redis: Redis, place: RedisPlace) -> tuple[str, Outcome | None]:
        sent = await send_update(redis, update, stream=place.inbox_stream)
        outcome = None
        if wait_seconds > 0:
            outcome = await outcome_of(redis, sent, wait_seconds=wait_seconds, prefix=place.key_prefix)
        return sent, outcome

    sent, outcome = _with_redis(act)
    typer.echo(f"event: {sent}")
    if wait_seconds > 0:
        _show_outcome(outcome)


@app.command()
def status(
    customer_id: Annotated[str | None, typer.Argument(help="A customer's id; without: everything together.")] = None,
    event_id: Annotated[str | None, typer.Option("--event", help="An event's id, or its entry's.")] = None,
) -> None:
    """Tell where a customer, an event or everything stands."""
    if event_id is not None:
        asked = event_id
        _show_outcome(_with_redis(lambda redis, place: outcome_of(redis, asked, prefix=place.key_prefix)))
    elif customer_id is not None:
        customer = customer_id
        _show_standing(_with_redis(lambda redis, place: read_standing(redis, place.key_prefix, customer)))
    else:
        _show_overview(_with_redis(lambda redis, place: read_overview(redis, place.key_prefix, place.inbox_stream)))


def _show_outcome(outcome: Outcome | None) -> None:
    if outcome is None:
        _fail(NOT_FOUND, "not known: it was not sent in the last 24 hours, or is still in the inbox")
    typer.echo(f"status: {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
    typer.echo(f"customer: {outcome.customer_id}")
    typer.echo(f"entry: {outcome.entry_id}")
    if outcome.at is not None:
        typer.echo(f"at: {_time(outcome.at)}")


def _show_standing(standing: Standing) -> None:
    until = f" until {_time(standing.due_ms)}" if standing.due_ms is not None else ""
    typer.echo(f"state: {standing.state}{until}")
    if standing.oldest_entry is not None:
        since = _time(int(standing.oldest_entry.split("-")[0]))
        typer.echo(f"waiting events: {standing.entries}, the oldest sent {since}")
    for name, label in (
        ("link", "link"),
        ("stripe_id", "Stripe customer"),
        ("receipts", "receipts cannot be sent"),
        ("last_error", "last error"),
        ("attempts", "tries that failed"),
    ):
        value = standing.record.get(name, "")
        if value not in {"", "0"}:
            typer.echo(f"{label}: {value}")
    if not standing.record and standing.entries == 0:
        typer.echo("nothing is known of this customer: no event of it was seen in the last 30 days")


def _show_overview(overview: Overview) -> None:
    typer.echo(f"in the inbox: {overview.inbox} events")
    typer.echo(f"waiting: {overview.waiting} customers, being worked on: {overview.working}")
    typer.echo(f"dead letters: {overview.dead}")
    for name, value in sorted(overview.totals.items()):
        typer.echo(f"total {name}: {value}")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _with_redis(act: Callable[[Redis, RedisPlace], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        place = load_place()
        url = place.redis_url.get_secret_value()
        async with Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5) as redis:
            return await act(redis, place)

    try:
        return asyncio.run(run())
    except SettingsError as error:
        _fail(EX_CONFIG, str(error))
    except RedisError as error:
        _fail(EX_UNAVAILABLE, f"Redis does not answer ({type(error).__name__}): is REDIS_URL right, is it running?")


def _fail(code: int, text: str) -> NoReturn:
    sys.stderr.write(text + "\n")
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app()
