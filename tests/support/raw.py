"""Raw bytes for the worker's port, because no HTTP client would send most of them."""

import asyncio
import zlib
from contextlib import suppress

ANSWER_SECONDS = 15.0
MEBIBYTE = 1 << 20


def port_of(url: str) -> int:
    """Return the port of `http://127.0.0.1:PORT`."""
    return int(url.rpartition(":")[2])


async def exchange(port: int, *parts: bytes, half_close: bool = False, seconds: float = ANSWER_SECONDS) -> bytes:
    """Send the parts one after the other, and return the answer until the connection ends.

    If the worker closes the connection early, or after `seconds`, the answer is what arrived so far.
    """
    answer = bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    receiving = asyncio.create_task(_receive(reader, answer))
    try:
        with suppress(OSError):
            async with asyncio.timeout(seconds):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                if half_close and writer.can_write_eof():
                    writer.write_eof()
                await receiving
    finally:
        receiving.cancel()
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()
    return bytes(answer)


async def _receive(reader: asyncio.StreamReader, answer: bytearray) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            answer += chunk


def status_of(answer: bytes) -> int:
    """The status code of an HTTP answer; 0 if there is none."""
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def gzip_bomb(unpacked_mebibytes: int) -> bytes:
    """A gzip stream of zeros, a thousandth of its unpacked size. It has no end, and no test needs one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * unpacked_mebibytes


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A POST of a form. A header `Content_Encoding` is sent as `Content-Encoding`."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/x-www-form-urlencoded"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
