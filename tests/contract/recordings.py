"""The recordings of the real Autumn, and the state that must have existed before each of them.

A recording is one request, its answer, and the calls to Stripe in between. Rules derive the state before it from the
recording and its neighbours. The rules apply to all recordings and name none. This file knows nothing of the simulator.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.contract.exchange import KEY, STRIPE_KEY, Exchange, Organisation, Row, Sent
from tests.contract.scripted_stripe import stripe_call

CUSTOMER_FIELDS = (
    "name",
    "email",
    "created_at",
    "fingerprint",
    "stripe_id",
    "env",
    "metadata",
    "send_email_receipts",
    "billing_controls",
    "subscriptions",
    "purchases",
    "licenses",
    "balances",
    "flags",
    "config",
)
_ANOTHER: Row = {"name": "Before", "email": "before@example.com", "fingerprint": "before", "stripe_id": None}


@dataclass(frozen=True)
class Recording:
    """One recorded request. `file` is its name; the number gives the order."""

    file: str
    request: dict[str, Any]
    response: dict[str, Any]
    stripe_calls: list[dict[str, Any]]

    @property
    def path(self) -> str:
        """The path without the host."""
        return str(self.request["path"])

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers. A recording without headers had these."""
        plain = {"Authorization": "Bearer am_sk_test_***", "x-api-version": "2.3"}
        return dict(self.request.get("headers", plain))

    @cached_property
    def body(self) -> Row:
        """The request's body. One that is not JSON reads as empty."""
        raw = self.request.get("raw_body")
        if raw is None:
            return self.request.get("body") or {}
        try:
            return dict(json.loads(raw))
        except ValueError:
            return {}

    @property
    def sent(self) -> bytes:
        """The bytes of the request's body."""
        raw = self.request.get("raw_body")
        return (json.dumps(self.body) if raw is None else str(raw)).encode()

    @property
    def status(self) -> int:
        """The answer's status."""
        return int(self.response["status"])

    @property
    def answer(self) -> Row:
        """The answer as JSON, empty if it was not JSON."""
        return self.response.get("json") or {}

    def header(self, name: str) -> str | None:
        """Return one of the answer's headers."""
        headers: dict[str, str] = self.response.get("headers", {})
        return next((value for key, value in headers.items() if key.lower() == name), None)

    @property
    def env(self) -> str:
        """The environment of the key."""
        shown = self.answer.get("env") or next((row["env"] for row in self.rows), "sandbox")
        return str(shown)

    @property
    def endpoint(self) -> str:
        """The part after `customers.`, or "webhook"."""
        return "webhook" if self.path.startswith("/webhooks/") else self.path.rpartition(".")[2]

    @property
    def message(self) -> str:
        """The answer's error text, empty if there was none."""
        return str(self.answer.get("message", ""))

    @property
    def rows(self) -> list[Row]:
        """The customers in the answer."""
        if "list" in self.answer:
            return list(self.answer["list"])
        return [self.answer] if "created_at" in self.answer else []


def folder() -> Path | None:
    """Return the folder of the recordings, if the environment names it."""
    data = os.environ.get("CONTRACT_DATA")
    return Path(data) / "recordings" / "autumn" if data else None


def load(where: Path) -> list[Recording]:
    """Return all recordings, in their order."""
    found = []
    for file in sorted(where.glob("*.json")):
        kept = json.loads(file.read_text())
        found.append(Recording(file.stem, kept["request"], kept["response"], kept.get("stripe_calls") or []))
    return found


def _sent(recording: Recording) -> Sent:
    """Return the request. The recordings hide the key, but an answer about a wrong key shows its beginning."""
    headers = dict(recording.headers)
    if headers.get("Authorization") == "Bearer am_sk_test_***":
        wrong = recording.answer.get("code") == "invalid_secret_key"
        key = recording.message.rpartition(" ")[2].replace("*", "x") if wrong else KEY
        headers["Authorization"] = f"Bearer {key}"
    return Sent(recording.path, recording.sent, headers, recording.request["method"])


def _seeded(row: Row) -> Row:
    return {name: row[name] for name in ("id", "autumn_id", *CUSTOMER_FIELDS) if name in row}


def _stripe_answer(call: dict[str, Any], recording: Recording) -> dict[str, Any]:
    """Return Stripe's answer, with the error text that Autumn passed on."""
    if call["status"] < 400:
        return {"object": "customer", "id": recording.answer.get("stripe_id")}
    return {"error": {"message": recording.message.removeprefix("(Stripe Error) ")}}


