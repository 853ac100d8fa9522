"""The history of the customers with findings, line by line, for an investigation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sandbox.everything import Sandbox
from tests.chaos.evidence import Evidence, Finding


def write_traces(folder: Path, box: Sandbox, evidence: Evidence, findings: Sequence[Finding]) -> None:
    """Write a file for each customer of the findings, `trace-CUSTOMER.txt`."""
    for customer in {finding.about for finding in findings} & box.autumn.customers.keys():
        lines = sorted(_lines(customer, box), key=lambda line: line[0])
        began = lines[0][0] if lines else 0.0
        history = [f"       history  {item}" for item in evidence.history if item.customer == customer]
        text = "\n".join([*history, *(f"{at - began:10.3f}  {what}" for at, what in lines)])
        (folder / f"trace-{customer}.txt").write_text(text + "\n", encoding="utf-8")


def _lines(customer: str, box: Sandbox) -> Iterator[tuple[float, str]]:
    stripe_ids = {str(box.autumn.customers[customer]["stripe_id"])}
    for call in box.autumn.calls:
        if call.body.get("customer_id") == customer:
            yield call.started, f"Autumn   {call.path} {_without_id(call.body)} -> {call.status} until {call.ended:.3f}"
    for request in box.stripe.calls:
        if request.path.rsplit("/", 1)[-1] in stripe_ids:
            replayed = " replayed" if request.replayed else ""
            key = request.idempotency_key or ""
            yield request.at, f"Stripe   {request.method} {request.params} ({key}) -> {request.status}{replayed}"
    for copied in box.autumn.copied:
        if copied.customer_id == customer:
            yield copied.at, f"webhook  {copied.event_id} copied {copied.changed}"
    requests = {request.request_id: request.at for request in box.stripe.calls}
    for event in box.stripe.webhooks.events:
        if event["data"]["object"]["id"] in stripe_ids:
            shown = {name: event["data"]["object"].get(name) for name in ("name", "email")}
            by = event["request"]["idempotency_key"]
            yield (
                requests.get(event["request"]["id"], float(event["created"])),
                f"event    {event['id']} {shown} ({by})",
            )


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "customer_id"}
