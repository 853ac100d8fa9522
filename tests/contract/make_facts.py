"""Make the tables in `tests/contract/data` from the recordings and schemas that `CONTRACT_DATA` names."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.contract import facts, fields, recordings
from tests.contract.exchange import KEY, Exchange, Organisation, Row, Sent
from tests.contract.facts import BLANK, base_of, proven
from tests.contract.recordings import History, Recording
from tests.contract.replay import Answer

_OF_A_WEBHOOK = ("id", "name", "email")
_OF_A_LIST = ("id", "email", "created_at", "stripe_id", "env")


def exchanges(all_recordings: list[recordings.Recording]) -> str:
    """Return the table of exchanges as text: one line for each, and one for each set of listed customers."""
    history, worlds, lines = History(all_recordings), dict[str, str](), []
    for recording in all_recordings:
        line = _left_out(recording) if recording.file in facts.LEFT_OUT else _line(recording, history, worlds)
        lines.append(f"{json.dumps(recording.file)}: {_short(line)}")
    replayed = [one for one in all_recordings if one.file not in facts.LEFT_OUT]
    (version,) = {call["headers"]["Stripe-Version"] for one in replayed for call in one.stripe_calls}
    named = [f"{json.dumps(name)}: {rows}" for rows, name in worlds.items()]
    return (
        f'{{"stripe_version": {json.dumps(version)},\n"worlds": {{\n{_joined(named)}\n}},\n'
        f'"exchanges": {{\n{_joined(lines)}\n}}}}\n'
    )


def _joined(lines: list[str]) -> str:
    return ",\n".join(lines)


def _line(recording: Recording, history: History, worlds: dict[str, str]) -> dict[str, Any]:
    exchange, after = history.exchange(recording), history.get_after(recording)
    base = base_of([_compact(row) for row in exchange.before], recording.body.get("customer_id"))
    line = {
        **_request(exchange.request, recording),
        "organisation": _differences(exchange.organisation),
        "before": _before(recording, exchange, worlds),
        "earlier": [one.file for one in history.with_the_same_key(recording)],
        "answer": proven(_answer(recording), base),
        "stripe": [_call(call) for call in _own_calls(recording, exchange)],
    }
    if recording.endpoint == "get_or_create":
        line["now"] = exchange.now_milliseconds
    if after is not None and exchange.after is not None and after.file not in facts.LEFT_OUT:
        line["after"] = {**_request(exchange.after, after), "answer": proven(_answer(after), base)}
    return {name: value for name, value in line.items() if value not in ([], {}, 0)}


def _left_out(recording: Recording) -> dict[str, Any]:
    answer = {"status": recording.status, "code": recording.answer.get("code")}
    return {
        "method": recording.request["method"],
        "path": recording.path,
        "version": recording.headers.get("x-api-version"),
        "answer": {name: value for name, value in answer.items() if value is not None},
        "stripe": [[call["method"], call["path"], call["status"]] for call in recording.stripe_calls],
    }


def _request(sent: Sent, recording: Recording) -> dict[str, Any]:
    usual = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    headers: dict[str, str | None] = {
        name: value
        for name, value in sent.headers.items()
        if usual.get(name) != value and name.lower() not in ("x-api-version", "stripe-signature")
    }
    headers |= {name: None for name in usual if name not in sent.headers}
    line: dict[str, Any] = {"path": sent.path}
    if sent.method != "POST":
        line["method"] = sent.method
    if "x-api-version" in sent.headers:
        line["version"] = sent.headers["x-api-version"]
    if headers:
        line["headers"] = headers
    if recording.endpoint == "webhook":
        return line | {"body": _webhook(recording.body)}
    if recording.request.get("raw_body") is not None:
        return line | {"raw": sent.body.decode()}
    return line | ({"body": recording.body} if recording.body else {})


def _webhook(event: dict[str, Any]) -> dict[str, Any]:
    customer = {name: event["data"]["object"].get(name) for name in _OF_A_WEBHOOK}
    request = {"idempotency_key": (event.get("request") or {}).get("idempotency_key")}
    return {"id": event["id"], "type": event["type"], "data": {"object": customer}, "request": request}


def _before(recording: Recording, exchange: Exchange, worlds: dict[str, str]) -> list[Row] | str:
    if recording.endpoint != "list":
        return [_compact(row) for row in exchange.before]
    rows = sorted((_listed(row) for row in exchange.before), key=lambda row: -row["created_at"])
    return worlds.setdefault(_short(rows), f"customers {len(worlds) + 1}")


def _compact(row: Row) -> Row:
    """Return the compared fields of a customer that have a value."""
    return {name: row[name] for name in facts.COMPARED if name in row and row[name] != BLANK.get(name, ...)}


def _listed(row: Row) -> Row:
    kept = {name: row[name] for name in _OF_A_LIST if name in row and row[name] != BLANK.get(name, ...)}
    for name in ("subscriptions", "purchases"):
        if row.get(name):
            kept[name] = [{"plan_id": held["plan_id"]} for held in row[name]]
    return kept


def _answer(recording: Recording) -> Answer:
    headers = {name.lower(): value for name, value in recording.response.get("headers", {}).items()}
    as_json = recording.response.get("json")
    return Answer(recording.status, headers, recording.response["text"] if as_json is None else json.dumps(as_json))


def _own_calls(recording: Recording, exchange: Exchange) -> Iterator[tuple[Any, int]]:
    own = len(recording.stripe_calls)
    last = exchange.stripe_calls[len(exchange.stripe_calls) - own :]
    return zip(last, (call["status"] for call in recording.stripe_calls), strict=True)


def _call(call: tuple[Any, int]) -> list[Any]:
    stripe_call, status = call
    return [stripe_call.method, stripe_call.path, dict(stripe_call.form), stripe_call.key_kind, status]


def _differences(organisation: Organisation) -> dict[str, Any]:
    usual = vars(Organisation())
    return {name: value for name, value in vars(organisation).items() if value != usual[name]}


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))


def main() -> int:
    """Write the tables. Return 1 if `CONTRACT_DATA` names no recordings."""
    folder = recordings.folder()
    if folder is None:
        sys.stderr.write("Set CONTRACT_DATA to the folder that has recordings/autumn and schemas.\n")
        return 1
    facts.FILE.write_text(exchanges(recordings.load(folder)))
    for path, text in fields.tables(folder.parent.parent / "schemas").items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
