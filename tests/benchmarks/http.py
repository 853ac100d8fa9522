"""The part of HTTP/1.1 that a benchmark's clients need: keep-alive, Content-Length, one request at a time.

A server framework would be the largest part of the measured time.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"

Answer = tuple[int, bytes, float]
"""Status, JSON body, and the seconds until it is sent."""
Handler = Callable[[str, str, bytes], Answer]
"""A function from method, path and body to an answer."""


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, handle: Handler, opened: Callable[[], None]) -> None:
        """`opened` is called when the connection is open."""
        self._handle = handle
        self._opened = opened
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the transport, so later answers are dropped."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is complete."""
        self._received += data
        head_end = self._received.find(HEAD_END)
        if head_end < 0:
            return
        head = bytes(self._received[:head_end])
        body_start = head_end + len(HEAD_END)
        end = body_start + _length(head)
        if len(self._received) < end:
            return
        body = bytes(self._received[body_start:end])
        del self._received[:end]
        method, path, _ = head.split(b" ", 2)
        status, content, delay_seconds = self._handle(method.decode(), path.decode(), body)
        answer = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        whole = answer % (status, len(content), content)
        if delay_seconds:
            asyncio.get_running_loop().call_later(delay_seconds, self._send, whole)
        else:
            self._send(whole)

    def _send(self, whole: bytes) -> None:
        if self._transport is not None:
            self._transport.write(whole)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(LENGTH)
    if at < 0:
        return 0
    end = lower.find(b"\r\n", at)
    return int(lower[at + len(LENGTH) : end if end >= 0 else None])
