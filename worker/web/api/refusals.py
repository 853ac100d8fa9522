"""The answers to apps that send events: JSON, also for every refusal."""

import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import JsonValue


class RefusalError(Exception):
    """A request that is answered with an error. `more` are further fields of the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: JsonValue,
    ) -> None:
        """Make the answer."""
        super().__init__(message)
        self._status = status
        self._answer = {"error": code, "message": message, **more}
        self._headers = headers

    def response(self) -> web.Response:
        """Return the answer."""
        return json_answer(self._answer, self._status, self._headers)


def rate_limited(text: str, wait_seconds: float) -> RefusalError:
    """Return the refusal of a request that may be sent again after these seconds."""
    return RefusalError(429, "rate_limited", text, headers=_retry_after(wait_seconds))


def unavailable(text: str, wait_seconds: float) -> RefusalError:
    """Return the refusal of a request that cannot be served before these seconds."""
    return RefusalError(503, "redis_unavailable", text, headers=_retry_after(wait_seconds))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def json_answer(answer: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer that no cache stores. It ends with a line break, for people in a terminal."""
    return web.Response(
        body=json.dumps(answer).encode() + b"\n",
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
