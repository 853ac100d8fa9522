"""A Stripe that says what the recording's Stripe said, and keeps what it was asked.

It must not know anything of customers: the statuses come from the recording, and the words of an error are those that
Autumn passed on.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.contract.recordings import Recording


@dataclass(frozen=True)
class Asked:
    """One call to Stripe, so that a recorded and a simulated one compare."""

    method: str
    path: str
    form: tuple[tuple[str, str], ...]
    authorization: str
    version: str
    key_kind: str


def asked(method: str, path: str, body: str, headers: dict[str, str]) -> Asked:
    """A call without what is random in it: the internal id and the end of the Idempotency-Key."""
    form = tuple(
        (name, "cus_…" if name == "metadata[autumn_internal_id]" else value)
        for name, value in parse_qsl(body, keep_blank_values=True)
    )
    key = headers.get("Idempotency-Key", "")
    kind = "autumn:customer:" if key.startswith("autumn:") else key[: len("stripe-node-retry-")]
    return Asked(method, path, form, headers["Authorization"], headers["Stripe-Version"], kind)


@dataclass
class ScriptedStripe:
    """Answers the calls of these recordings in their order."""

    recordings: list[Recording]
    calls: list[Asked] = field(default_factory=list)

    def app(self) -> web.Application:
        """The application that answers."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    def expected(self) -> list[Asked]:
        """The calls that the recordings hold."""
        return [
            asked(call["method"], call["path"], call["body"], call["headers"])
            for recording in self.recordings
            for call in recording.stripe_calls
        ]

    async def _serve(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in request.headers}
        self.calls.append(asked(request.method, request.raw_path, await request.text(), headers))
        script = [(call, one) for one in self.recordings for call in one.stripe_calls]
        if len(self.calls) > len(script):
            return web.json_response({"error": {"message": "the recorded Autumn did not call"}}, status=400)
        call, recording = script[len(self.calls) - 1]
        return web.json_response(_said(call, recording), status=call["status"])


def _said(call: dict[str, Any], recording: Recording) -> dict[str, Any]:
    if call["status"] < 400:
        return {"object": "customer", "id": recording.answer.get("stripe_id")}
    return {"error": {"message": recording.answer["message"].removeprefix("(Stripe Error) ")}}
