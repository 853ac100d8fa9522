"""The commands `customer-sync dead …`: list, show, replay and drop dead letters.

`jobs.queue.dead_letters` does the work. The sent fields may contain personal data, so only `show` prints them.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from redis.asyncio import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.settings import RedisPlace
from jobs.queue.dead_letters import NO_LETTER, PAGE, DeadLetter, DeadLetters, Wanted
from worker.cli.console import EX_USAGE, NOT_FOUND, confirm, fail, warn, with_redis
from worker.formatting import printable, time_text

TABLE_COLUMNS = 100
CUSTOMER_COLUMNS, REASON_COLUMNS, SOURCE_COLUMNS = 16, 23, 12
COLUMNS_NEEDED = 80
"""In a narrower terminal lines wrap, because an id that is cut off is useless."""

dead_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, replay or drop dead letters: events that failed."
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of dead letters, from customer-sync dead list."),
]
Reason = Annotated[
    str | None, typer.Option(metavar="REASON", help="Only dead letters with this reason, such as customer_not_found.")
]
Customer = Annotated[str | None, typer.Option(metavar="CUSTOMER", help="Only dead letters of this customer.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation. Required without a terminal.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@dataclass(frozen=True)
class _Selection:
    """The dead letters that a command is about: those with the `ids`, or else those that are `wanted`.

    `number` is their count. `until` is the newest dead letter at the time of the count.
    """

    ids: tuple[str, ...]
    wanted: Wanted
    number: int
    until: str = NO_LETTER

    def __str__(self) -> str:
        return "1 dead letter" if self.number == 1 else f"{self.number:,} dead letters"


@dead_app.command("list", short_help="List dead letters, the newest first.")
def list_letters(
    reason: Reason = None,
    customer: Customer = None,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Show at most this many.")] = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first, without the sent fields."""
    wanted = Wanted(reason, customer)

    async def read(redis: Redis, place: RedisPlace) -> tuple[list[DeadLetter], Counter[str], int]:
        shown: list[DeadLetter] = []
        totals: Counter[str] = Counter()
        letters = _open_letters(redis, place)
        async for page in letters.pages(wanted, newest_first=True):
            shown += page[: limit - len(shown)]
            totals.update(letter.reason for letter in page)
        return shown, totals, await letters.count_aside()

    shown, totals, aside = with_redis(read)
    if aside:
        warn(f"{aside:,} more are kept aside and not shown. Run customer-sync doctor for the reason.")
    if as_json:
        for letter in shown:
            typer.echo(json.dumps(letter.summary()))
        return
    if shown:
        _print_table(shown)
    by_reason = ", ".join(f"{printable(name)} {number:,}" for name, number in totals.most_common())
    typer.echo(f"dead letters: {totals.total():,}" + (f" ({by_reason})" if by_reason else ""))


