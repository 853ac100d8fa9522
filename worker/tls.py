"""TLS to Redis: always verified, by the system's authorities and the host's name, or by a certificate that is known.

redis-py compares no name unless it is told to, and its own switches to verify less are refused with the settings.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final

from redis.asyncio.connection import SSLConnection

PROBE_SECONDS: Final = 5.0


class VerifiedSSLConnection(SSLConnection):
    """A connection by TLS whose other end has shown who it is."""

    def __init__(self, *, certificate: str | None = None, **options: Any) -> None:
        """`certificate` in PEM is the only one that is trusted; None trusts the authorities, and compares the name."""
        super().__init__(ssl_check_hostname=True, **options)
        if certificate is not None:
            self.ssl_context.context = _trusting_only(certificate)


def _trusting_only(certificate: str) -> ssl.SSLContext:
    """Trusts whoever holds the key of this certificate, or one that this certificate signed, whatever its name.

    Self-signed certificates of hosted Redis seldom name the host; to hold the key of a known one says more than a name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # Without it only a certificate that signed itself may be the end of the chain.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


async def answers_by_tls(host: str, port: int) -> bool:
    """Whether something speaks TLS there, whether it is trusted or not. Nothing is sent to it."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def answers_without_tls(host: str, port: int) -> bool:
    """Whether a Redis answers a PING there without TLS, be it by a refusal. No user and no password is sent."""
    answer = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                answer = await reader.read(1)
            finally:
                writer.transport.abort()
    return answer in {b"+", b"-"}


def is_untrusted(error: BaseException) -> bool:
    """Whether a connection failed because the other end's certificate is not trusted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
