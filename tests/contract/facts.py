"""The table of facts about Autumn: the short result of each recorded exchange.

`tests/contract/data/autumn_exchanges.json` has one line for each exchange: the request, the customer before it, and
parts of the answer. Those are the status, the code, the beginning of the error's message, the changed fields, and the
calls to Stripe. `make contract-facts` makes it from the recordings. Without the recordings the simulator is compared
with this table.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.contract.exchange import KEY, Exchange, Organisation, Row, Sent
from tests.contract.recordings import CUSTOMER_FIELDS
from tests.contract.replay import Answer
from tests.contract.scripted_stripe import StripeCall

FILE: Final = Path(__file__).parent / "data" / "autumn_exchanges.json"
MESSAGE_CHARACTERS: Final = 60
"""The characters of an error's message that the table keeps."""
BLANK: Final[Row] = {
    "name": None,
    "email": None,
    "fingerprint": None,
    "stripe_id": None,
    "env": "sandbox",
    "metadata": {},
    "send_email_receipts": False,
    "billing_controls": {},
    "config": {},
}
"""The fields of a new customer."""
COMPARED: Final = ("id", "autumn_id", "created_at", *BLANK)
STANDARD: Final = frozenset({"id", *CUSTOMER_FIELDS})
TOTALS: Final = ("total", "total_count", "total_filtered_count", "limit", "offset", "has_more")
JSON_TYPE: Final = "application/json"

_OLD_SHAPE = "the worker pins 2.3; versions below 2.0 are refused with 501 rather than shown in another shape"
_REST = "the worker calls customers.* only; the older REST routes do the same under other names"
_EXPAND = "expand is about plans and invoices, which the worker never requests"
_RECEIPTS = "Stripe starts what Autumn does for a paid invoice, and the worker has no part in it"

LEFT_OUT: Final[dict[str, str]] = {
    "008-update-noop-vbeta": _OLD_SHAPE,
    "009-update-noop-v1.2": _OLD_SHAPE,
    "010-update-noop-v1.1": _OLD_SHAPE,
    "011-update-noop-v0.2": _OLD_SHAPE,
    "012-update-noop-v0.1": _OLD_SHAPE,
    "017-update-noop-calver-2025-05-05": _OLD_SHAPE,
    "018-update-noop-calver-2025-04-17": _OLD_SHAPE,
    "019-update-noop-calver-2025-04-01": _OLD_SHAPE,
    "020-update-noop-calver-2025-02-01": _OLD_SHAPE,
    "027-update-badversion-1.4": _OLD_SHAPE,
    "211-update-rich-v1.2": _OLD_SHAPE,
    "212-update-rich-v0.2": _OLD_SHAPE,
    "210-update-rich-v2.0": "plans and balances have another shape at 2.0, and the simulator has no plans of its own",
    "099-huge-body-150mb": "the recording holds only the beginning of its body",
    "109-rest-get": _REST,
    "110-rest-patch": _REST,
    "111-rest-post-update": _REST,
    "112-rest-post-create": _REST,
    "113-rest-delete": _REST,
    "237-rest-list-get-v1.2": _REST,
    "238-rest-list-get-v2.3": _REST,
    "214-get-rich-expand": _EXPAND,
    "215-update-rich-expand-in-body": _EXPAND,
    "216-err-bad-expand": _EXPAND,
    "411-invoice.paid-on": _RECEIPTS,
    "413-invoice.paid-already": _RECEIPTS,
    "522-db-down-list": "its message names the port of a database; a fault switch gives the same status and code",
}
"""The exchanges that the simulator does not replay, and the reasons."""


@dataclass(frozen=True)
class Fact:
    """One line of the table. The lines that are left out have no `before`, no body and no `after`."""

    name: str
    line: dict[str, Any]
    stripe_version: str

    @property
    def proven(self) -> dict[str, Any]:
        """The proven part of the answer. Compare it with `proven`."""
        proven: dict[str, Any] = self.line["answer"]
        return proven

    @property
    def after(self) -> dict[str, Any] | None:
        """The proven part of the `get` right after it."""
        return self.line.get("after")

    @property
    def customer_id(self) -> str | None:
        """The customer that the request names."""
        body: Row = json.loads(self.line["raw"]) if _is_object(self.line.get("raw")) else self.line.get("body", {})
        return body.get("customer_id")

    @property
    def replayed(self) -> bool:
        """Whether the simulator replays it."""
        return self.name not in LEFT_OUT


