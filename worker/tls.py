"""TLS to Redis: always verified, by the system's authorities and the host's name, or by a certificate that is known.

redis-py compares no name unless it is told to, and its own switches to verify less are refused with the settings.
"""

import ssl
from typing import Any

from redis.asyncio.connection import SSLConnection


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


def is_untrusted(error: BaseException) -> bool:
    """Whether a connection failed because the other end's certificate is not trusted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
