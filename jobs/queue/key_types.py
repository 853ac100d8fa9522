"""Answers of Redis about a key that holds another type of value than this software gives it."""

from collections.abc import Awaitable
from typing import Any

from redis.exceptions import RedisError, ResponseError


def is_wrong_type(answer: object) -> bool:
    """Whether the answer of a command is that its key has another type."""
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


def or_none(answer: Any) -> Any:
    """Return an answer of a pipeline that raised nothing; None for a key of the wrong type.

    Raises RedisError for any other error: the answer itself.
    """
    if is_wrong_type(answer):
        return None
    if isinstance(answer, RedisError):
        raise answer
    return answer


async def answer_or_none(answer: Awaitable[Any]) -> Any:
    """Return the answer of a command; None for a key of the wrong type. Raises RedisError for any other error."""
    try:
        return await answer
    except ResponseError as error:
        return or_none(error)
