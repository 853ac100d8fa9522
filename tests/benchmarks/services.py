"""Both services in one process, as fast as plain Python: prepared bytes, with only the fields that a sync compares.

The sandbox is not used, because it would be the largest part of the measured time.

`python -m tests.benchmarks.services` prints the addresses as one line of JSON and serves until its input ends. A third
address is for the benchmark: POST resets the counts and sets other options, GET returns the counts since then.
"""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import uvloop

from tests.benchmarks.http import Answer, Connection

UPDATE, GET = "/v1/customers.update", "/v1/customers.get"
EVENTS: Final = "/v1/events"
STRIPE_CUSTOMER: Final = "/v1/customers/"
STRIPE_PREFIX: Final = "cus_"
MIRROR: Final = "metadata[autumn_send_email_receipts]"
WINDOW_SECONDS: Final = 1.0

_SUBSCRIPTION: Final = {
    **dict.fromkeys(("canceled_at", "expires_at", "trial_ends_at")),
    **{"plan_id": "pro", "auto_enable": False, "add_on": False, "status": "active", "past_due": False},
    **{"started_at": 1767225600000, "current_period_start": 1767225600000, "current_period_end": 1769904000000},
    "quantity": 1,
}
_BALANCE: Final = {
    **{"feature_id": "messages", "granted": 110, "remaining": 99.5, "usage": 10.5, "unlimited": False},
    **{"overage_allowed": True, "max_purchase": None, "next_reset_at": 1769904000000},
}
_ABOUT_BILLING: Final = json.dumps(
    {
        **{"created_at": 1767225600000, "fingerprint": None, "env": "sandbox", "metadata": {}, "purchases": []},
        **{"subscriptions": [_SUBSCRIPTION], "balances": {"messages": _BALANCE}},
        **{"billing_controls": {}, "licenses": [], "flags": {}, "config": {}},
    }
)[1:]
_ABOUT_PAYING: Final = json.dumps(
    {
        **dict.fromkeys(("address", "currency", "default_source", "description", "discount", "phone", "shipping")),
        **{"object": "customer", "balance": 0, "created": 1767225600, "delinquent": False, "livemode": False},
        **{"invoice_prefix": "ABCDEF01", "next_invoice_sequence": 1, "preferred_locales": [], "tax_exempt": "none"},
        **{"test_clock": None, "invoice_settings": {"custom_fields": None, "default_payment_method": None}},
    }
)[1:]


@dataclass(frozen=True)
class Options:
    """The behaviour of the services.

    Limits are requests a second; None is no limit. They are counted as Autumn counts, in windows of a second that begin
    with a request.
    """

    live: bool = False
    autumn_seconds: float = 0.005
    stripe_seconds: float = 0.005
    updates_per_second: int | None = None
    stripe_per_second: int | None = None
    endpoint_per_second: int | None = None


@dataclass
class Customer:
    """One customer in both services. `stripe_name` and `mirrored` are in Stripe."""

    name: str = '"Ann Example"'
    receipts: bool = False
    stripe_name: str = '"Ann Example"'
    mirrored: str = "false"


@dataclass
class Counts:
    """The counts since the last reset; `update_times` are on the monotonic clock."""

    calls: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    update_times: list[float] = field(default_factory=list)


