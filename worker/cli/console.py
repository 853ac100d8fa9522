"""Helpers for all commands: a connection to Redis, a question to confirm, and errors with an exit code.

Code that only one command needs does not belong here.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn, TypeVar

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.loading import SettingsError, load_place
from config.settings import RedisPlace
from worker.formatting import printable
from worker.redis_client import open_briefly
from worker.redis_errors import trouble_with

EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_CONFIG = 64, 69, 74, 78
NOT_FOUND = 1
Answer = TypeVar("Answer")


def with_redis(act: Callable[[Redis, RedisPlace], Awaitable[Answer]]) -> Answer:
    """Call `act` with the Redis of the settings, and return its result.

    Raises: typer.Exit, after an error text on standard error. Its code is EX_CONFIG if a setting is wrong or the Redis
    user lacks a right. It is EX_UNAVAILABLE if Redis refuses for another reason or does not answer.
    """

    async def run() -> Answer:
        place = load_place()
        async with open_briefly(place.redis_url.get_secret_value(), place.redis_certificate) as redis:
            try:
                return await act(redis, place)
            except RedisError as error:
                trouble = await trouble_with(redis, error)
        fail(EX_CONFIG if trouble.is_setting else EX_UNAVAILABLE, str(trouble))

    try:
        return asyncio.run(run())
    except SettingsError as error:
        fail(EX_CONFIG, str(error))


def confirm(question: str) -> None:
    """Ask a question, and return if the answer is yes. Raises: typer.Exit if it is not, or without a terminal."""
    if not sys.stdin.isatty():
        fail(EX_USAGE, f"{question} Not a terminal: pass --yes to confirm.")
    # On standard error, so that standard output contains only the result.
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail(NOT_FOUND, "Not confirmed: nothing was done.")


def fail(code: int, text: str) -> NoReturn:
    """Write an error text to standard error, and exit with this code. Raises: typer.Exit."""
    warn(text)
    raise typer.Exit(code)


def say(lines: Iterable[str]) -> None:
    """Write lines to standard output, without characters that control a terminal."""
    for line in lines:
        typer.echo(printable(line))


def warn(text: str) -> None:
    """Write a text to standard error."""
    sys.stderr.write(text + "\n")
