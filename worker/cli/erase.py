"""The command `customer-sync forget`: erase a customer's data from Redis, and list where other data remains."""

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
    "Data that remains elsewhere, which this command does not erase:",
    "  Autumn: the customer; customers.delete with delete_in_stripe erases it in both services",
    "  Stripe: the customer, its metadata autumn_id, its payments, and the request log",
    "  Redis: the append-only file until the next BGREWRITEAOF, the files of replicas, and backups;",
    "    events sent through arq that no worker has taken yet",
    "  scans: report files; until the next scan, the spool of an interrupted scan, and digests of the last findings,",
    "    which contain no names or addresses",
    "  logs: lines with the customer's id; they contain no name, address or payload",
)


def forget(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in Autumn.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation. Required without a terminal.")
    ] = False,
) -> None:
    """Erase all data about a customer from Redis, and list where other data remains. Autumn and Stripe stay as is."""
    shown = printable(customer_id)
    if not yes:
        confirm(f"Erase all data about {shown} from Redis, including its dead letters?")

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
            f"Events of {shown} wait or are being applied, so nothing was erased. "
            "Stop the app that sends them, wait until they are done (customer-sync status), and run this again.",
        )
    say(_result_lines(shown, forgotten, was_known=was_known))


def _result_lines(customer: str, forgotten: Forgotten, *, was_known: bool) -> list[str]:
    if not was_known and forgotten == NOTHING:
        return [f"{customer}: Redis has no data about it. Check that this is its id in Autumn.", *ELSEWHERE]
    counted = f"{forgotten.dead_letters} dead letters, {forgotten.outcomes} outcomes, {forgotten.event_ids} event ids"
    return [f"{customer}: erased its customer record, its latest values, {counted}", *ELSEWHERE]
