"""A client of the operator's page over HTTP: it keeps cookies and sends forms, as a browser does."""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientResponse, ClientSession, CookieJar

from tests.conftest import World
from tests.support.operator import PASSWORD, page_with_token

PATIENCE_SECONDS: Final = 60.0


@dataclass
class Browser:
    """A person's browser, with its cookies."""

    http: ClientSession
    url: str
    access_token: str = ""

    async def get(self, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        answer = await self._answer("GET", self.url, headers=headers)
        return answer.status, await answer.text(), answer.headers

    async def open_with_token(self) -> int:
        """Open the address that the worker logs if there is no password."""
        answer = await self._answer("GET", f"{self.url}/?token={self.access_token}")
        assert ("token=" in str(answer.url)) is (answer.status == 403)
        return answer.status

    async def token(self) -> str:
        _, text, _ = await self.get()
        found = re.search(r'name="token" value="([\w-]+)"', text)
        assert found is not None
        return found.group(1)

    async def post(self, path: str, fields: Any, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        answer = await self._answer("POST", self.url + path, data=fields, headers=headers)
        return answer.status, await answer.text()

    async def send(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send one of the page's own forms."""
        return await self.post(path, {"token": await self.token(), **fields})

    async def sign_in(self, password: str = PASSWORD) -> tuple[int, str]:
        return await self.send("/sign-in", password=password)

    async def _answer(self, method: str, url: str, **options: Any) -> ClientResponse:
        """Return the answer. Repeat the request if it is a 503, because a busy machine delays Redis."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self.http.request(method, url, **options) as answer:
                await answer.read()
            if answer.status != 503 or time.monotonic() > deadline:
                return answer
            if answer.history:
                # The request itself was answered with a redirect, and only the page behind it was late.
                method, url, options = "GET", str(answer.url), {"headers": options.get("headers")}


@asynccontextmanager
async def browsing(world: World, password: str | None = PASSWORD) -> AsyncIterator[Browser]:
    async with (
        page_with_token(world, password) as (url, token),
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http, url, token)
