"""How the SDK's requests go out, to the address that was set and no other, and what it gets to read: bounded and whole.

Below `jobs.stripe.client`, and all that is ours of the SDK's client.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import stripe

from jobs.errors import Absent

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A hundred of the largest objects are less than a tenth of it."""

_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNREADABLE: Final = b""
_OTHER_PATH: Final = re.compile(r"\.{0,2}|search|.*/.*", re.DOTALL)
"""What would lead to another URL in the place of an id, although it is quoted."""


class AnswerTooLargeError(aiohttp.ClientError):
    """The answer has more bytes than Stripe ever sends."""


class CarefulClient(stripe.AIOHTTPClient):
    """The SDK's client over a session of ours: it follows no redirect and reads no answer without end.

    A redirect would take the key along.
    """

    def __init__(self, session: aiohttp.ClientSession, *, timeout: aiohttp.ClientTimeout) -> None:
        """The session is closed by whoever opened it."""
        super().__init__(session=session, timeout=timeout)
        self._ours = session

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, the status and the headers.

        Raises AnswerTooLargeError, aiohttp's own errors while the body is read, and APIConnectionError before.
        """
        args, options = self._get_request_args_kwargs(method, url, headers, post_data)
        try:
            response = await self._ours.request(*args, allow_redirects=False, **options)
        except Exception as error:
            self._handle_request_error(error)
        async with response:
            body = await _bounded(response)
            return _readable(response.status, body), response.status, response.headers


def path_of(route: str, stripe_id: str) -> str:
    """Return the path of a route with the id in the place of `{id}`.

    The id may come from Autumn, which stores any text as a `stripe_id`. Raises Absent for one that would lead to
    another URL: Stripe has no object with such an id.
    """
    if "{id}" in route and _OTHER_PATH.fullmatch(stripe_id):
        raise Absent("stripe", "resource_missing", f"{stripe_id!r} is not the id of an object of Stripe.")
    return route.replace("{id}", quote(stripe_id, safe=""))


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            response.close()
            raise AnswerTooLargeError(f"more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _readable(status: int, body: bytes) -> bytes:
    """The body, if the SDK can read it, else none: then it raises an error by the status, as it should.

    Whoever stands before Stripe may answer with anything, and the SDK takes the parts of an error for what they are
    called. A code is counted and logged, so that only a short word is one.
    """
    try:
        text = body.decode()
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return body
        error = json.loads(text)["error"]
        known = {name: value for name, value in error.items() if isinstance(value, str)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _UNREADABLE
    if not _CODE.fullmatch(known.get("code", "")):
        known.pop("code", None)
    return json.dumps({"error": known}).encode()
