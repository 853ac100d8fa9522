"""The baseline of a scan: the same clients list both sides to their ends at the same time, without processing.

`python -m tests.benchmarks.scan_bare AUTUMN_URL STRIPE_URL` prints how many customers it read.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from jobs.autumn.client import AutumnClient, open_autumn
from jobs.stripe.client import StripeGateway, open_stripe


@asynccontextmanager
async def at_once(_: str) -> AsyncIterator[None]:
    """A throttle that never waits."""
    yield


async def list_autumn(autumn: AutumnClient) -> int:
    cursor: str | None = ""
    count = 0
    while cursor is not None:
        page = await autumn.list_page(cursor)
        count, cursor = count + len(page.list), page.next_cursor
    return count


async def list_stripe(stripe: StripeGateway) -> int:
    cursor: str | None = ""
    count = 0
    while cursor is not None:
        customers, cursor = await stripe.customer_page(cursor)
        count += len(customers)
    return count


async def main(autumn_url: str, stripe_url: str) -> None:
    async with (
        open_autumn(base_url=autumn_url, secret_key="am_sk_test_bench") as autumn,
        open_stripe(api_key="sk_test_bench", base_url=stripe_url, throttle=at_once) as stripe,
    ):
        print(await asyncio.gather(list_autumn(autumn), list_stripe(stripe)))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
