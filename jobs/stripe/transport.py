"""Send the SDK's requests only to the configured address, and give it only complete answers of limited size.

This is all of our own code inside the SDK's client.
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
"""Ten times as much as a hundred of the largest objects."""

_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNREADABLE: Final = b""
_OTHER_PATH: Final = re.compile(r"\.{0,2}|search|.*/.*", re.DOTALL)
"""The ids that would lead to another URL, although an id is quoted."""


class AnswerTooLargeError(aiohttp.ClientError):
    """The answer has more bytes than Stripe ever sends."""


class CarefulClient(stripe.AIOHTTPClient):
    """The SDK's client on our session. It follows no redirect and limits the size of answers.

    A redirect would send the key to another address.
    """

    def __init__(self, session: aiohttp.ClientSession, *, timeout: aiohttp.ClientTimeout) -> None:
        """The caller closes the session."""
        super().__init__(session=session, timeout=timeout)
        self._ours = session

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Return the body, the status and the headers.

        Raises AnswerTooLargeError and aiohttp's errors while the body is read, and APIConnectionError before.
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

    The id may come from Autumn, which stores any text as a `stripe_id`. Raises Absent for an id that would lead to
    another URL: Stripe has no object with such an id.
    """
    if "{id}" in route and _OTHER_PATH.fullmatch(stripe_id):
        raise Absent("stripe", "resource_missing", f"{stripe_id!r} cannot be the id of a Stripe object.")
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
    """Return the body if the SDK can read it, else an empty one, for which the SDK raises an error by the status.

    A proxy before Stripe may answer with anything, and the SDK does not check the types of an error's fields. A code is
    logged and counted, so only a short word is accepted as one.
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
