"""Checks of Redis before a worker starts: refusals, risks, and waits."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from config.loading import load_settings
from config.settings import Settings
from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import cluster_node
from tests.support.processes import its_disk_fails, its_disk_works
from tests.support.tls import self_signed, tls_before
from worker.loops.watchdog import RedisUnfitError
from worker.redis_access import BEFORE, ONLY_LOGGED, QUEUED
from worker.startup import RedisAwayError, wait_for_redis

ROOT = Path(__file__).parents[2]
RULE = (ROOT / "deploy" / "redis.acl").read_text(encoding="utf-8").splitlines()[0].split()[2:]
PATTERNS = [word for word in RULE if word.startswith("~")]
WORD = "a-password"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis() as one:
        yield one


@pytest.fixture
async def admin(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as redis:
        yield redis


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def at(url: str) -> Settings:
    return load_settings(REDIS_URL=url, AUTUMN_SECRET_KEY="am_sk_test_x", STRIPE_API_KEY="sk_test_x")


async def refusal(url: str) -> str:
    """Return the reason why a worker cannot start with this URL; assert that it hides the password."""
    with pytest.raises(RedisUnfitError) as refused:
        await wait_for_redis(at(url))
    assert WORD not in str(refused.value)
    return str(refused.value)


async def user(admin: Redis, *more: str) -> str:
    """Create a user with the rule of deploy/redis.acl and `more`, and return its URL."""
    rule = [f">{WORD}" if word.startswith(">") else word for word in RULE]
    await admin.execute_command("ACL", "SETUSER", "app", "reset", *rule, *more)  # type: ignore[no-untyped-call]  # redis-py
    kwargs = admin.connection_pool.connection_kwargs
    return f"redis://app:{WORD}@127.0.0.1:{kwargs['port']}/0"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """Run a server that is not Redis and gives this answer to any request; yield its port."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as other:
        yield other.sockets[0].getsockname()[1]


def test_checked_permissions_are_those_of_the_rule() -> None:
    looked_at = {*BEFORE, *QUEUED, "multi", *(command.lower() for command in ONLY_LOGGED)}
    assert looked_at == {word[1:] for word in RULE if word.startswith("+")}


async def test_fit_redis_has_no_risk_and_is_left_unchanged(admin: Redis) -> None:
    assert await wait_for_redis(at(await user(admin))) == []
    assert await admin.dbsize() == 0


async def test_user_without_info_permission_is_a_risk(admin: Redis) -> None:
    (risk,) = await wait_for_redis(at(await user(admin, "-info", "-dbsize", "-config")))
    assert risk.startswith("the user of REDIS_URL may not call INFO (+info), so the version, the eviction policy")


@pytest.mark.parametrize(
    ("more", "lacking"),
    [
        (["-hset", "-xadd"], "+hset +xadd"),
        (["-ping"], "+ping"),
        (["-exec"], "+exec"),
        (["-multi"], "+multi"),
        (["-script"], "+script|load"),
        (["-info", "-zadd"], "+zadd"),
        (
            ["resetkeys", "~customer-sync:*", "~arq:*"],
            "~customer-sync-outcomes ~customer-updates ~customer-updates:reader",
        ),
        *((["resetkeys", *(each for each in PATTERNS if each != pattern)], pattern) for pattern in PATTERNS),
    ],
    ids=str,
)
async def test_missing_permissions_are_named_as_the_rule_to_add(admin: Redis, more: list[str], lacking: str) -> None:
    message = await refusal(await user(admin, *more))
    assert message.startswith(
        f"The user of REDIS_URL lacks rights: {lacking}. Add them with ACL SETUSER NAME {lacking}; "
    )
    assert await admin.dbsize() == 0


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (f"app:{WORD}@", "nobody:wrong@", "Redis refuses the user or the password (AuthenticationError)"),
        (f"app:{WORD}@", "app:wrong@", "Redis refuses the user or the password (AuthenticationError)"),
        (f"app:{WORD}@", ":wrong@", "Redis refuses the user or the password (AuthenticationError)"),
        ("/0", "/1", "Redis refuses a command (+select) to the user of REDIS_URL (NoPermissionError)"),
        (f"app:{WORD}@", "", "Redis has no database with this number"),
        (
            "redis://",
            "rediss://",
            "Redis does not use TLS at this port. Write redis:// instead of rediss:// in REDIS_URL",
        ),
    ],
    ids=["user", "password", "no user", "select", "database", "tls"],
)
async def test_unusable_url_is_refused_at_once(admin: Redis, before: str, after: str, says: str) -> None:
    url = (await user(admin)).replace(before, after)
    message = await refusal(url if after else url.replace("/0", "/99"))
    assert message.startswith(says)
    assert "REDIS_URL" in message


