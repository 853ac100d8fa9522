"""`customer-sync doctor` checks the notifications, and sends one only if it is asked for."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.support.commands import customer_sync
from tests.support.processes import environment_with
from tests.support.receiver import Receiver, receiving

SECRET = "a-secret-of-notifications"
Lines = dict[str, tuple[str, str]]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def run(box: Sandbox, folder: Path, *words: str, **environment: str) -> tuple[int, Lines]:
    """Return the exit code, and the verdict and text of each check about notifications."""
    code, output, errors = await customer_sync(
        *("doctor", "--json", *words), folder=folder, environment=environment_with({**box.environment, **environment})
    )
    assert errors == ""
    assert "a-token" not in output
    assert SECRET not in output
    lines = [json.loads(line) for line in output.splitlines()]
    return code, {each["check"]: (each["verdict"], each["text"]) for each in lines if "notification" in each["check"]}


async def test_doctor_sends_no_notification_by_itself(box: Sandbox, receiver: Receiver, tmp_path: Path) -> None:
    code, lines = await run(box, tmp_path, NOTIFY_URL=receiver.url, NOTIFY_SECRET=SECRET)
    assert code == 0
    assert lines == {"notifications": ("ok", "workers send them as json; --test-notification sends one now")}
    assert receiver.bodies == []


async def test_unset_and_unsigned_notifications_are_named(box: Sandbox, receiver: Receiver, tmp_path: Path) -> None:
    _, lines = await run(box, tmp_path)
    assert lines["notifications"] == ("ok", "no NOTIFY_URL, so no notifications are sent")
    code, lines = await run(box, tmp_path, NOTIFY_URL=receiver.url)
    assert (code, lines["notifications"][0]) == (0, "warning")
    _, lines = await run(box, tmp_path, NOTIFY_URL=receiver.url, NOTIFY_FORMAT="slack")
    assert lines["notifications"][0] == "ok"


async def test_test_notification_shows_the_answer(box: Sandbox, receiver: Receiver, tmp_path: Path) -> None:
    code, lines = await run(box, tmp_path, "--test-notification", NOTIFY_URL=receiver.url, NOTIFY_SECRET=SECRET)
    assert (code, lines["test-notification"][0]) == (0, "ok")
    assert [each["type"] for each in receiver.sent()] == ["test"]
    receiver.statuses = [404]
    code, lines = await run(box, tmp_path, "--test-notification", NOTIFY_URL=receiver.url)
    expected = ("wrong", "the receiver did not accept a test notification (http_404)")
    assert (code, lines["test-notification"]) == (1, expected)
    code, lines = await run(box, tmp_path, "--test-notification")
    assert (code, lines["test-notification"]) == (1, ("wrong", "NOTIFY_URL is not set"))
