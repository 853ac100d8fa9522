"""A client of the operator's page over HTTP: it keeps cookies and sends forms, as a browser does."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, CookieJar

from tests.conftest import World
from tests.support.operator import PASSWORD, page_with_token


@dataclass
class Browser:
    """A person's browser, with its cookies."""

    http: ClientSession
    url: str
    access_token: str = ""

    async def get(self, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        async with self.http.get(self.url, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers

    async def open_with_token(self) -> int:
        """Open the address that the worker logs if there is no password."""
        async with self.http.get(f"{self.url}/?token={self.access_token}") as answer:
            assert ("token=" in str(answer.url)) is (answer.status == 403)
            return answer.status

    async def token(self) -> str:
        _, text, _ = await self.get()
        found = re.search(r'name="token" value="([\w-]+)"', text)
        assert found is not None
        return found.group(1)

    async def post(self, path: str, fields: Any, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        async with self.http.post(self.url + path, data=fields, headers=headers) as answer:
            return answer.status, await answer.text()

    async def send(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send one of the page's own forms."""
        return await self.post(path, {"token": await self.token(), **fields})

    async def sign_in(self, password: str = PASSWORD) -> tuple[int, str]:
        return await self.send("/sign-in", password=password)


@asynccontextmanager
async def browsing(world: World, password: str | None = PASSWORD) -> AsyncIterator[Browser]:
    async with (
        page_with_token(world, password) as (url, token),
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http, url, token)
