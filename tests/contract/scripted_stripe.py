"""A Stripe that answers what the recorded Stripe answered, and keeps what it was asked.

It must not know anything of customers: the statuses and the words of an error come from the exchange.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

Reply = tuple[int, dict[str, Any]]
"""A status and a JSON body."""


@dataclass(frozen=True)
class Asked:
    """One call to Stripe, without what is random in it."""

    method: str
    path: str
    form: tuple[tuple[str, str], ...]
    authorization: str
    version: str
    key_kind: str


def asked(method: str, path: str, body: str, headers: dict[str, str]) -> Asked:
    """Return a call without the internal id and the random end of the Idempotency-Key."""
    form = tuple(
        (name, "cus_…" if name == "metadata[autumn_internal_id]" else value)
        for name, value in parse_qsl(body, keep_blank_values=True)
    )
    key = headers.get("Idempotency-Key", "")
    kind = "autumn:customer:" if key.startswith("autumn:") else key[: len("stripe-node-retry-")]
    return Asked(method, path, form, headers["Authorization"], headers["Stripe-Version"], kind)


@dataclass
class ScriptedStripe:
    """Gives the replies in their order."""

    replies: list[Reply]
    calls: list[Asked] = field(default_factory=list)

    def app(self) -> web.Application:
        """The application that answers."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in request.headers}
        self.calls.append(asked(request.method, request.raw_path, await request.text(), headers))
        if len(self.calls) > len(self.replies):
            return web.json_response({"error": {"message": "the recorded Autumn did not call"}}, status=400)
        status, body = self.replies[len(self.calls) - 1]
        return web.json_response(body, status=status)
