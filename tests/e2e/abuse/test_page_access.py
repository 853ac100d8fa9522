"""Without a password, only the URL from the log opens the page, although anyone can reach the port."""

import asyncio
import json

from aiohttp import ClientSession, CookieJar

from tests.support.browser import Browser
from tests.support.busy import attacked_box
from tests.support.processes import free_port, wait_until, worker
from tests.support.raw import exchange, port_of, status_of
from tests.support.watching import Watched, watched

CLOSE = "\r\nConnection: close\r\n\r\n"
REQUESTS = {
    "a browser, or a proxy that says nothing of itself": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a loopback name with a port": "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    "an old proxy": "GET / HTTP/1.0\r\n\r\n",
    "an absolute target": "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an absolute target of elsewhere": "GET http://example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "a wrong token": "GET /?token=wrong HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a cookie of its own": "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: customer-sync-session=W10.x\r\n\r\n",
}


async def address_of(one: Watched) -> str:
    """Return the URL that the worker logged."""
    await one.running.says("page_token_issued")
    (line,) = [line for line in one.running.log if "page_token_issued" in line]
    return str(json.loads(line)["url"])


async def answer_to(one: Watched, request: str) -> bytes:
    """Return the answer to a request. Repeat it if there is none or a 503, because the machine may be busy."""
    answer = b""

    async def is_answered() -> bool:
        nonlocal answer
        answer = await exchange(port_of(one.url), request.encode())
        return status_of(answer) not in {0, 503}

    await wait_until(is_answered, what="an answer")
    return answer


async def test_only_the_logged_url_opens_the_page_without_password() -> None:
    async with attacked_box() as box, watched(box.environment) as one:
        answers = await asyncio.gather(*(answer_to(one, text.replace("\r\n\r\n", CLOSE)) for text in REQUESTS.values()))
        assert {
            name: status_of(answer) for name, answer in zip(REQUESTS, answers, strict=True) if b"all right" in answer
        } == {}
        assert {status_of(answer) for answer in answers} <= {400, 403, 505}
        url = await address_of(one)
        assert port_of(url.partition("/?")[0]) == port_of(one.url)
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
            for address in (url, one.url.replace("127.0.0.1", "localhost")):
                assert "Everything is all right." in (await Browser(http, address).get())[1]


async def test_each_start_has_its_own_token() -> None:
    async with attacked_box() as box:
        async with watched(box.environment) as one:
            first = await address_of(one)
        async with watched(box.environment) as other:
            assert first.partition("token=")[2] != (await address_of(other)).partition("token=")[2]


async def test_address_is_logged_at_every_log_level() -> None:
    async with attacked_box() as box:
        port = free_port()
        async with worker({**box.environment, "LOG_LEVEL": "ERROR", "PORT": str(port)}, ready="page_token_issued"):
            pass
