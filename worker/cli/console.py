"""What every command needs: a Redis for as long as it runs, and a way to end with a sentence.

No command belongs in here, and nothing that only one of them needs.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn, TypeVar

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import RedisPlace, SettingsError, load_place
from worker.formatting import printable
from worker.redis_client import open_briefly
from worker.redis_errors import trouble_with

EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_CONFIG = 64, 69, 74, 78
NOT_FOUND = 1
Answer = TypeVar("Answer")


def with_redis(act: Callable[[Redis, RedisPlace], Awaitable[Answer]]) -> Answer:
    """What `act` answers, given the Redis of the settings.

    Raises: typer.Exit, after a sentence on standard error. Its code is EX_CONFIG if a setting is wrong or the user of
    Redis lacks a right, and EX_UNAVAILABLE if Redis refuses for another reason or does not answer.
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
    """Ask, and go on where the answer is yes. Raises: typer.Exit, where it is not or where nobody can be asked."""
    if not sys.stdin.isatty():
        fail(EX_USAGE, f"{question} Nobody can be asked here: say --yes")
    # On standard error, so that what is written to standard output stays what was asked for.
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail(NOT_FOUND, "nothing was done")


def fail(code: int, text: str) -> NoReturn:
    """End with a sentence on standard error and this exit code. Raises: typer.Exit."""
    warn(text)
    raise typer.Exit(code)


def say(lines: Iterable[str]) -> None:
    """Write lines to standard output, without what could steer a terminal."""
    for line in lines:
        typer.echo(printable(line))


def warn(text: str) -> None:
    """Say a sentence on standard error."""
    sys.stderr.write(text + "\n")
