"""A client of the operator's page over HTTP: it keeps cookies and sends forms, as a browser does."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientResponse, ClientSession, CookieJar

from tests.conftest import World
from tests.support.operator import PASSWORD, page_with_token
from worker.web.access import ANSWER_SECONDS

PATIENCE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.1


@dataclass
class Browser:
    """A person's browser, with its cookies."""

    http: ClientSession
    url: str
    access_token: str = ""

    async def get(self, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        answer = await self._read(self.url, headers)
        return answer.status, await answer.text(), answer.headers

    async def open_with_token(self) -> int:
        """Open the address that the worker logs if there is no password."""
        answer = await self._read(f"{self.url}/?token={self.access_token}")
        assert ("token=" in str(answer.url)) is (answer.status == 403)
        return answer.status

    async def token(self) -> str:
        _, text, _ = await self.get()
        found = re.search(r'name="token" value="([\w-]+)"', text)
        assert found is not None
        return found.group(1)

    async def post(self, path: str, fields: Any, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        async with self.http.post(self.url + path, data=fields, headers=headers) as answer:
            status, text = answer.status, await answer.text()
        if status == 503 and answer.history:
            # The form was answered with a redirect, and only the page behind it was late.
            status, text, _ = await self.get(headers)
        return status, text

    async def send(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send one of the page's own forms."""
        return await self.post(path, {"token": await self.token(), **fields})

    async def sign_in(self, password: str = PASSWORD) -> tuple[int, str]:
        """Sign in. Repeat it while Redis is late, but not a wrong password, because the test counts those."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, text = await self.send("/sign-in", password=password)
            if status != 503 or password != PASSWORD or time.monotonic() > deadline:
                return status, text

    async def _read(self, url: str, headers: Mapping[str, str] | None = None) -> ClientResponse:
        """Return the answer. Repeat the request while its answer is a 503, because a busy machine delays Redis."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self.http.get(url, headers=headers) as answer:
                await answer.read()
            if answer.status != 503 or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def browsing(
    world: World, password: str | None = PASSWORD, *, read_seconds: float = ANSWER_SECONDS
) -> AsyncIterator[Browser]:
    async with (
        page_with_token(world, password, read_seconds=read_seconds) as (url, token),
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http, url, token)
