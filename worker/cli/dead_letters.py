"""The commands `customer-sync dead …`: look at what was given up, and send it again or drop it.

Says and asks, no more: what becomes of a letter is up to `jobs.queue.dead_letters`. What was sent may hold personal
data, so `show` alone prints it.
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
CUSTOMER_COLUMNS, REASON_COLUMNS = 16, 23
COLUMNS_NEEDED = 80
"""A narrower terminal wraps: an id that is cut is of no use."""

dead_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at what was given up, and send it again or drop it."
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="The ids of dead letters, as customer-sync dead list shows them."),
]
Reason = Annotated[str | None, typer.Option(metavar="REASON", help="Those of this reason, such as customer_not_found.")]
Customer = Annotated[str | None, typer.Option(metavar="CUSTOMER", help="Those of this customer.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can be asked.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@dataclass(frozen=True)
class _Selection:
    """The letters that a command is about: named by id, or else those that are wanted.

    `number` is how many they are, `until` the newest letter there was when they were counted.
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
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Show at most so many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first, without what was sent."""
    wanted = Wanted(reason, customer)

    async def read(redis: Redis, place: RedisPlace) -> tuple[list[DeadLetter], Counter[str], int]:
        shown: list[DeadLetter] = []
        totals: Counter[str] = Counter()
        door = _door(redis, place)
        async for page in door.pages(wanted, newest_first=True):
            shown += page[: limit - len(shown)]
            totals.update(letter.reason for letter in page)
        return shown, totals, await door.count_aside()

    shown, totals, aside = with_redis(read)
    if aside:
        warn(f"{aside:,} more are kept aside and not shown: customer-sync doctor says why")
    if as_json:
        for letter in shown:
            typer.echo(json.dumps(letter.summary()))
        return
    if shown:
        _print_table(shown)
    by_reason = ", ".join(f"{printable(name)} {number:,}" for name, number in totals.most_common())
    typer.echo(f"dead letters: {totals.total():,}" + (f" ({by_reason})" if by_reason else ""))


@dead_app.command(short_help="Show one with what was sent: personal data.")
def show(
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id of a dead letter, as customer-sync dead list shows it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show one dead letter with what was sent, which may hold personal data."""
    letter = with_redis(lambda redis, place: _door(redis, place).find(letter_id))
    if letter is None:
        fail(NOT_FOUND, _no_such(letter_id))
    if as_json:
        typer.echo(json.dumps(letter.as_json()))
        return
    for label, value in (
        ("id", letter.id),
        ("buried", time_text(letter.buried_at_ms)),
        ("customer", letter.customer),
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


@dead_app.command(short_help="Send dead letters again.")
def replay(
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, each as a new event; say where it will overwrite newer changes.

    Say which: ids, or --reason and/or --customer, or --all. It asks where that may be more than one.
    """
    selection = _select(ids, reason, customer, everything)
    if selection.number > 1 and not yes:
        confirm(f"Replay {selection}?")

    async def replay_page(door: DeadLetters, page: Sequence[str]) -> list[str]:
        replayed = await door.replay(page)
        for each in replayed:
            typer.echo(json.dumps(each.as_json()) if as_json else f"{each.id}: replayed as {each.event_id}")
            if each.outdated:
                warn(
                    f"{each.id}: customer {each.customer} has had newer changes since: "
                    "this older change will overwrite them"
                )
        return [each.id for each in replayed]

    _work_off(selection, replay_page, None if as_json else "replayed")


@dead_app.command(short_help="Delete dead letters for good.")
def drop(
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters for good: what they asked for will never be done.

    Say which: ids, or --reason and/or --customer, or --all. It always asks.
    """
    selection = _select(ids, reason, customer, everything)
    if selection.number > 0 and not yes:
        confirm(f"Drop {selection} for good?")

    async def drop_page(door: DeadLetters, page: Sequence[str]) -> list[str]:
        dropped = await door.drop(page)
        for letter_id in dropped:
            typer.echo(json.dumps({"id": letter_id}) if as_json else f"{letter_id}: dropped")
        return dropped

    _work_off(selection, drop_page, None if as_json else "dropped")


def _select(ids: Sequence[str] | None, reason: str | None, customer: str | None, everything: bool) -> _Selection:
    by_filter = reason is not None or customer is not None
    if [bool(ids), by_filter, everything].count(True) != 1:
        fail(EX_USAGE, "say which: either ids, or --reason and/or --customer, or --all")
    wanted = Wanted(reason, customer)
    if ids:
        # Each id once: the second of two would not be there any more.
        once = tuple(dict.fromkeys(ids))
        return _Selection(once, wanted, len(once))

    async def count(redis: Redis, place: RedisPlace) -> _Selection:
        door = _door(redis, place)
        until = await door.newest()
        return _Selection((), wanted, sum([len(page) async for page in door.pages(wanted, until=until)]), until)

    return with_redis(count)


def _work_off(
    selection: _Selection,
    act: Callable[[DeadLetters, Sequence[str]], Awaitable[list[str]]],
    done_word: str | None,
) -> None:
    """Act on the letters page by page; name the ids that are not there, and sum up unless `done_word` is None."""

    async def run(redis: Redis, place: RedisPlace) -> tuple[int, list[str]]:
        door = _door(redis, place)
        number, missing = 0, []
        async for page in _id_pages(door, selection):
            done = await act(door, page)
            number += len(done)
            missing += sorted(set(page).difference(done), key=page.index) if selection.ids else []
        return number, missing

    number, missing = with_redis(run)
    if done_word is not None:
        typer.echo(f"{done_word}: {number:,}")
    if missing:
        fail(NOT_FOUND, "\n".join(map(_no_such, missing)))


async def _id_pages(door: DeadLetters, selection: _Selection) -> AsyncIterator[Sequence[str]]:
    if selection.ids:
        for first in range(0, len(selection.ids), PAGE):
            yield selection.ids[first : first + PAGE]
        return
    async for page in door.pages(selection.wanted, until=selection.until):
        yield [letter.id for letter in page]


def _print_table(letters: Sequence[DeadLetter]) -> None:
    console = Console(highlight=False)
    console.width = max(COLUMNS_NEEDED, min(TABLE_COLUMNS, console.width if console.is_terminal else TABLE_COLUMNS))
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, expand=True, show_edge=False, pad_edge=False)
    cut: Mapping[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}
    table.add_column("id", no_wrap=True)
    table.add_column("buried (UTC)", no_wrap=True)
    table.add_column("customer", max_width=CUSTOMER_COLUMNS, **cut)
    table.add_column("reason", max_width=REASON_COLUMNS, **cut)
    table.add_column("tries", justify="right", no_wrap=True)
    table.add_column("message", ratio=1, **cut)
    for letter in letters:
        buried = time_text(letter.buried_at_ms)[:16].replace("T", " ")
        cells = [letter.id, buried, letter.customer or "-", letter.reason, str(letter.attempts), letter.message]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)


def _no_such(letter_id: str) -> str:
    return f"{printable(letter_id)}: no such dead letter"


def _door(redis: Redis, place: RedisPlace) -> DeadLetters:
    return DeadLetters(redis, inbox=place.inbox_stream, prefix=place.key_prefix)