@dead_app.command(short_help="Show a dead letter and the sent fields (personal data).")
def show(
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id of a dead letter, from customer-sync dead list.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a dead letter and the sent fields, which may contain personal data."""
    letter = with_redis(lambda redis, place: _open_letters(redis, place).find(letter_id))
    if letter is None:
        fail(NOT_FOUND, _no_such(letter_id))
    if as_json:
        typer.echo(json.dumps(letter.as_json()))
        return
    for label, value in (
        ("id", letter.id),
        ("dead-lettered", time_text(letter.dead_lettered_at_ms)),
        ("customer", letter.customer),
        ("source", letter.source),
        ("reason", letter.reason),
        ("message", letter.message),
        ("tries", str(letter.attempts)),
        ("failing since", None if letter.since is None else time_text(int(letter.since * 1000))),
        ("entry", letter.entry),
    ):
        if value is not None:
            typer.echo(f"{label}: {printable(value)}")
    typer.echo("sent:")
    for name, text in letter.sent_text().items():
        typer.echo(f"  {printable(name)}: {printable(text)}")


@dead_app.command(short_help="Send dead letters again as new events.")
def replay(
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, each as a new event. Warn if one will overwrite newer changes.

    Select them by ids, by --reason and/or --customer, or with --all. The command asks before it sends more than one.
    """
    selection = _select(ids, reason, customer, everything)
    if selection.number > 1 and not yes:
        confirm(f"Replay {selection}?")

    async def replay_page(letters: DeadLetters, page: Sequence[str]) -> list[str]:
        replayed = await letters.replay(page)
        for each in replayed:
            typer.echo(json.dumps(each.as_json()) if as_json else f"{each.id}: replayed as {each.event_id}")
            if each.outdated:
                warn(
                    f"{each.id}: customer {each.customer} has newer changes, and this older change will overwrite them"
                )
        return [each.id for each in replayed]

    _work_off(selection, replay_page, None if as_json else "replayed")


@dead_app.command(short_help="Delete dead letters permanently.")
def drop(
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters permanently. The changes that they request are never made.

    Select them by ids, by --reason and/or --customer, or with --all. The command always asks first.
    """
    selection = _select(ids, reason, customer, everything)
    if selection.number > 0 and not yes:
        confirm(f"Drop {selection} permanently?")

    async def drop_page(letters: DeadLetters, page: Sequence[str]) -> list[str]:
        dropped = await letters.drop(page)
        for letter_id in dropped:
            typer.echo(json.dumps({"id": letter_id}) if as_json else f"{letter_id}: dropped")
        return dropped

    _work_off(selection, drop_page, None if as_json else "dropped")


def _select(ids: Sequence[str] | None, reason: str | None, customer: str | None, everything: bool) -> _Selection:
    by_filter = reason is not None or customer is not None
    if [bool(ids), by_filter, everything].count(True) != 1:
        fail(EX_USAGE, "Select dead letters in one way: ids, or --reason and/or --customer, or --all.")
    wanted = Wanted(reason, customer)
    if ids:
        # Each id once, because the second of two would be reported as missing.
        once = tuple(dict.fromkeys(ids))
        return _Selection(once, wanted, len(once))

    async def count(redis: Redis, place: RedisPlace) -> _Selection:
        letters = _open_letters(redis, place)
        until = await letters.newest()
        return _Selection((), wanted, sum([len(page) async for page in letters.pages(wanted, until=until)]), until)

    return with_redis(count)


def _work_off(
    selection: _Selection,
    act: Callable[[DeadLetters, Sequence[str]], Awaitable[list[str]]],
    done_word: str | None,
) -> None:
    """Act on the letters page by page. Print the total unless `done_word` is None, and name the ids not found."""

    async def run(redis: Redis, place: RedisPlace) -> tuple[int, list[str]]:
        letters = _open_letters(redis, place)
        number, missing = 0, []
        async for page in _id_pages(letters, selection):
            done = await act(letters, page)
            number += len(done)
            missing += sorted(set(page).difference(done), key=page.index) if selection.ids else []
        return number, missing

    number, missing = with_redis(run)
    if done_word is not None:
        typer.echo(f"{done_word}: {number:,}")
    if missing:
        fail(NOT_FOUND, "\n".join(map(_no_such, missing)))


async def _id_pages(letters: DeadLetters, selection: _Selection) -> AsyncIterator[Sequence[str]]:
    if selection.ids:
        for first in range(0, len(selection.ids), PAGE):
            yield selection.ids[first : first + PAGE]
        return
    async for page in letters.pages(selection.wanted, until=selection.until):
        yield [letter.id for letter in page]


def _print_table(letters: Sequence[DeadLetter]) -> None:
    console = Console(highlight=False)
    console.width = max(COLUMNS_NEEDED, min(TABLE_COLUMNS, console.width if console.is_terminal else TABLE_COLUMNS))
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, expand=True, show_edge=False, pad_edge=False)
    cut: Mapping[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}
    table.add_column("id", no_wrap=True)
    table.add_column("since (UTC)", no_wrap=True)
    table.add_column("customer", max_width=CUSTOMER_COLUMNS, **cut)
    table.add_column("reason", max_width=REASON_COLUMNS, **cut)
    has_sources = any(letter.source for letter in letters)
    if has_sources:
        table.add_column("source", max_width=SOURCE_COLUMNS, **cut)
    table.add_column("tries", justify="right", no_wrap=True)
    table.add_column("message", ratio=1, **cut)
    for letter in letters:
        since = time_text(letter.dead_lettered_at_ms)[:16].replace("T", " ")
        cells = [letter.id, since, letter.customer or "-", letter.reason]
        cells += [letter.source or "-"] if has_sources else []
        cells += [str(letter.attempts), letter.message]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)


def _no_such(letter_id: str) -> str:
    return f"{printable(letter_id)}: no dead letter has this id"


def _open_letters(redis: Redis, place: RedisPlace) -> DeadLetters:
    return DeadLetters(redis, inbox=place.inbox_stream, prefix=place.key_prefix)