def proven(answer: Answer, base: Row) -> dict[str, Any]:
    """Return the facts of an answer. Those of a customer are the differences from `base`."""
    found: dict[str, Any] = {"status": answer.status}
    for name in ("ratelimit-limit", "retry-after"):
        if name in answer.headers:
            found[name] = answer.headers[name]
    if answer.headers["content-type"] != JSON_TYPE:
        return found | {"type": answer.headers["content-type"], "says": answer.text[:MESSAGE_CHARACTERS]}
    body = answer.json
    if answer.status != 200:
        return found | {"code": body["code"], "says": body["message"][:MESSAGE_CHARACTERS]}
    if "list" in body:
        return found | _proven_of_list(body)
    if "created_at" not in body:
        return found | {"body": body}
    changed = {name: body[name] for name in COMPARED if name in body and not _same(body[name], base.get(name))}
    return found | {"changed": changed, "other_fields": sorted(STANDARD ^ body.keys())}


def counted(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the facts `ours` without the headers that the table's facts `theirs` do not name."""
    return {name: value for name, value in ours.items() if "-" not in name or name in theirs}


def base_of(before: list[Row], customer_id: str | None) -> Row:
    """Return the customer before an exchange, an empty one if there was none."""
    row = next((row for row in before if row.get("id") == customer_id), before[0] if len(before) == 1 else {})
    return {"id": None, **BLANK, **row}


def exchange_of(fact: Fact, table: dict[str, Fact]) -> Exchange:
    """Return the exchange that replays a fact."""
    line = fact.line
    earlier = [table[name] for name in line.get("earlier", ())]
    organisation = Organisation(**line.get("organisation", {}))
    limited = "retry-after" in fact.proven and fact.proven["status"] == 429
    return Exchange(
        organisation=organisation,
        request=_request(line),
        before=line.get("before", []),
        now_milliseconds=line.get("now", 0),
        earlier=[_request(one.line) for one in earlier],
        after=_request(line["after"]) if "after" in line else None,
        replies=[_reply(call, one) for one in (*earlier, fact) for call in one.line.get("stripe", ())],
        stripe_calls=[
            _stripe_call(call, organisation, fact.stripe_version)
            for one in (*earlier, fact)
            for call in one.line.get("stripe", ())
        ],
        spent=int(fact.proven["ratelimit-limit"]) if limited else 0,
        unavailable=fact.proven["status"] == 503,
    )


def read() -> dict[str, Fact]:
    """Return the table in this repository, by the names of the recordings."""
    table = json.loads(FILE.read_text())
    worlds = table["worlds"]
    facts = {}
    for name, line in table["exchanges"].items():
        if isinstance(line.get("before"), str):
            line["before"] = worlds[line["before"]]
        facts[name] = Fact(name, line, table["stripe_version"])
    return facts


def _is_object(raw: str | None) -> bool:
    try:
        return isinstance(json.loads(raw or ""), dict)
    except ValueError:
        return False


def _proven_of_list(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"listed": [row["id"] or row["email"] for row in body["list"]]}
    if "next_cursor" in body:
        return found | {"more": body["next_cursor"] is not None}
    return found | {name: body[name] for name in TOTALS if name in body}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON. In Python, True equals 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _request(line: dict[str, Any]) -> Sent:
    body = line["raw"].encode() if "raw" in line else json.dumps(line.get("body", {})).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": JSON_TYPE, **line.get("headers", {})}
    if "version" in line:
        headers["x-api-version"] = line["version"]
    plain = {name: value for name, value in headers.items() if value is not None}
    return Sent(line["path"], body, plain, line.get("method", "POST"))


def _reply(call: list[Any], fact: Fact) -> tuple[int, dict[str, Any]]:
    status = call[-1]
    if status >= 400:
        return status, {"error": {"message": fact.proven["says"].removeprefix("(Stripe Error) ")}}
    before = base_of(fact.line.get("before", []), fact.customer_id)
    stripe_id = {**before, **fact.proven.get("changed", {})}["stripe_id"]
    return status, {"object": "customer", "id": stripe_id}


def _stripe_call(call: list[Any], organisation: Organisation, version: str) -> StripeCall:
    method, path, form, key_kind, _ = call
    pairs = tuple((name, value) for name, value in form.items())
    return StripeCall(method, path, pairs, f"Bearer {organisation.stripe_key}", version, key_kind)
