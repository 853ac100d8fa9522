"""The command line, `customer-sync` or `python -m worker`: send an event, ask what became of it, see what waits."""

import json
from typing import Annotated

import typer
from redis.asyncio import Redis

from config.settings import RedisPlace
from jobs.enqueue import outcome_of
from jobs.enqueue import send as send_update
from jobs.events import EventError, new_update
from jobs.record import Outcome
from worker.console import EX_USAGE, NOT_FOUND, fail, say, with_redis
from worker.dead_letters import dead_app
from worker.doctor import doctor
from worker.forget import forget
from worker.scan_cli import scan_app
from worker.status import status
from worker.story import EVENT_NOT_KNOWN, tell_outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Keep customers the same in Autumn and in Stripe.",
    rich_markup_mode=None,
)
app.add_typer(dead_app, name="dead", help="Look at what was given up, and send it again or drop it.")
app.add_typer(scan_app, name="scan", help="Compare the whole of both sides; ask for the syncs that are missing.")
app.command()(status)
app.command()(doctor)
app.command()(forget)


@app.command()
def send(
    customer_id: Annotated[str, typer.Argument(help="The customer's id in Autumn.")],
    changes: Annotated[
        str | None, typer.Argument(help='A JSON object, such as \'{"email": "ann@example.com"}\'. Without: reconcile.')
    ] = None,
    event_id: Annotated[str | None, typer.Option(help="Your own id: the same one twice is one event.")] = None,
    traceparent: Annotated[str | None, typer.Option(help="Your trace context, for the worker's traces.")] = None,
    wait_seconds: Annotated[float, typer.Option("--wait", help="Wait for the outcome, in seconds.")] = 0.0,
) -> None:
    """Say that a customer changed, or, without changes, ask for a look at both sides."""
    try:
        said = None if changes is None else json.loads(changes)
        kind = "customer.reconcile" if changes is None else "customer.updated"
        update = new_update(
            customer_id=customer_id, type=kind, changes=said, event_id=event_id, traceparent=traceparent
        )
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
        if outcome is None:
            fail(NOT_FOUND, EVENT_NOT_KNOWN)
        say(tell_outcome(outcome))


def main() -> None:
    """Run the command line."""
    app()
