"""Redis over TLS: the worker and the command line trust only the expected certificates."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.support.processes import command_of, ended, worker
from tests.support.tls import Certificate, self_signed, signed_by, tls_before


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def address(running: AsyncExitStack, box: Sandbox, certificate: Certificate) -> str:
    """Serve Redis over TLS with this certificate; return its URL on localhost."""
    return f"rediss://localhost:{await running.enter_async_context(tls_before(box.redis.port, certificate))}/0"


async def command(box: Sandbox, *words: str, **environment: str) -> tuple[int, str]:
    """Run a `customer-sync` command; return its exit code and all its output."""
    return await ended({**box.environment, **environment}, "customer-sync", *words)


async def sync_through(box: Sandbox, **environment: str) -> None:
    """Send a change and wait until it is applied, over the Redis of this environment."""
    async with worker({**box.environment, **environment}):
        code, output = await command(box, "send", "ann", '{"name": "Ann"}', "--wait", "100", **environment)
    assert code == 0
    assert "status: applied" in output


async def refused(box: Sandbox, **environment: str) -> None:
    """Assert that the command line and a worker refuse the Redis of this environment, and that the worker exits."""
    code, output = await command(box, "doctor", **environment)
    assert code == 1
    assert "The certificate of Redis is not trusted or has another name" in output
    code, output = await command(box, "send", "ann", '{"name": "Ann"}', **environment)
    assert code == 78
    code, output = await ended({**box.environment, **environment}, *command_of("worker"))
    assert code == 78
    assert "CERTIFICATE_VERIFY_FAILED" in output
    assert "Traceback" not in output


async def test_authority_named_in_the_url_is_trusted(box: Sandbox, running: AsyncExitStack, tmp_path: Path) -> None:
    authority = self_signed(tmp_path, "authority", host="authority")
    url = await address(running, box, signed_by(authority, tmp_path, "server", host="localhost"))
    await sync_through(box, REDIS_URL=f"{url}?ssl_ca_certs={authority.file}")


async def test_unknown_authority_is_refused(box: Sandbox, running: AsyncExitStack, tmp_path: Path) -> None:
    url = await address(running, box, self_signed(tmp_path, "server", host="localhost"))
    await refused(box, REDIS_URL=url)


async def test_trusted_certificate_of_another_host_is_refused(
    box: Sandbox, running: AsyncExitStack, tmp_path: Path
) -> None:
    authority = self_signed(tmp_path, "authority", host="authority")
    url = await address(running, box, signed_by(authority, tmp_path, "server", host="elsewhere"))
    await refused(box, REDIS_URL=f"{url}?ssl_ca_certs={authority.file}")


async def test_known_certificate_is_trusted_under_any_name(
    box: Sandbox, running: AsyncExitStack, tmp_path: Path
) -> None:
    known = self_signed(tmp_path, "server", host="elsewhere")
    await sync_through(box, REDIS_URL=await address(running, box, known), REDIS_CERTIFICATE=known.pem)


async def test_known_certificate_that_an_unknown_authority_signed_is_trusted(
    box: Sandbox, running: AsyncExitStack, tmp_path: Path
) -> None:
    authority = self_signed(tmp_path, "authority", host="authority")
    known = signed_by(authority, tmp_path, "server", host="elsewhere")
    url = await address(running, box, known)
    assert (await command(box, "status", REDIS_URL=url, REDIS_CERTIFICATE=known.pem))[0] == 0


async def test_server_without_the_known_certificates_key_is_refused(
    box: Sandbox, running: AsyncExitStack, tmp_path: Path
) -> None:
    known = self_signed(tmp_path, "known", host="localhost")
    other = self_signed(tmp_path, "other", host="localhost")
    await refused(box, REDIS_URL=await address(running, box, other), REDIS_CERTIFICATE=known.pem)
