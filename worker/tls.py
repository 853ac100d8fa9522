"""TLS to Redis, always verified: by the system's authorities and the host name, or by a known certificate.

redis-py does not check the host name by default. The settings refuse its options that turn verification off.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final

from redis.asyncio.connection import SSLConnection

PROBE_SECONDS: Final = 5.0


class VerifiedSSLConnection(SSLConnection):
    """A TLS connection that verifies the server."""

    def __init__(self, *, certificate: str | None = None, **options: Any) -> None:
        """Trust only `certificate`, in PEM. With None, trust the authorities and check the host name."""
        super().__init__(ssl_check_hostname=True, **options)
        if certificate is not None:
            self.ssl_context.context = _trusting_only(certificate)


def _trusting_only(certificate: str) -> ssl.SSLContext:
    """Return a context that trusts only this certificate, and those that it signed, with any name.

    The name is not checked, because self-signed certificates of hosted Redis seldom contain the host. The server proves
    that it has the key of the certificate, which is stronger than a name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # Without this flag, only a self-signed certificate may end the chain.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


async def answers_by_tls(host: str, port: int) -> bool:
    """Return whether the server uses TLS, trusted or not. No data is sent to it."""
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
    """Return whether a Redis answers a PING without TLS, even with an error. No user or password is sent."""
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
    """Return whether a connection failed because the server's certificate is not trusted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
