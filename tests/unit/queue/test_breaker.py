"""The effect of a failed sync on the circuit breaker."""

import pytest

from jobs.errors import GiveUp, Halt, Limited, TryAgain
from jobs.queue.breaker import NOTHING_LEARNED, ServiceReport, report_of


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (TryAgain("stripe", "http_500"), ServiceReport("down", "stripe", "http_500")),
        (TryAgain("stripe", "http_500", is_replay=True), NOTHING_LEARNED),
        (TryAgain("autumn", "unexpected_response"), NOTHING_LEARNED),
        (Limited("stripe", "rate_limit", limit="stripe"), ServiceReport("works")),
        (GiveUp("stripe", "email_invalid"), NOTHING_LEARNED),
        (Halt("stripe", "invalid_key", "Set a key"), ServiceReport("halt", "stripe", "invalid_key", "Set a key")),
        (ValueError("any"), NOTHING_LEARNED),
    ],
)
def test_only_fresh_failures_mean_that_service_is_down(error: Exception, report: ServiceReport) -> None:
    assert report_of(error) == report