class History:
    """The recordings in order, and the state before and after each of them."""

    def __init__(self, recordings: list[Recording]) -> None:
        """Store the recordings in order."""
        self._recordings = recordings

    def exchange(self, recording: Recording) -> Exchange:
        """Return the recording as an exchange that can be replayed."""
        earlier, after = self.with_the_same_key(recording), self.get_after(recording)
        together = [*earlier, recording]
        limited = recording.status == 429 and recording.header("retry-after")
        shown = [*recording.rows, *(after.rows if after else [])]
        return Exchange(
            organisation=self._organisation(recording),
            request=_sent(recording),
            before=[_seeded(row) for row in self.before(together[0])],
            now_milliseconds=next((row["created_at"] for row in shown), 0),
            earlier=[_sent(one) for one in earlier],
            after=_sent(after) if after else None,
            replies=[(call["status"], _stripe_answer(call, one)) for one in together for call in one.stripe_calls],
            stripe_calls=[
                stripe_call(call["method"], call["path"], call["body"], call["headers"])
                for one in together
                for call in one.stripe_calls
            ],
            spent=int(recording.header("ratelimit-limit") or 0) if limited else 0,
            unavailable=recording.status == 503,
        )

    def _organisation(self, recording: Recording) -> Organisation:
        calls = recording.stripe_calls
        keys = [call["headers"]["Authorization"].removeprefix("Bearer ") for call in calls]
        own_limit = recording.endpoint in ("list", "get", "get_or_create")
        return Organisation(
            env=recording.env,
            stripe_key=None if "no Stripe account linked" in recording.message else next(iter(keys), STRIPE_KEY),
            updates_per_second=int((not own_limit and recording.header("ratelimit-limit")) or 25),
            forwards_metadata=any("metadata[" in call["body"].replace("metadata[autumn_", "") for call in calls),
        )

    def before(self, recording: Recording) -> list[Row]:
        """Return the customers that must have existed."""
        if recording.endpoint == "list":
            return self._listed(recording)
        if recording.endpoint == "webhook":
            return [self._before_event(recording)]
        if recording.status == 404:
            return []
        if recording.status != 200 or not recording.rows:
            known = self._known(recording)
            given = recording.body.get("customer_id")
            plain = [{"id": given}] if recording.status == 200 else []
            taken = [{"id": recording.body["new_customer_id"]}] if "already exists" in recording.message else []
            return [known, *taken] if known else plain
        if recording.endpoint == "get":
            return recording.rows
        if recording.endpoint == "get_or_create":
            return self._before_create(recording)
        return [self._before_update(recording)]

    def get_after(self, recording: Recording) -> Recording | None:
        """Return the next recorded `get` that shows this recording's customer afterwards."""
        place = self._recordings.index(recording)
        after = next(iter(self._recordings[place + 1 :]), None)
        if after is None or after.endpoint != "get" or after.status != 200 or after.env != recording.env:
            return None
        if recording.endpoint == "webhook":
            same = after.answer["stripe_id"] == recording.body["data"]["object"]["id"]
        else:
            writes = recording.endpoint in ("update", "get_or_create")
            same = writes and after.body["customer_id"] == recording.body.get("customer_id")
        return after if same else None

    def with_the_same_key(self, recording: Recording) -> list[Recording]:
        """Return the earlier requests with the same Idempotency-Key."""
        key = recording.headers.get("Idempotency-Key")
        earlier = self._recordings[: self._recordings.index(recording)]
        return [one for one in earlier if key and one.headers.get("Idempotency-Key") == key]

    def _known(self, recording: Recording) -> Row:
        """Return the customer of a request as an earlier recording last showed it."""
        wanted = recording.body.get("customer_id")
        known: Row = {}
        for earlier in self._recordings[: self._recordings.index(recording)]:
            for row in earlier.rows:
                if row.get("id") == wanted and row.get("env") == recording.env and "flags" in row:
                    known = row
        return known

    def _before_update(self, recording: Recording) -> Row:
        """Return the customer of the answer, with the requested fields as they were before."""
        known, body = self._known(recording), recording.body
        row = {**known, **recording.answer, "id": body["customer_id"]}
        for name in body.keys() & {*_ANOTHER, "send_email_receipts"}:
            another = _ANOTHER.get(name, not recording.answer[name])
            row[name] = known.get(name, another)
        metadata = dict(row["metadata"])
        for key, value in (body.get("metadata") or {}).items():
            metadata.pop(key, None)
            if key in known.get("metadata", {}) or value is None:
                metadata[key] = known.get("metadata", {}).get(key, "before")
        return {**row, "metadata": metadata}

    def _before_create(self, recording: Recording) -> list[Row]:
        """Return the customer if it is known, or if the answer shows a value that no request named."""
        known, answer, body = self._known(recording), recording.answer, recording.body
        created_in_stripe = any(call["path"] == "/v1/customers" for call in recording.stripe_calls)
        unsaid = any(answer[name] and answer[name] != body.get(name) for name in ("name", "email", "fingerprint"))
        linked = answer["stripe_id"] and answer["stripe_id"] != body.get("stripe_id") and not created_in_stripe
        return [known or answer] if known or unsaid or linked else []

    def _before_event(self, recording: Recording) -> Row:
        """Return the customer of the next `get`, with another name and email if an update brought these."""
        after = self.get_after(recording)
        if after is None:
            raise LookupError(f"no get follows {recording.file}")
        event = recording.body["data"]["object"]
        copied = ("name", "email") if recording.body["type"] == "customer.updated" else ()
        brought = {name: _ANOTHER[name] for name in copied if event[name] == after.answer[name]}
        return {**after.answer, **brought}

    def _listed(self, recording: Recording) -> list[Row]:
        """Return all customers that lists of the same customers show, and as many more as the total says.

        A list that shows no customer belongs to the lists with the same total.
        """
        lists = [one for one in self._recordings if one.endpoint == "list" and one.status == 200]
        ids = {row["id"] for row in recording.rows}
        shown_total = recording.answer.get("total_count")
        related = [
            one
            for one in lists
            if ids & {row["id"] for row in one.rows}
            or (not ids and shown_total and one.answer.get("total_count") == shown_total)
        ] or lists
        rows = {(row["id"], row["email"]): row for one in (*related, recording) for row in one.rows if "flags" in row}
        oldest = min(row["created_at"] for row in rows.values())
        total = max(one.answer.get("total_count", 0) for one in related)
        missing = range(1, total - len(rows) + 1)
        return [*rows.values(), *({"id": f"older-{age}", "created_at": oldest - age} for age in missing)]
