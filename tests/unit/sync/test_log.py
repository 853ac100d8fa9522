"""The log line of a failed sync: the code, and for an unexpected error also its code locations."""

import pytest
from structlog.testing import capture_logs

from jobs.autumn.errors import error_from
from jobs.errors import TryAgain
from jobs.plan.retry import History, Retry
from jobs.queue.record import as_text
from jobs.sync.log import log_retry


def test_unexpected_error_is_logged_with_type_and_location() -> None:
    with pytest.raises(AttributeError) as raised:
        as_text({"ann@example.com": b""})  # type: ignore[dict-item]  # on purpose
    with capture_logs() as lines:
        log_retry(raised.value, "unexpected", Retry(1.0), History(0, 0.0))
    assert lines[0]["error"] == "unexpected"
    assert lines[0]["cause"].startswith("AttributeError at jobs/queue/record.py:")
    assert "ann@example.com" not in str(lines)


def test_service_error_is_logged_only_by_code() -> None:
    with capture_logs() as lines:
        log_retry(TryAgain("autumn", "http_500", "ann@example.com"), "http_500", Retry(1.0), History(0, 0.0))
    assert lines == [
        {"event": "retry_scheduled", "log_level": "warning", "error": "http_500", "after_seconds": 1.0, "attempts": 0}
    ]


def test_halt_is_logged_with_its_fix_and_without_the_services_answer() -> None:
    body = b'{"message": "ann@example.com has no access", "code": "invalid_secret_key", "env": "sandbox"}'
    error = error_from(401, {}, body, writing=True)
    assert "ann@example.com" in error.message
    with capture_logs() as lines:
        log_retry(error, error.code, Retry(15.0), History(0, 0.0))
    assert lines == [
        {
            "event": "work_halted",
            "log_level": "error",
            "error": "invalid_secret_key",
            "fix": "Replace AUTUMN_SECRET_KEY: Autumn does not know this key.",
            "after_seconds": 15.0,
            "attempts": 0,
        }
    ]
