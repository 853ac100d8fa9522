"""Replay an exchange against the Autumn simulator."""

import copy
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aiohttp

from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault
from sandbox.serve import serving
from tests.contract.exchange import KEY, Exchange, Row, Sent
from tests.contract.scripted_stripe import ScriptedStripe, StripeCall


@dataclass(frozen=True)
class Answer:
    """An answer of Autumn. The names of the headers are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @cached_property
    def json(self) -> Any:
        """The body, None if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Replayed:
    """The simulator's side of an exchange."""

    answer: Answer
    after: Answer | None
    stripe_calls: list[StripeCall]
    unchanged: bool
    """Whether the simulator's customers are the same as before the request."""


async def replay(exchange: Exchange) -> Replayed:
    """Seed the state, send the requests, and return the answers and the calls to Stripe."""
    stripe = ScriptedStripe(exchange.replies)
    async with serving(stripe.app()) as stripe_url:
        simulator = _simulator(exchange, stripe_url)
        async with serving(simulator.app()) as url, aiohttp.ClientSession() as session:
            for one in [*exchange.earlier, *[exchange.request] * exchange.spent]:
                await _send(session, url, one)
            planted = copy.deepcopy(simulator.customers)
            answer = await _send(session, url, exchange.request)
            unchanged, calls = simulator.customers == planted, list(stripe.calls)
            after = None if exchange.after is None else await _send(session, url, exchange.after)
    return Replayed(answer, after, calls, unchanged)


def _simulator(exchange: Exchange, stripe_url: str) -> AutumnSimulator:
    organisation = exchange.organisation
    simulator = AutumnSimulator(
        stripe_url=stripe_url,
        key=KEY,
        env=organisation.env,
        stripe_key=organisation.stripe_key,
        updates_per_second=organisation.updates_per_second,
        clock=lambda: exchange.now_milliseconds / 1000,
        forwards_metadata=organisation.forwards_metadata,
    )
    for row in exchange.before:
        simulator.seed(row["id"], **_fields(row))
    if exchange.unavailable:
        simulator.switches.add(Fault("503"))
    return simulator


def _fields(row: Row) -> Row:
    fields = {name: copy.deepcopy(value) for name, value in row.items() if name not in ("id", "autumn_id")}
    return fields | ({"internal_id": row["autumn_id"]} if "autumn_id" in row else {})


async def _send(session: aiohttp.ClientSession, url: str, sent: Sent) -> Answer:
    async with session.request(sent.method, url + sent.path, data=sent.body, headers=sent.headers) as answer:
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, lowered, await answer.text())
