"""The operator's page of a real worker."""

from redis.asyncio import Redis

from sandbox.everything import sandbox
from tests.conftest import PREFIX
from tests.support.operator import PASSWORD
from tests.support.processes import its_disk_fails, its_disk_works, wait_until
from tests.support.watching import watched


async def test_worker_with_port_and_password_serves_page_and_history() -> None:
    async with sandbox() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with watched({**box.environment, "OPERATOR_PASSWORD": PASSWORD}) as one:
            status, text = await one.answer("/")
            assert (status, "The operator&#39;s password" in text or "The operator's password" in text) == (200, True)

            async def is_noted() -> bool:
                return bool([key async for key in redis.scan_iter(f"{PREFIX}:history:*")])

            await wait_until(is_noted, what="the first minute")
        assert PASSWORD not in "".join(one.running.log)


async def test_sign_in_names_why_redis_takes_no_writes() -> None:
    async with (
        sandbox() as box,
        Redis.from_url(box.environment["REDIS_URL"]) as redis,
        watched({**box.environment, "OPERATOR_PASSWORD": PASSWORD}) as one,
    ):
        await its_disk_fails(redis)
        status, text = await one.answer("/")
        assert (status, "Redis refuses writes: it cannot write to its disk (MISCONF)" in text) == (503, True)
        assert "does not answer" not in text
        await its_disk_works(redis)
        assert (await one.answer("/"))[0] == 200
