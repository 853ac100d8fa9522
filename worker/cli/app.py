"""The command line, `customer-sync` or `python -m worker`: its commands, and the command `send`."""

import errno
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from redis.asyncio import Redis
from typer.core import TyperGroup

from autumn_sync_client.outcomes import Outcome
from config.settings import RedisPlace
from jobs.enqueue import outcome_of
from jobs.enqueue import send as send_update
from jobs.events import EventError, new_update, parse_changes
from worker.cli.console import EX_IOERR, EX_USAGE, NOT_FOUND, fail, say, warn, with_redis
from worker.cli.dead_letters import dead_app
from worker.cli.doctor import doctor
from worker.cli.erase import forget
from worker.cli.scan import scan_app
from worker.cli.status import status
from worker.formatting import printable
from worker.status.customer_text import outcome_lines

DEAD = 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Commands(TyperGroup):
    """A group that exits with EX_USAGE for a wrong option or argument, because typer's 2 means drift for a scan."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Do the same as typer, with our exit code."""
        with _exiting_with_usage():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Do the same as typer, with our exit code."""
        with _exiting_with_usage():
            return super().invoke(ctx)


@contextmanager
def _exiting_with_usage() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        error.exit_code = EX_USAGE
        raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Keep customers the same in Autumn and Stripe. Settings come from the environment and from .env.",
    rich_markup_mode=None,
)
app.command(short_help="Check the settings, Redis, both keys and the limits.")(doctor)
app.command(short_help="Show the state of the worker, a customer or an event.")(status)


@app.command(short_help="Send an event for a customer.")
def send(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in Autumn.")],
    changes: Annotated[
        str | None,
        typer.Argument(
            metavar="CHANGES",
            help='A JSON object, such as \'{"email": "ann@example.com"}\'. Without it, request a reconcile: the worker '
            "compares both sides and repairs the differences.",
        ),
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Your own id for the event. The same id twice within 24 hours is one event."),
    ] = None,
    traceparent: Annotated[
        str | None, typer.Option(metavar="CONTEXT", help="Your W3C trace context, for the worker's traces.")
    ] = None,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            show_default=False,
            help="Wait up to this long for the outcome. Default: do not wait.",
        ),
    ] = 0.0,
    check: Annotated[
        bool,
        typer.Option("--check", help="With --wait, for scripts: exit with 0 only if the event was applied."),
    ] = False,
) -> None:
    """Send changes for a customer. Without changes, request a reconcile.

    Exit codes:

    \b
    0   sent; with --check: applied
    1   with --wait: no worker has taken the event yet;
        with --check also: the event still waits
    2   with --check: the event is a dead letter
    64  a wrong option, argument or event; nothing was sent
    69  Redis does not answer or refuses the command
    78  a wrong setting, or the Redis user lacks a right
    """
    if check and wait_seconds <= 0:
        fail(EX_USAGE, "--check: needs --wait SECONDS")
    try:
        parsed = None if changes is None else parse_changes(changes)
        kind = "customer.reconcile" if changes is None else "customer.updated"
        update = new_update(
            customer_id=customer_id, type=kind, changes=parsed, event_id=event_id, traceparent=traceparent
        )
    except EventError as error:
        fail(EX_USAGE, str(error))

    async def act(redis: Redis, place: RedisPlace) -> tuple[str, Outcome | None]:
        sent = await send_update(redis, update, stream=place.inbox_stream)
        # Printed before the wait, so that a person who presses Ctrl-C has the id.
        typer.echo(f"event: {sent}")
        outcome = None
        if wait_seconds > 0:
            outcome = await outcome_of(redis, sent, wait_seconds=wait_seconds, prefix=place.key_prefix)
        return sent, outcome

    sent, outcome = with_redis(act)
    if wait_seconds > 0:
        if outcome is None:
            fail(
                NOT_FOUND,
                f"no worker has taken the event after {wait_seconds:g} s. Check that a worker runs. The event stays in "
                f"the inbox until then; check again: customer-sync status --event {shlex.quote(printable(sent))}",
            )
        say(outcome_lines(outcome))
        if check and outcome.status != "applied":
            raise typer.Exit(DEAD if outcome.status == "dead" else NOT_FOUND)


app.add_typer(dead_app, name="dead", short_help="List, show, replay or drop dead letters.")
app.add_typer(scan_app, name="scan", short_help="Compare all customers of both sides.")
app.command(short_help="Erase the data about a customer from Redis.")(forget)


def main() -> None:
    """Run the command line. Exit with EX_IOERR if standard output is closed or cannot be written."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process runs
    if sys.stdout is None:
        # The next connection would get its file descriptor, and our output.
        warn("standard output is closed: redirect it to a file or to /dev/null")
        sys.exit(EX_IOERR)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _write_no_more()
        sys.exit(NOT_FOUND)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _write_no_more()
        warn(f"standard output cannot be written ({error.strerror}): free some space, or redirect it elsewhere")
        sys.exit(EX_IOERR)


def _write_no_more() -> None:
    """Discard the rest of the output, because Python writes it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
