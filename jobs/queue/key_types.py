"""Handling of answers of Redis about a key that holds the wrong type of value."""

from collections.abc import Awaitable
from typing import Any

from redis.exceptions import RedisError, ResponseError


def is_wrong_type(answer: object) -> bool:
    """Whether the answer of a command is the error that its key has the wrong type."""
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


def or_none(answer: Any) -> Any:
    """Return an answer of a pipeline that ran with `raise_on_error=False`; None if the key has the wrong type.

    Raises RedisError if the answer is any other error.
    """
    if is_wrong_type(answer):
        return None
    if isinstance(answer, RedisError):
        raise answer
    return answer


async def answer_or_none(answer: Awaitable[Any]) -> Any:
    """Return the answer of a command; None if the key has the wrong type. Raises RedisError for any other error."""
    try:
        return await answer
    except ResponseError as error:
        return or_none(error)
