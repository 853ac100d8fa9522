"""Serve a simulator on a port of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - a container's port is published from there


@asynccontextmanager
async def serving(app: web.Application, *, port: int = 0, on_all_interfaces: bool = False) -> AsyncIterator[str]:
    """Serve `app` on 127.0.0.1 and yield its base URL; port 0 takes a free one.

    With `on_all_interfaces`, other machines reach it too. The URL stays that of this machine.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, _ALL_INTERFACES if on_all_interfaces else "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
