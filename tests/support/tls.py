"""Redis over TLS for tests: certificates made by openssl, and a TLS proxy in front of a Redis without TLS.

The redis-server of the wheel is built without TLS. For its clients, this proxy's TLS looks the same.
"""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    file: Path
    key: Path

    @property
    def pem(self) -> str:
        """The certificate's text."""
        return self.file.read_text(encoding="ascii")


def self_signed(folder: Path, name: str, *, host: str) -> Certificate:
    """Return a self-signed certificate for a host. It may sign others."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    # Python 3.13 and later trust an authority only if the certificate names the use of its key.
    names += ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *_files(made))
    return made


def signed_by(authority: Certificate, folder: Path, name: str, *, host: str) -> Certificate:
    """Return a certificate for a host, signed by an authority."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, extension = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions = [f"subjectAltName=DNS:{host}", "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]
    extension.write_text("\n".join(extensions) + "\n", encoding="ascii")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}", "-keyout", made.key, "-out", request)
    authority_files: list[str | Path] = ["-CA", authority.file, "-CAkey", authority.key, "-CAcreateserial"]
    _openssl("x509", "-req", "-days", "2", "-in", request, *authority_files, "-extfile", extension, "-out", made.file)
    return made


def _files(made: Certificate) -> list[str | Path]:
    return ["-keyout", made.key, "-out", made.file]


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)  # noqa: S607 - whichever is installed


@asynccontextmanager
async def tls_before(port: int, certificate: Certificate) -> AsyncIterator[int]:
    """Terminate TLS on a port of the loopback interface and forward to `port`. Yield the new port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        finally:
            writer.transport.abort()
            inner_writer.transport.abort()
            open_now.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
