"""Autumn's and Stripe's lists as fast as plain Python, each in its own process, with planted drift.

`python -m tests.benchmarks.scan_services autumn 100000 0.02` prints its address and serves until its input ends. Each
page comes 20 ms after its request. Every hundredth customer has one fault that a sync repairs, so the services also
answer the few calls of a sync. The sandbox is not used, because it would be the largest part of the measured time.
"""

import asyncio
import json
import sys
from collections import Counter
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import uvloop

from tests.benchmarks.http import Answer, Connection

FLAG: Final = "autumn_send_email_receipts"
DRIFTS: Final = ("name", "email", "flag", "no-flag", "unclaimed", "unlinked")
_BILLING: Final = json.dumps(
    {
        "created_at": 1767225600000,
        "fingerprint": None,
        "env": "sandbox",
        "metadata": {},
        "purchases": [],
        "subscriptions": [
            {
                **dict.fromkeys(("canceled_at", "expires_at", "trial_ends_at")),
                **{"plan_id": "pro", "auto_enable": False, "add_on": False, "status": "active", "past_due": False},
                **{"started_at": 1767225600000, "current_period_start": 1767225600000},
                **{"current_period_end": 1769904000000, "quantity": 1},
            }
        ],
        "balances": {
            "messages": {
                **{"feature_id": "messages", "granted": 110, "remaining": 99.5, "usage": 10.5, "unlimited": False},
                **{"overage_allowed": True, "max_purchase": None, "next_reset_at": 1769904000000},
            }
        },
        **{"billing_controls": {}, "licenses": [], "flags": {}, "config": {}},
    }
)[1:]
_PAYING: Final = json.dumps(
    {
        **dict.fromkeys(("address", "currency", "default_source", "description", "discount", "phone", "shipping")),
        **{"object": "customer", "balance": 0, "created": 1767225600, "delinquent": False, "livemode": False},
        **{"invoice_prefix": "ABCDEF01", "next_invoice_sequence": 1, "preferred_locales": [], "tax_exempt": "none"},
        "test_clock": None,
        "invoice_settings": {
            **dict.fromkeys(("custom_fields", "default_payment_method", "footer", "rendering_options"))
        },
    }
)[1:]


def drift_of(index: int) -> str:
    """Return the fault planted at a customer; empty for 99 of a hundred."""
    return DRIFTS[index // 100 % len(DRIFTS)] if index % 100 == 7 else ""


class Autumn:
    """The customers of Autumn, the newest (the highest number) first."""

    def __init__(self, customers: int, page_seconds: float) -> None:
        self.counts: Counter[str] = Counter()
        self._customers = customers
        self._page_seconds = page_seconds
        self._links: dict[int, str] = {}

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path == "/counts":
            return 200, json.dumps(self.counts).encode(), 0.0
        self.counts[f"{method} {path}"] += 1
        request = json.loads(body)
        if path == "/v1/customers.list":
            return 200, self._page(request), self._page_seconds
        index = _index_of(request["customer_id"])
        if request.get("stripe_id"):
            self._links[index] = request["stripe_id"]
        return 200, self._customer(index).encode(), 0.0

    def _page(self, request: dict[str, Any]) -> bytes:
        first = int(request["start_cursor"] or self._customers - 1)
        last = max(first - request["limit"], -1)
        cursor = json.dumps(str(last) if last >= 0 else None)
        customers = ",".join([self._customer(index) for index in range(first, last, -1)])
        return f'{{"list": [{customers}], "next_cursor": {cursor}}}'.encode()

    def _customer(self, index: int) -> str:
        link = self._links.get(index) or ("" if drift_of(index) == "unlinked" else f"cus_{index:014d}")
        stripe_id = f'"{link}"' if link else "null"
        return (
            f'{{"id": "user_{index:07d}", "name": "Name {index}", "email": "user_{index:07d}@example.com", '
            f'"stripe_id": {stripe_id}, "send_email_receipts": true, {_BILLING}'
        )


class Stripe:
    """The customers of Stripe, the newest first."""

    def __init__(self, customers: int, page_seconds: float) -> None:
        self.counts: Counter[str] = Counter()
        self._customers = customers
        self._page_seconds = page_seconds
        self._written: dict[int, dict[str, Any]] = {}

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path == "/counts":
            return 200, json.dumps(self.counts).encode(), 0.0
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        self.counts[f"{method} {'list' if url.path == '/v1/customers' and 'email' not in query else 'other'}"] += 1
        if url.path == "/v1/customers" and "email" not in query:
            return 200, self._page(query), self._page_seconds
        if url.path in {"/v1/customers", "/v1/customers/search"}:
            named = query["email"].split("@")[0] if "email" in query else query["query"].split("'")[3]
            found = self._customer(_index_of(named)) if named.startswith("user_") else ""
            return 200, f'{{"data": [{found}], "has_more": false}}'.encode(), 0.0
        if url.path == "/v1/account":
            return 200, b'{"id": "acct_1", "object": "account"}', 0.0
        index = _index_of(unquote(url.path.rpartition("/")[2]))
        if method == "POST":
            self._write(index, dict(parse_qsl(body.decode())))
        return 200, self._customer(index).encode(), 0.0

    def _page(self, query: dict[str, str]) -> bytes:
        after = query.get("starting_after")
        first = (_index_of(after) if after else self._customers) - 1
        last = max(first - int(query["limit"]), -1)
        has_more = "true" if last >= 0 else "false"
        customers = ",".join([self._customer(index) for index in range(first, last, -1)])
        return f'{{"object": "list", "has_more": {has_more}, "data": [{customers}]}}'.encode()

    def _write(self, index: int, form: dict[str, str]) -> None:
        now = self._written.setdefault(index, _seeded(index))
        for name in ("name", "email"):
            now[name] = form.get(name, now[name])
        for key in ("autumn_id", FLAG):
            if f"metadata[{key}]" in form:
                now["metadata"][key] = form[f"metadata[{key}]"]

    def _customer(self, index: int) -> str:
        if drift_of(index):
            now = json.dumps(self._written.get(index) or _seeded(index))[:-1]
            return f'{now}, "id": "cus_{index:014d}", {_PAYING}'
        return (
            f'{{"id": "cus_{index:014d}", "name": "Name {index}", "email": "user_{index:07d}@example.com", '
            f'"metadata": {{"autumn_id": "user_{index:07d}", "{FLAG}": "true"}}, {_PAYING}'
        )


def _seeded(index: int) -> dict[str, Any]:
    drift = drift_of(index)
    metadata = {"autumn_id": f"user_{index:07d}", FLAG: "false" if drift == "flag" else "true"}
    if drift == "no-flag":
        del metadata[FLAG]
    return {
        "name": "Edited by hand" if drift == "name" else f"Name {index}",
        "email": None if drift == "email" else f"user_{index:07d}@example.com",
        "metadata": {} if drift == "unclaimed" else metadata,
    }


def _index_of(customer_id: str) -> int:
    return int(customer_id.rpartition("_")[2])


async def serve(service: str, customers: int, page_seconds: float) -> None:
    """Serve until the standard input ends."""
    account = (Autumn if service == "autumn" else Stripe)(customers, page_seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, account.answer, lambda: None), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