class Services:
    """Autumn and Stripe. Every customer of Autumn is linked to one of Stripe."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self.customers: dict[str, Customer] = defaultdict(Customer)
        self.begin(Options())

    def begin(self, options: Options) -> None:
        """Reset the counts. Customers stay, and so do open connections, which are not counted again."""
        self.options = options
        self.counts = Counts()
        self._windows: dict[str, tuple[float, int]] = {}

    def opened(self, service: str) -> None:
        """Count a new connection."""
        self.counts.connections[service] += 1

    def autumn(self, _: str, path: str, body: bytes) -> Answer:
        """Answer a request to Autumn."""
        request: dict[str, Any] = json.loads(body)
        customer_id = request["customer_id"]
        self.counts.calls[f"autumn {path}"] += 1
        if path == UPDATE:
            limits = [("autumn", self.options.updates_per_second), *self._stripe_limits("POST /v1/customers/{id}")]
            if not self._admits(limits):
                return 429, b"{}", 0.0
            self.counts.update_times.append(time.monotonic())
            self._update(self.customers[customer_id], request)
        elif path != GET:
            return 404, b"{}", 0.0
        return 200, self._autumn_customer(customer_id), self.options.autumn_seconds

    def stripe(self, method: str, path: str, body: bytes) -> Answer:
        """Answer a request to Stripe."""
        if path == "/v1/account":
            return 200, b'{"id": "acct_1", "object": "account"}', 0.0
        if path.partition("?")[0] == EVENTS:
            return 200, b'{"object": "list", "url": "/v1/events", "has_more": false, "data": []}', 0.0
        if not path.startswith(STRIPE_CUSTOMER):
            return 404, b"{}", 0.0
        endpoint = f"{method} /v1/customers/{{id}}"
        self.counts.calls[f"stripe {endpoint}"] += 1
        if not self._admits(self._stripe_limits(endpoint)):
            return 429, b'{"error": {"type": "invalid_request_error", "message": "Too many requests"}}', 0.0
        customer_id = unquote(path.removeprefix(STRIPE_CUSTOMER).partition("?")[0]).removeprefix(STRIPE_PREFIX)
        customer = self.customers[customer_id]
        if method == "POST":
            fields = dict(parse_qsl(body.decode()))
            customer.mirrored = fields.get(MIRROR, customer.mirrored)
            if "name" in fields:
                customer.stripe_name = json.dumps(fields["name"])
        return 200, self._stripe_customer(customer_id, customer), self.options.stripe_seconds

    def control(self, method: str, _: str, body: bytes) -> Answer:
        """Reset, or return the counts."""
        if method == "POST":
            self.begin(Options(**json.loads(body)))
        return 200, json.dumps(vars(self.counts)).encode(), 0.0

    def _stripe_limits(self, endpoint: str) -> list[tuple[str, int | None]]:
        return [("stripe", self.options.stripe_per_second), (endpoint, self.options.endpoint_per_second)]

    def _admits(self, limits: list[tuple[str, int | None]]) -> bool:
        """Count a request in its windows. Return whether all of them had room."""
        now = time.monotonic()
        admitted = True
        for window, most in limits:
            since, count = self._windows.get(window, (now, 0))
            if now - since >= WINDOW_SECONDS:
                since, count = now, 0
            self._windows[window] = (since, count + 1)
            if most is not None and count >= most:
                self.counts.refused[window] += 1
                admitted = False
        return admitted

    def _update(self, customer: Customer, request: dict[str, Any]) -> None:
        if "name" in request:
            # Autumn copies it to Stripe.
            customer.name = customer.stripe_name = json.dumps(request["name"])
        if "send_email_receipts" in request:
            customer.receipts = request["send_email_receipts"]

    def _autumn_customer(self, customer_id: str) -> bytes:
        customer, stripe_id = self.customers[customer_id], f"{STRIPE_PREFIX}{customer_id}"
        receipts = "true" if customer.receipts else "false"
        about = _ABOUT_BILLING.replace('"sandbox"', '"live"') if self.options.live else _ABOUT_BILLING
        return (
            f'{{"id": "{customer_id}", "name": {customer.name}, "email": "{customer_id}@example.com", '
            f'"stripe_id": "{stripe_id}", "send_email_receipts": {receipts}, {about}'
        ).encode()

    def _stripe_customer(self, customer_id: str, customer: Customer) -> bytes:
        about = _ABOUT_PAYING.replace('"livemode": false', '"livemode": true') if self.options.live else _ABOUT_PAYING
        return (
            f'{{"id": "{STRIPE_PREFIX}{customer_id}", "name": {customer.stripe_name}, '
            f'"email": "{customer_id}@example.com", "metadata": {{"autumn_id": "{customer_id}", '
            f'"autumn_send_email_receipts": "{customer.mirrored}"}}, {about}'
        ).encode()


async def serve() -> None:
    """Serve until the standard input ends."""
    services, loop = Services(), asyncio.get_running_loop()
    addresses = {}
    handlers = {"autumn": services.autumn, "stripe": services.stripe, "control": services.control}
    for name, handle in handlers.items():
        server = await loop.create_server(partial(Connection, handle, partial(services.opened, name)), "127.0.0.1", 0)
        addresses[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(json.dumps(addresses), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve())
