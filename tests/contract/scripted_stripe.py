"""A Stripe with the recorded answers, which also records its requests.

It knows nothing of customers: the statuses and error texts come from the exchange.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

Reply = tuple[int, dict[str, Any]]
"""A status and a JSON body."""


@dataclass(frozen=True)
class StripeCall:
    """One call to Stripe, without its random parts."""

    method: str
    path: str
    form: tuple[tuple[str, str], ...]
    authorization: str
    version: str
    key_kind: str


def stripe_call(method: str, path: str, body: str, headers: dict[str, str]) -> StripeCall:
    """Return a call without the internal id and the random end of the Idempotency-Key."""
    form = tuple(
        (name, "cus_…" if name == "metadata[autumn_internal_id]" else value)
        for name, value in parse_qsl(body, keep_blank_values=True)
    )
    key = headers.get("Idempotency-Key", "")
    kind = "autumn:customer:" if key.startswith("autumn:") else key[: len("stripe-node-retry-")]
    return StripeCall(method, path, form, headers["Authorization"], headers["Stripe-Version"], kind)


@dataclass
class ScriptedStripe:
    """A Stripe that gives the replies in order."""

    replies: list[Reply]
    calls: list[StripeCall] = field(default_factory=list)

    def app(self) -> web.Application:
        """The application that answers."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in request.headers}
        self.calls.append(stripe_call(request.method, request.raw_path, await request.text(), headers))
        if len(self.calls) > len(self.replies):
            return web.json_response({"error": {"message": "the recorded Autumn did not call"}}, status=400)
        status, body = self.replies[len(self.calls) - 1]
        return web.json_response(body, status=status)
