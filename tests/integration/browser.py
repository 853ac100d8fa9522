"""A browser of the operator's page as far as HTTP goes: it keeps cookies and sends forms."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, CookieJar

from tests.conftest import World
from tests.operator import PASSWORD, operator_page


@dataclass
class Browser:
    """Somebody with cookies, as a browser keeps them."""

    http: ClientSession
    url: str

    async def get(self, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        async with self.http.get(self.url, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers

    async def token(self) -> str:
        _, text, _ = await self.get()
        found = re.search(r'name="token" value="(\w+)"', text)
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
        operator_page(world, password) as url,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http, url)
