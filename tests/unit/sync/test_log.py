"""The log line of a failed try: the code, and of an unexpected error also where it came from."""

import pytest
from structlog.testing import capture_logs

from jobs.errors import TryAgain
from jobs.plan.retry import History, Retry
from jobs.queue.record import as_text
from jobs.sync.log import log_again


def test_an_unexpected_error_is_logged_with_its_type_and_place() -> None:
    with pytest.raises(AttributeError) as raised:
        as_text({"ann@example.com": b""})  # type: ignore[dict-item]  # on purpose
    with capture_logs() as lines:
        log_again(raised.value, "unexpected", Retry(1.0), History(0, 0.0))
    assert lines[0]["error"] == "unexpected"
    assert lines[0]["cause"].startswith("AttributeError at jobs/queue/record.py:")
    assert "ann@example.com" not in str(lines)


def test_an_error_of_a_service_is_logged_by_its_code_alone() -> None:
    with capture_logs() as lines:
        log_again(TryAgain("autumn", "http_500", "ann@example.com"), "http_500", Retry(1.0), History(0, 0.0))
    assert lines == [
        {"event": "retry_scheduled", "log_level": "warning", "error": "http_500", "after_seconds": 1.0, "attempts": 0}
    ]
