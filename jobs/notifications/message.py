"""The texts of notifications, and the requests that carry them, as JSON or for Slack. Pure.

A notification holds customers' ids, counts and codes, never a name, an address, a value or a message of a service.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import JsonValue

from jobs.notifications.state import AlertMark, ReasonCount
from jobs.scan.compare import SCAN_KINDS
from jobs.scan.report import ScanRun

Format = Literal["json", "slack"]
Kind = Literal["dead_letters", "needs_review", "alert", "scan", "test"]
SIGNATURE_HEADER: Final = "Customer-Sync-Signature"
TEXT_MAX: Final = 2_900
"""The longest text. Slack allows 3,000 characters in a section."""
RUN_MAX: Final = 64
BLOCKS_MAX: Final = 50
"""Slack allows no more blocks in a message."""


@dataclass(frozen=True)
class Notification:
    """One notification. A repeated one has the same `id`. `details` are further fields for a program."""

    id: str
    kind: Kind
    text: str
    details: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """An alert of docs/alerts.yml that holds now, as `/readyz` says it. `details` are its codes, if it has any."""

    text: str
    details: Mapping[str, JsonValue] = field(default_factory=dict)


def dead_letters(count: ReasonCount, until: str) -> Notification:
    """Return the notification about the dead letters up to the id `until`."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in count.reasons.items())
    text = f"New dead letters: {_number(count)} ({reasons}). See `customer-sync dead list`.{_named(count)}"
    details: dict[str, JsonValue] = {
        "count": count.count,
        "is_complete": count.is_complete,
        "reasons": dict(count.reasons),
        "customers": list(count.customers),
    }
    return Notification(f"dead-letters:{until}", "dead_letters", text, details)


def needs_review(count: ReasonCount, until: str) -> Notification:
    """Return the notification about reconciles of the watch that found what needs review, up to the id `until`."""
    text = f"Links that need review after edits in Stripe: {_number(count)}. See `customer-sync status CUSTOMER`."
    details: dict[str, JsonValue] = {
        "count": count.count,
        "is_complete": count.is_complete,
        "customers": list(count.customers),
    }
    return Notification(f"needs-review:{until}", "needs_review", text + _named(count), details)


def _number(count: ReasonCount) -> str:
    return str(count.count) if count.is_complete else f"at least {count.count}"


def _named(count: ReasonCount) -> str:
    return f" Customers: {', '.join(count.customers)}." if count.customers else ""


def alert_began(name: str, mark: AlertMark, alert: Alert) -> Notification:
    """Return the notification that an alert began."""
    details = {"alert": name, "state": "began", "since_ms": mark.since_ms, **alert.details}
    return Notification(f"{name}:{mark.since_ms}", "alert", f"{name}: {alert.text}", details)


def alert_ended(name: str, mark: AlertMark) -> Notification:
    """Return the notification that an alert ended."""
    details: dict[str, JsonValue] = {"alert": name, "state": "ended", "since_ms": mark.since_ms}
    return Notification(f"{name}:{mark.since_ms}:ended", "alert", f"{name}: this has ended.", details)


def scan(run: ScanRun) -> Notification:
    """Return the notification about the findings of a scan."""
    findings: dict[str, JsonValue] = {kind: run.totals[kind] for kind in SCAN_KINDS if kind in run.totals}
    kinds = ", ".join(f"{number} {kind}" for kind, number in findings.items())
    name = run.run[:RUN_MAX]
    new = f" {run.changed.new} are new." if run.changed is not None else ""
    text = f"The scan found {run.findings} differences ({kinds}) and requested {run.requested} syncs.{new}"
    details: dict[str, JsonValue] = {
        "run": name,
        "state": run.state,
        "findings": findings,
        "new": None if run.changed is None else run.changed.new,
        "requested": run.requested,
    }
    return Notification(f"scan:{name}", "scan", text, details)


def body_of(notifications: Sequence[Notification], form: Format, *, deployment: str, mode: str) -> bytes:
    """Return the body of the request that carries the notifications. `deployment` is the key prefix."""
    parts = [(f"{deployment}:{each.id}", each.text[:TEXT_MAX], each) for each in notifications]
    body: dict[str, Any] = {
        "deployment": deployment,
        "mode": mode,
        "notifications": [{"id": name, "type": each.kind, "text": text, **each.details} for name, text, each in parts],
    }
    if form == "slack":
        blocks = [block for name, text, _ in parts for block in _blocks(name, text)]
        summary = " ".join(text for _, text, _ in parts)[:TEXT_MAX]
        body = {"text": _escaped(f"{deployment} ({mode}): {summary}"), "blocks": blocks[:BLOCKS_MAX]}
    return json.dumps(body, separators=(",", ":")).encode()


def signature_of(body: bytes, secret: str, now_seconds: int) -> str:
    """Return the value of SIGNATURE_HEADER, which has the form of a `Stripe-Signature`."""
    signed = f"{now_seconds}.".encode() + body
    return f"t={now_seconds},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _blocks(name: str, text: str) -> list[dict[str, Any]]:
    # Plain text, in which Slack reads no mention and no link.
    section = {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}
    return [section, {"type": "context", "elements": [{"type": "plain_text", "text": name, "emoji": False}]}]


def _escaped(text: str) -> str:
    """Escape the three characters that Slack reads as control characters in a message's text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
