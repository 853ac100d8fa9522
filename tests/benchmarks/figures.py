"""The figures: the meaning of each one, and its target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True)
class Measured:
    """The results of a part: figures by key, and other numbers for the arithmetic of docs/scale.md."""

    figures: Mapping[str, float]
    beside: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One figure of the table."""

    key: str
    what: str
    bound: Literal["at least", "at most"]
    target: float

    def holds(self, value: float) -> bool:
        """Whether a measured value meets the target."""
        return value >= self.target if self.bound == "at least" else value <= self.target


FIGURES: Final = (
    Figure("cpu_ratio_naive", "CPU for an event: the naive worker / ours, no limits, 50 in flight", "at least", 4),
    Figure("throughput_vs_bare", "events/s: one worker, no limits / the same calls in a bare loop", "at least", 0.45),
    Figure("calls_per_event", "HTTP calls for an event of a customer that was fetched before", "at most", 1.3),
    Figure("calls_per_event_name", "the same, each event changes the name", "at most", 2.1),
    Figure(
        "time_to_effect",
        "a new name: XADD to both sides agreeing / the bare calls one after the other (250 and 100 ms)",
        "at most",
        1.15,
    ),
    Figure("saturation_1", "achieved / configured rate of updates, 1 worker, no 429", "at least", 0.97),
    Figure("saturation_2", "the same with 2 workers", "at least", 0.97),
    Figure("saturation_4", "the same with 4 workers", "at least", 0.97),
    Figure("coalescing", "update calls / events, 10,000 events on 100 customers", "at most", 0.05),
    Figure("coalescing_time", "time for these / the naive worker's at the same limit", "at most", 1 / 15),
    Figure("latency_ms_p50", "from XADD to the recorded outcome, idle worker, calls that take no time", "at most", 10),
    Figure("latency_ms_p99", "the same, the slowest in a hundred", "at most", 25),
    Figure(
        "redis_commands_idle", "commands to Redis a second, idle worker, without those within scripts", "at most", 3
    ),
    Figure("idle_cpu_percent", "CPU of an idle worker, per cent of a core", "at most", 0.5),
    Figure("redis_round_trips_per_event", "waits for Redis for each event, 1 worker", "at most", 14),
    Figure("redis_round_trips_ratio_4", "the same with 4 workers / with 1", "at most", 1.25),
    Figure("redis_commands_per_event", "commands for each event, a script as one, 1 worker", "at most", 8),
    Figure("backlog_bytes_per_event", "Redis' memory for a waiting event, beyond its payload", "at most", 250),
    Figure("rss_mb_idle", "memory of an idle worker, MB", "at most", 110),
    Figure("rss_growth_mb", "its growth over 200,000 events (quick: 10,000), MB", "at most", 15),
    Figure("connections", "to each service, 50 in flight", "at most", 50),
    Figure("scan_vs_list", "a scan / bare lists of 100,000 customers (quick: 20,000), time", "at most", 1.25),
    Figure("scan_rss_mb", "its memory at the most, MB", "at most", 150),
    Figure("startup_s", "process start to first job done, beyond importing the libraries, s", "at most", 1),
)
