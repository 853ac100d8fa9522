"""When a customer is rechecked after a sync, one case a line."""

import pytest

from jobs.plan.recheck import RESTORE_AFTER_MS, Recheck, next_recheck


@pytest.mark.parametrize(
    ("waiting", "after_seconds", "reasons", "expected"),
    [
        ("", 60, set(), Recheck("")),
        ("", 60, {"may_echo"}, Recheck("echo", 60_000)),
        ("", 60, {"may_be_late"}, Recheck("whole", 60_000)),
        ("", 60, {"may_be_late", "may_echo"}, Recheck("whole", 60_000)),
        ("echo", 60, {"may_be_late"}, Recheck("whole", 60_000)),
        ("whole", 60, {"may_echo"}, Recheck("whole", 60_000)),
        ("whole", 60, set(), Recheck("whole")),
        ("", 60, {"has_unaccepted", "may_be_late"}, Recheck("whole", RESTORE_AFTER_MS)),
        ("", 0, {"has_unaccepted"}, Recheck("whole", RESTORE_AFTER_MS)),
        ("", 0, {"may_be_late", "may_echo"}, Recheck("")),
        ("echo", 0, {"may_be_late"}, Recheck("echo")),
    ],
)
def test_recheck_follows_from_what_sync_left(
    waiting: str, after_seconds: float, reasons: set[str], expected: Recheck
) -> None:
    chosen = next_recheck(
        waiting,
        after_seconds=after_seconds,
        has_unaccepted="has_unaccepted" in reasons,
        may_be_late="may_be_late" in reasons,
        may_echo="may_echo" in reasons,
    )
    assert chosen == expected