async def test_missing_password_is_refused(admin: Redis) -> None:
    url = (await user(admin)).replace(f"app:{WORD}@", "")
    await admin.acl_setuser("default", enabled=True, passwords=["+another-word"])
    try:
        assert (await refusal(url)).startswith("Redis refuses the user or the password (AuthenticationError)")
    finally:
        await admin.acl_setuser("default", enabled=True, nopass=True)


async def test_plain_url_for_a_tls_port_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    async with tls_before(server.port, self_signed(tmp_path, "redis", host="localhost")) as port:
        message = await refusal(f"redis://app:{WORD}@localhost:{port}/0")
        assert message == "Redis uses TLS at this port. Write rediss:// instead of redis:// in REDIS_URL"


async def test_untrusted_certificate_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    async with tls_before(server.port, self_signed(tmp_path, "redis", host="localhost")) as port:
        message = await refusal(f"rediss://localhost:{port}/0")
    assert message.startswith("The certificate of Redis is not trusted or has another name (CERTIFICATE_VERIFY_FAILED)")


@pytest.mark.parametrize(
    ("bundle", "says"),
    [
        (None, "A TLS file that REDIS_URL names cannot be read"),
        ("no certificate", "TLS with Redis fails (NO_CERTIFICATE_OR_CRL_FOUND)"),
    ],
)
async def test_certificates_deleted_after_settings_are_read_are_refused(
    server: EmbeddedRedis, tmp_path: Path, bundle: str | None, says: str
) -> None:
    made = self_signed(tmp_path, "redis", host="localhost")
    async with tls_before(server.port, made) as port:
        settings = at(f"rediss://localhost:{port}/0?ssl_ca_certs={made.file}")
        made.file.unlink()
        if bundle is not None:
            made.file.write_text(bundle, encoding="ascii")
        with pytest.raises(RedisUnfitError, match=f"^{re.escape(says)}"):
            await wait_for_redis(settings)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"], ids=["http", "ssh"])
async def test_server_that_is_not_redis_is_refused(answer: bytes) -> None:
    async with answering(answer) as port:
        message = await refusal(f"redis://127.0.0.1:{port}/0")
        assert (
            message
            == "The server at REDIS_URL is not a Redis (InvalidResponse). Correct the host and the port of REDIS_URL"
        )


@pytest.mark.parametrize("answer", [b"", b"-LOADING Redis is loading the dataset in memory\r\n"])
async def test_unreachable_or_loading_redis_is_waited_for(answer: bytes) -> None:
    async with answering(answer) as port:
        with pytest.raises(RedisAwayError, match="REDIS_URL"):
            await wait_for_redis(at(f"redis://127.0.0.1:{port}/0"), patience_seconds=0.3)


async def test_redis_whose_disk_fails_is_waited_for_by_name(tmp_path: Path) -> None:
    says = "Redis refuses writes: it cannot write to its disk (MISCONF)"
    with embedded_redis(directory=tmp_path) as server:
        async with Redis.from_url(server.url) as admin:
            await its_disk_fails(admin)
            with capture_logs() as lines, pytest.raises(RedisAwayError, match=f"^{re.escape(says)}"):
                await wait_for_redis(at(server.url), patience_seconds=0.3)
            assert [(line["event"], line["error"]) for line in lines] == [("redis_awaited", says)]
            await its_disk_works(admin)
            assert await wait_for_redis(at(server.url)) == []


async def test_key_of_wrong_type_is_named_while_the_disk_fails(tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        async with Redis.from_url(server.url) as admin:
            await admin.set("customer-updates", "a string")
            await its_disk_fails(admin)
            assert "customer-updates" in await refusal(server.url)
            await its_disk_works(admin)


async def test_redis_that_comes_back_is_accepted(tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        server.stop()
        with capture_logs() as lines:
            waiting = asyncio.create_task(wait_for_redis(at(server.url)))
            async with asyncio.timeout(60):
                while not lines:  # noqa: ASYNC110 - it is another task that logs
                    await asyncio.sleep(0.01)
            server.start()
            assert await waiting == []
        assert [(line["event"], line["fix"]) for line in lines] == [
            ("redis_awaited", "Check REDIS_URL, and check that Redis runs")
        ]


async def test_cluster_node_is_refused_without_info_permission(tmp_path: Path) -> None:
    with cluster_node(tmp_path) as node:
        assert "Redis is a cluster" in await refusal(node.url)
        async with Redis.from_url(node.url) as admin:
            assert "Redis is a cluster" in await refusal(await user(admin, "-info"))
