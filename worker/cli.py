"""The command line, `customer-sync` or `python -m worker`: send an event, ask what became of it, see what waits."""

import json
from typing import Annotated

import typer
from redis.asyncio import Redis

from config.settings import RedisPlace
from jobs.enqueue import outcome_of
from jobs.enqueue import send as send_update
from jobs.events import EventError, new_update
from jobs.overview import Overview, Standing, read_overview, read_standing
from jobs.record import Outcome
from worker.console import EX_USAGE, NOT_FOUND, fail, time_text, with_redis
from worker.dead_letters import dead_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Keep customers the same in Autumn and in Stripe.",
    rich_markup_mode=None,
)
app.add_typer(dead_app, name="dead", help="Look at what was given up, and send it again or drop it.")


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
        fail(EX_USAGE, f"changes: is not valid JSON ({error.msg} at character {error.pos})")
    except EventError as error:
        fail(EX_USAGE, str(error))

    async def act(redis: Redis, place: RedisPlace) -> tuple[str, Outcome | None]:
        sent = await send_update(redis, update, stream=place.inbox_stream)
        outcome = None
        if wait_seconds > 0:
            outcome = await outcome_of(redis, sent, wait_seconds=wait_seconds, prefix=place.key_prefix)
        return sent, outcome

    sent, outcome = with_redis(act)
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
        _show_outcome(with_redis(lambda redis, place: outcome_of(redis, asked, prefix=place.key_prefix)))
    elif customer_id is not None:
        customer = customer_id
        _show_standing(with_redis(lambda redis, place: read_standing(redis, place.key_prefix, customer)))
    else:
        _show_overview(with_redis(lambda redis, place: read_overview(redis, place.key_prefix, place.inbox_stream)))


def _show_outcome(outcome: Outcome | None) -> None:
    if outcome is None:
        fail(NOT_FOUND, "not known: it was not sent in the last 24 hours, or is still in the inbox")
    typer.echo(f"status: {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
    typer.echo(f"customer: {outcome.customer_id}")
    typer.echo(f"entry: {outcome.entry_id}")
    if outcome.at is not None:
        typer.echo(f"at: {time_text(outcome.at)}")


def _show_standing(standing: Standing) -> None:
    until = f" until {time_text(standing.due_ms)}" if standing.due_ms is not None else ""
    typer.echo(f"state: {standing.state}{until}")
    if standing.oldest_entry is not None:
        since = time_text(int(standing.oldest_entry.split("-")[0]))
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
    if overview.line is not None:
        line = overview.line
        typer.echo(f"{line.kind} since {time_text(line.since_ms)}: {line.service} {line.reason}")
        typer.echo(line.message or "one customer at a time is tried; the others go on when one gets through")
    for name, value in sorted(overview.totals.items()):
        typer.echo(f"total {name}: {value}")


def main() -> None:
    """Run the command line."""
    app()
