"""`customer-sync doctor` on events: the permission for those of Stripe, the webhooks, and events over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.e2e.cli.test_doctor import run_json, verdicts


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


async def test_missing_permission_for_events_is_a_warning(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.missing_permissions.add("rak_event_read")
    code, lines = await run_json(box, tmp_path, STRIPE_API_KEY=box.stripe.restricted_key)
    assert code == 0
    assert verdicts(lines, "warning") == {"stripe-events"}
    assert "the watch is off" in lines["stripe-events"]["text"]
    assert lines["stripe-events"]["fix"] == "Add the permission Events: read to the key in Stripe"
    _, lines = await run_json(box, tmp_path, STRIPE_API_KEY=box.stripe.restricted_key, STRIPE_EVENTS_POLL_SECONDS="0")
    assert lines["stripe-events"]["verdict"] == "skipped"


@pytest.mark.parametrize(
    ("environment", "verdict", "text"),
    [
        ({}, "warning", "without PORT no webhook is received"),
        ({"PORT": "8080"}, "ok", "2 secrets of the right form for POST /stripe/webhook"),
        ({"PORT": "8080", "STRIPE_EVENTS_POLL_SECONDS": "0"}, "warning", "found only by a scan"),
    ],
)
async def test_webhooks_that_cannot_work_are_a_warning(
    box: Sandbox, tmp_path: Path, environment: dict[str, str], verdict: str, text: str
) -> None:
    code, lines = await run_json(box, tmp_path, STRIPE_WEBHOOK_SECRETS="whsec_one,whsec_two", **environment)
    assert code == 0
    assert lines["webhooks"]["verdict"] == verdict
    assert text in lines["webhooks"]["text"]
    assert "whsec_one" not in json.dumps(lines)


@pytest.mark.parametrize(
    ("environment", "verdict", "text"),
    [
        ({}, "ok", "no INTAKE_TOKENS"),
        ({"INTAKE_TOKENS": "shop:a-token-of-20-letters"}, "warning", "without PORT no event over HTTP is received"),
        ({"INTAKE_TOKENS": "shop:a-token-of-20-letters", "PORT": "8080"}, "ok", "1 token for POST /v1/events"),
    ],
)
async def test_tokens_without_a_port_are_a_warning(
    box: Sandbox, tmp_path: Path, environment: dict[str, str], verdict: str, text: str
) -> None:
    code, lines = await run_json(box, tmp_path, **environment)
    assert (code, lines["http-events"]["verdict"]) == (0, verdict)
    assert text in lines["http-events"]["text"]
    assert "a-token" not in json.dumps(lines)


async def test_malformed_webhook_secret_is_wrong(box: Sandbox, tmp_path: Path) -> None:
    code, lines = await run_json(box, tmp_path, STRIPE_WEBHOOK_SECRETS="whsec_one,sk_hidden")
    assert code == 1
    assert lines["settings"]["text"].startswith("STRIPE_WEBHOOK_SECRETS: secret 2 does not begin with whsec_")
    assert "hidden" not in json.dumps(lines)
