"""An overview of a deployment without work, for tests to begin with."""

from jobs.queue.status import Overview

NOW_MS = 1_800_000_000_000
IDLE = Overview(
    now_ms=NOW_MS,
    inbox=0,
    waiting=0,
    working=0,
    oldest_sent_ms=None,
    dead=0,
    newest_dead_ms=None,
    last_success_ms=None,
    totals={},
    breaker=None,
)
