"""The command line, `customer-sync` or `python -m worker`: send an event, ask what became of it, see what waits."""

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

from config.settings import RedisPlace
from jobs.enqueue import outcome_of
from jobs.enqueue import send as send_update
from jobs.events import EventError, new_update, parse_changes
from jobs.queue.record import Outcome
from worker.cli.console import EX_IOERR, EX_USAGE, NOT_FOUND, fail, say, warn, with_redis
from worker.cli.dead_letters import dead_app
from worker.cli.doctor import doctor
from worker.cli.erase import forget
from worker.cli.scan import scan_app
from worker.cli.status import status
from worker.formatting import printable
from worker.status.customer_text import tell_outcome

DEAD = 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Commands(TyperGroup):
    """Ends with EX_USAGE for a wrong option or argument: typer's own 2 means elsewhere that a scan found drift."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As typer's."""
        with _told_apart():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """As typer's."""
        with _told_apart():
            return super().invoke(ctx)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        error.exit_code = EX_USAGE
        raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Keep customers the same in Autumn and in Stripe. Settings come from the environment and .env.",
    rich_markup_mode=None,
)
app.command(short_help="Check settings, Redis, both keys and limits.")(doctor)
app.command(short_help="Tell whether everything, a customer or an event is right.")(status)


@app.command(short_help="Send a change of a customer.")
def send(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in Autumn.")],
    changes: Annotated[
        str | None,
        typer.Argument(
            metavar="CHANGES",
            help='A JSON object, such as \'{"email": "ann@example.com"}\'. Without it nothing is changed: both sides '
            "are compared and repaired.",
        ),
    ] = None,
    event_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Your own id: the same one twice within 24 hours is one event.")
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
            help="Wait so long for the outcome; else not at all.",
        ),
    ] = 0.0,
    check: Annotated[
        bool,
        typer.Option("--check", help="With --wait, for scripts: end with 0 only if the event was applied."),
    ] = False,
) -> None:
    """Say that a customer changed, or, without changes, have both sides compared and repaired.

    Exit codes:

    \b
    0   sent; with --check: applied
    1   with --wait: nothing is known of it by then; with --check also: it still
        waits
    2   with --check: it is a dead letter
    64  a wrong option, argument or event: nothing was sent
    69  Redis does not answer, or refuses
    78  a wrong setting, or the user of Redis lacks a right
    """
    if check and wait_seconds <= 0:
        fail(EX_USAGE, "--check: needs --wait SECONDS")
    try:
        said = None if changes is None else parse_changes(changes)
        kind = "customer.reconcile" if changes is None else "customer.updated"
        update = new_update(
            customer_id=customer_id, type=kind, changes=said, event_id=event_id, traceparent=traceparent
        )
    except EventError as error:
        fail(EX_USAGE, str(error))

    async def act(redis: Redis, place: RedisPlace) -> tuple[str, Outcome | None]:
        sent = await send_update(redis, update, stream=place.inbox_stream)
        # Before the wait: whoever ends that with Ctrl-C can ask again.
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
                f"nothing is known of it after {wait_seconds:g} s: does a worker run? It stays in the inbox until one "
                f"takes it in; ask again: customer-sync status --event {shlex.quote(printable(sent))}",
            )
        say(tell_outcome(outcome))
        if check and outcome.status != "applied":
            raise typer.Exit(DEAD if outcome.status == "dead" else NOT_FOUND)


app.add_typer(dead_app, name="dead", short_help="Look at what was given up; replay or drop it.")
app.add_typer(scan_app, name="scan", short_help="Compare the whole of both sides.")
app.command(short_help="Erase what is kept here about a customer.")(forget)


def main() -> None:
    """Run the command line. Ends with EX_IOERR if standard output is closed, or takes no more."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process runs
    if sys.stdout is None:
        # The next connection would take its place, and be written to.
        warn("standard output is closed: redirect it to a file, or to /dev/null")
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
        warn(f"standard output takes no more ({error.strerror}): make room, or redirect it elsewhere")
        sys.exit(EX_IOERR)


def _write_no_more() -> None:
    """Let what is left go nowhere: Python tries once more to write it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
