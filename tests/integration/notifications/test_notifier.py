"""Notifications on a real Redis and to a real receiver: sent once, again after a failure, without personal data."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import pytest
import stripe
from redis.asyncio import Redis
from structlog.testing import capture_logs

from jobs.notifications.state import CUSTOMERS_NAMED, NotificationKeys, NotificationQueue, read_notifications
from jobs.queue.breaker import breaker_key
from jobs.queue.dead_letters import DeadLetters
from jobs.queue.record import read_totals
from jobs.scan.record import ScanRecord
from jobs.scan.report import Changed, RunState, ScanRun
from tests.conftest import INBOX, PREFIX
from tests.support.notifying import notifier_of, send_due
from tests.support.receiver import HANGS, Receiver, answering

KEYS: Final = NotificationKeys(PREFIX)
DEAD: Final = f"{PREFIX}:dead"
SECRET: Final = "a-secret-of-notifications"
NOW_MS: Final = int(time.time() * 1000)


async def add_dead_letter(redis: Redis, customer: str = "ann", reason: str = "invalid_event") -> str:
    """Add a dead letter as `settle.lua` writes it."""
    letter: dict[str, str] = {
        **{"entry": "5-0", "customer": customer, "reason": reason, "message": "Ann Secret", "attempts": "1"},
        **{"since": "", "sent.customer_id": customer, "sent.changes": '{"email":"ann@example.com"}'},
    }
    return str((await redis.xadd(DEAD, dict(letter.items()))).decode())


async def halt(redis: Redis, since_ms: int = NOW_MS) -> None:
    """Open the breaker as `settle.lua` does after a halt."""
    fields = {"opened": "1", "kind": "halt", "since": str(since_ms), "service": "stripe", "reason": "invalid_key"}
    await redis.hset(breaker_key(PREFIX), mapping={**fields, "message": "Ann Secret"})  # type: ignore[misc]  # one type for both clients


def run_of(name: str, state: RunState = "done", totals: Mapping[str, int] | None = None) -> ScanRun:
    return ScanRun(name, state, NOW_MS, NOW_MS, 10, 10, totals or {}, requested=2, changed=Changed(1, 0, 2))


async def test_dead_letters_are_counted_by_reason_and_sent_once(redis: Redis, receiver: Receiver) -> None:
    for customer, reason in (("ann", "invalid_event"), ("", "invalid_event"), ("ben", "needs-review")):
        newest = await add_dead_letter(redis, customer, reason)
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    (sent,) = receiver.sent()
    assert sent["id"] == f"{PREFIX}:dead-letters:{newest}"
    assert (sent["type"], sent["count"], sent["is_complete"]) == ("dead_letters", 3, True)
    assert sent["reasons"] == {"invalid_event": 2, "needs-review": 1}
    assert sent["customers"] == ["ben", "ann"]
    assert "3 (2 invalid_event, 1 needs-review)" in sent["text"]
    await send_due(redis, notifier)
    assert len(receiver.bodies) == 1
    await add_dead_letter(redis, "cy")
    await send_due(redis, notifier)
    assert [each["customers"] for each in receiver.sent()] == [["cy"]]


async def test_no_notification_holds_personal_data(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis, "ann@example.com", "Ann Secret")
    await halt(redis)
    await ScanRecord(redis, PREFIX).end(run_of("one", totals={"foreign": 3}))
    for form in ("json", "slack"):
        await redis.delete(KEYS.state)
        with capture_logs() as logged:
            await notifier_of(redis, receiver, NOTIFY_FORMAT=form, NOTIFY_SECRET=SECRET).tick()
        shown = receiver.bodies[-1].decode() + json.dumps(logged)
        assert "dead letters: 1 (1 other)" in shown
        assert [secret for secret in ("Ann", "@", SECRET, "a-token") if secret in shown] == []


async def test_customers_are_few_and_those_that_need_review_come_first(redis: Redis, receiver: Receiver) -> None:
    for number in range(100):
        await add_dead_letter(redis, f"customer-{number}")
    await add_dead_letter(redis, "ann", "needs-review")
    await notifier_of(redis, receiver).tick()
    (sent,) = receiver.sent()
    assert sent["customers"] == ["ann", *(f"customer-{number}" for number in range(CUSTOMERS_NAMED - 1))]


async def test_two_processes_send_one_request(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    await asyncio.gather(*(notifier_of(redis, receiver).tick() for _ in range(5)))
    await notifier_of(redis, receiver).tick()
    assert len(receiver.bodies) == 1


async def test_next_request_is_due_after_a_minute(redis: Redis, receiver: Receiver) -> None:
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    await add_dead_letter(redis)
    await notifier.tick()
    assert receiver.bodies == []
    seconds, _ = await redis.time()
    next_ms = int(await redis.hget(KEYS.state, "next_ms") or 0)  # type: ignore[misc]  # one type for both clients
    assert 0 < next_ms - seconds * 1000 <= 61_000


async def test_interrupted_request_is_repeated_with_the_same_ids(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    await halt(redis)
    receiver.statuses = [HANGS]
    task = asyncio.create_task(notifier_of(redis, receiver).tick())
    await receiver.reaches(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await redis.exists(KEYS.lease)
    await add_dead_letter(redis, "ben")
    other = notifier_of(redis, receiver)
    await other.tick()
    assert receiver.bodies[1] == receiver.bodies[0]
    await send_due(redis, other)
    assert [each["customers"] for each in receiver.sent()] == [["ben"]]


async def test_end_of_an_alert_is_sent_after_a_kill_before_the_note(redis: Redis, receiver: Receiver) -> None:
    await halt(redis)
    receiver.statuses = [HANGS]
    killed = asyncio.create_task(notifier_of(redis, receiver).tick())
    await receiver.reaches(1)
    # As if the process was killed: its lease expires, and it notes nothing.
    await redis.delete(KEYS.lease)
    await redis.delete(breaker_key(PREFIX))
    await notifier_of(redis, receiver).tick()
    (began,), (ended,) = receiver.sent(0), receiver.sent(1)
    assert ended["id"] == f"{began['id']}:ended"
    assert (began["state"], ended["state"]) == ("began", "ended")
    killed.cancel()
    await asyncio.wait({killed})
    await send_due(redis, notifier_of(redis, receiver))
    assert len(receiver.bodies) == 2


async def test_process_without_its_lease_changes_nothing(redis: Redis) -> None:
    slow, fast = NotificationQueue(redis, PREFIX), NotificationQueue(redis, PREFIX)
    await slow.begin()
    await redis.delete(KEYS.lease)
    assert await fast.begin() is not None
    assert not await slow.note({"scan": "old"})
    assert await fast.note({"scan": "new"})
    assert (await read_notifications(redis, PREFIX)).scan == "new"


async def test_failed_request_is_repeated_later_and_counted(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    receiver.statuses = [500, 302, 410]
    notifier = notifier_of(redis, receiver)
    for tries, error in enumerate(("http_500", "http_302", "http_410"), 1):
        with capture_logs() as logged:
            await send_due(redis, notifier)
        (line,) = logged
        assert (line["event"], line["error"], line["tries"]) == ("notifications_failed", error, tries)
        assert line["after_seconds"] == 60 * 2 ** (tries - 1)
        # The next try is not due yet.
        await notifier.tick()
        assert len(receiver.bodies) == tries
    state = await read_notifications(redis, PREFIX)
    assert state.failures == 3
    assert state.unsent_since_ms is not None
    await send_due(redis, notifier)
    assert len({body for body in receiver.bodies}) == 1
    state = await read_notifications(redis, PREFIX)
    assert (state.failures, state.unsent_since_ms) == (0, None)
    totals = await read_totals(redis, PREFIX)
    assert (totals["notification_requests_failed"], totals["notification_requests_sent"]) == (3, 1)


async def test_receiver_that_is_away_is_a_failure(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    receiver.url = "http://127.0.0.1:1/notify?token=a-token"
    with capture_logs() as logged:
        await notifier_of(redis, receiver).tick()
    assert [line["error"] for line in logged] == ["ClientConnectorError"]


@pytest.mark.parametrize(
    ("head", "endless", "is_accepted"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, True),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", b"", True),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000, False),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536, False),
        (b"HTTP/1.1 \xff\xfe\r\n\r\n", b"", False),
        (b"SSH-2.0-server\r\n", b"", False),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=\x00\r\n\r\n", b"", False),
        (b"", b"", False),
    ],
)
async def test_any_answer_of_a_receiver_is_a_result(
    redis: Redis, receiver: Receiver, head: bytes, endless: bytes, is_accepted: bool
) -> None:
    await add_dead_letter(redis)
    async with answering(head, endless) as receiver.url:
        await notifier_of(redis, receiver).tick()
    assert (await read_notifications(redis, PREFIX)).failures == (not is_accepted)
    assert not await redis.exists(KEYS.lease)


async def test_receiver_gets_after_a_day_only_what_still_matters(redis: Redis, receiver: Receiver) -> None:
    first = await add_dead_letter(redis, "ann")
    await add_dead_letter(redis, "ben")
    await halt(redis)
    receiver.statuses = [503, 503]
    notifier = notifier_of(redis, receiver)
    await send_due(redis, notifier)
    await DeadLetters(redis, inbox=INBOX, prefix=PREFIX).drop([first])
    await redis.delete(breaker_key(PREFIX))
    await add_dead_letter(redis, "cy")
    await send_due(redis, notifier)
    await send_due(redis, notifier)
    letters, ended = receiver.sent()
    assert letters["id"] == receiver.sent(0)[0]["id"]
    assert letters["customers"] == ["ben"]
    assert ended["state"] == "ended"
    await send_due(redis, notifier)
    assert [each["customers"] for each in receiver.sent()] == [["cy"]]


async def test_many_dead_letters_are_counted_to_a_limit(redis: Redis) -> None:
    for number in range(150):
        await add_dead_letter(redis, reason=f"reason_{number % 30}")
    for limit, complete in ((1_000, True), (100, False)):
        queue = NotificationQueue(redis, PREFIX, entries_counted=limit)
        state = await queue.begin()
        assert state is not None
        count = await queue.count_dead_letters(state)
        assert count.is_complete == complete
        assert count.count == (150 if complete else 128)
        assert (len(count.reasons), "other" in count.reasons) == (21, True)
        await queue.note({})


async def test_new_stream_of_dead_letters_is_read_from_its_beginning(redis: Redis, receiver: Receiver) -> None:
    await redis.xadd(DEAD, {"reason": "invalid_event"}, id="99999999999999-0")
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    await redis.delete(DEAD)
    await send_due(redis, notifier)
    await add_dead_letter(redis, "ben")
    await send_due(redis, notifier)
    assert [each["customers"] for each in receiver.sent()] == [["ben"]]


@pytest.mark.parametrize("garbage", ["x", "5", "99999999999999999999-0", '{"A": 1}', "[]", '{"A": [1e999, 1]}'])
async def test_unreadable_state_is_ignored(redis: Redis, receiver: Receiver, garbage: str) -> None:
    await add_dead_letter(redis)
    fields = ("dead_after", "dead_until", "alerts", "scan", "failures", "unsent_since_ms", "next_ms")
    await redis.hset(KEYS.state, mapping=dict.fromkeys(fields, garbage))  # type: ignore[misc]  # one type for both clients
    notifier = notifier_of(redis, receiver)
    await send_due(redis, notifier)
    await add_dead_letter(redis, "ben")
    await send_due(redis, notifier)
    assert "ben" in receiver.sent()[0]["customers"]


async def test_halt_is_sent_with_its_codes_once_and_its_end(redis: Redis, receiver: Receiver) -> None:
    await halt(redis)
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    (began,) = receiver.sent()
    assert (began["type"], began["alert"], began["state"]) == ("alert", "CustomerSyncHalted", "began")
    assert (began["service"], began["reason"]) == ("stripe", "invalid_key")
    await send_due(redis, notifier)
    assert len(receiver.bodies) == 1
    await redis.delete(breaker_key(PREFIX))
    await send_due(redis, notifier)
    await send_due(redis, notifier)
    assert [each["state"] for each in receiver.sent()] == ["ended"]
    assert len(receiver.bodies) == 2


async def test_short_outage_needs_no_person_and_a_long_one_does(redis: Redis, receiver: Receiver) -> None:
    notifier = notifier_of(redis, receiver)
    for seconds, requests in ((0, 0), (600, 1)):
        await halt(redis, int(1000 * (time.time() - seconds)))
        await redis.hset(breaker_key(PREFIX), mapping={"kind": "outage", "reason": "http_503"})  # type: ignore[misc]  # one type for both clients
        await send_due(redis, notifier)
        assert len(receiver.bodies) == requests
    assert receiver.sent()[0]["reason"] == "http_503"


async def test_newest_scan_with_drift_is_sent_once(redis: Redis, receiver: Receiver) -> None:
    record, notifier = ScanRecord(redis, PREFIX), notifier_of(redis, receiver)
    await record.end(run_of("one", totals={"gone": 1}))
    await record.end(run_of("two", totals={"foreign": 2, "profile-drift": 1}))
    await send_due(redis, notifier)
    (sent,) = receiver.sent()
    assert (sent["id"], sent["type"]) == (f"{PREFIX}:scan:two", "scan")
    assert (sent["findings"], sent["new"], sent["requested"]) == ({"foreign": 2, "profile-drift": 1}, 1, 2)
    await record.end(run_of("three"))
    await send_due(redis, notifier)
    assert len(receiver.bodies) == 1
    await record.end(run_of("four", "failed", {"gone": 1}))
    await send_due(redis, notifier)
    assert [each["alert"] for each in receiver.sent()] == ["CustomerSyncScanFailed"]


async def test_scan_with_only_information_is_not_sent(redis: Redis, receiver: Receiver) -> None:
    record, notifier = ScanRecord(redis, PREFIX), notifier_of(redis, receiver)
    for name, totals, requests in (("one", {}, 0), ("two", {"gone": 1}, 1)):
        await record.end(run_of(name, totals={"billed-elsewhere": 3, **totals}))
        await send_due(redis, notifier)
        assert len(receiver.bodies) == requests
    assert receiver.sent()[0]["findings"] == {"gone": 1, "billed-elsewhere": 3}


async def test_signature_is_that_of_the_scheme_of_stripe(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    await notifier_of(redis, receiver, NOTIFY_SECRET=SECRET).tick()
    (body,), (headers,) = receiver.bodies, receiver.headers
    signature = headers["Customer-Sync-Signature"]
    # Stripe's own library checks it, and refuses another body or secret.
    assert stripe.WebhookSignature.verify_header(body, signature, SECRET, tolerance=300)
    for other_body, secret in ((body + b" ", SECRET), (body, "another-secret-of-all")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(other_body, signature, secret)


async def test_without_a_secret_nothing_is_signed(redis: Redis, receiver: Receiver) -> None:
    await add_dead_letter(redis)
    await notifier_of(redis, receiver).tick()
    assert "Customer-Sync-Signature" not in receiver.headers[0]


async def test_slack_gets_the_fields_of_its_incoming_webhooks(redis: Redis, receiver: Receiver) -> None:
    for number in range(CUSTOMERS_NAMED):
        await add_dead_letter(redis, f"customer-{number}-{'x' * 480}")
    await halt(redis)
    await notifier_of(redis, receiver, NOTIFY_FORMAT="slack").tick()
    message: dict[str, Any] = json.loads(receiver.bodies[0])
    assert message.keys() == {"text", "blocks"}
    assert message["text"].startswith(f"{PREFIX} (test): New dead letters: 20 (20 invalid_event).")
    assert [block["type"] for block in message["blocks"]] == ["section", "context"] * 2
    sections = [block["text"] for block in message["blocks"] if block["type"] == "section"]
    assert all(text["type"] == "plain_text" and 0 < len(text["text"]) <= 3_000 for text in sections)
    (shown,) = message["blocks"][1]["elements"]
    assert shown["text"].startswith(f"{PREFIX}:dead-letters:")
