"""`customer-sync status --watch`: the picture in place, read anew again and again, whatever Redis does in between.

Draws and waits, no more: what is drawn comes from worker.picture_view.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from redis.exceptions import RedisError
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from worker.picture import Picture
from worker.picture_view import picture_lines

EVERY_SECONDS: Final = 2.0
HOW: Final = Text(f"renewed every {EVERY_SECONDS:.0f} seconds; Ctrl-C ends it", style="dim")


async def watch(console: Console, first: Picture, read: Callable[[], Awaitable[Picture]]) -> None:
    """Draw the picture until cancelled. `read` raises RedisError, TimeoutError or OSError where Redis is away."""
    newest, is_old = first, False
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            lines = picture_lines(newest, is_old=is_old, is_plain=console.options.ascii_only)
            live.update(Group(HOW, *lines), refresh=True)
            await asyncio.sleep(EVERY_SECONDS)
            try:
                newest, is_old = await read(), False
            except (RedisError, TimeoutError, OSError):
                is_old = True
