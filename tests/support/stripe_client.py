"""A client of the simulated Stripe without the SDK, and a clock that a test moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> Any:
        return self.body["error"]


class Client:
    """Form-encoded requests with the simulator's key."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, **params: str) -> Answer:
        return await self.send("GET", path, params=params)

    async def post(self, path: str, key: str | None = None, **data: str) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.send("POST", path, data=data, headers=headers)

    async def send(self, method: str, path: str, **more: Any) -> Answer:
        async with self._session.request(method, self._url + path, **more) as response:
            is_json = response.content_type == "application/json"
            body = await (response.json() if is_json else response.text())
            return Answer(response.status, body, response.headers)
