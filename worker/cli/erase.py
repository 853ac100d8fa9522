"""The command `customer-sync forget`: erase what Redis keeps about a person, and say where else to look."""

from typing import Annotated

import typer
from redis.asyncio import Redis

from config.settings import RedisPlace
from jobs.queue.erase import Forgotten, StillWaitingError
from jobs.queue.erase import forget as forget_customer
from jobs.queue.status import read_standing
from worker.cli.console import confirm, fail, say, with_redis
from worker.formatting import printable

EX_TEMPFAIL = 75
NOTHING = Forgotten(dead_letters=0, outcomes=0, event_ids=0)
ELSEWHERE = (
    "what remains elsewhere, and is not this command's to erase:",
    "  Autumn: the customer itself; customers.delete, with delete_in_stripe, erases it in both services",
    "  Stripe: the customer, its metadata autumn_id, its payments, and the log of requests",
    "  Redis: its append-only file until the next BGREWRITEAOF, replicas' files and backups; what apps sent by arq",
    "    and no worker has taken yet",
    "  scans: reports that were written to files; until the next run, the spool of one that was cut short, and",
    "    digests of what the last one found, without names or addresses",
    "  logs: lines with the customer's id; they hold no name, address or payload",
)


def forget(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in Autumn.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can be asked.")] = False,
) -> None:
    """Remove everything that is kept here about a customer; say what remains where. Changes nothing in the services."""
    shown = printable(customer_id)
    if not yes:
        confirm(f"Forget everything that is kept here about {shown}, its dead letters included?")

    async def act(redis: Redis, place: RedisPlace) -> tuple[bool, Forgotten]:
        standing = await read_standing(redis, place.key_prefix, customer_id)
        forgotten = await forget_customer(
            redis, inbox=place.inbox_stream, prefix=place.key_prefix, customer_id=customer_id
        )
        return standing.is_known, forgotten

    try:
        was_known, forgotten = with_redis(act)
    except StillWaitingError:
        fail(
            EX_TEMPFAIL,
            f"changes of {shown} wait or are being applied: nothing was removed. "
            "Stop what sends them, let them end (customer-sync status), and say it again",
        )
    say(_told(shown, forgotten, was_known=was_known))


def _told(customer: str, forgotten: Forgotten, *, was_known: bool) -> list[str]:
    if not was_known and forgotten == NOTHING:
        return [f"{customer}: nothing was kept here about it; is this its id in Autumn?", *ELSEWHERE]
    counted = f"{forgotten.dead_letters} dead letters, {forgotten.outcomes} outcomes, {forgotten.event_ids} event ids"
    return [f"{customer}: removed its record, what was said of it lately, {counted}", *ELSEWHERE]
