"""Numbers that show how well a run went, without a right or wrong. Pure."""

import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sandbox.autumn.server import Call
from tests.chaos.evidence import Copied, Drift, Sent, Written

WINDOW_SECONDS = 1.0
BY_AUTUMN = "edits, by Autumn's webhook"


@dataclass(frozen=True)
class Noticed:
    """The ways in which a drift may be noticed.

    `by_webhook` are the events of Stripe that a webhook brought before a poll did. `scan_at` is the begin of the scan.
    """

    sent: Sequence[Sent]
    by_webhook: Collection[str]
    scan_at: float

    def agreement_seconds(self, drifts: Iterable[Drift]) -> dict[str, list[float]]:
        """Return the seconds from each drift to agreement, the shortest first, by what noticed it first."""
        sent_at: dict[str, list[float]] = defaultdict(list)
        for event in sorted(self.sent, key=lambda event: event.at):
            sent_at[event.customer].append(event.at)
        found: dict[str, list[float]] = defaultdict(list)
        for drift in drifts:
            if drift.agreed_at is not None:
                found[self._first(drift, drift.agreed_at, sent_at[drift.customer])].append(drift.agreed_at - drift.at)
        return {name: sorted(seconds) for name, seconds in sorted(found.items())}

    def notice_seconds(self, drifts: Iterable[Drift]) -> dict[str, list[float]]:
        """Return the seconds from each act to when the watch noticed it, the shortest first, by webhook or poll."""
        found: dict[str, list[float]] = defaultdict(list)
        for drift in drifts:
            if drift.noticed_at is not None:
                found[self._way(drift)].append(drift.noticed_at - drift.at)
        return {name: sorted(seconds) for name, seconds in sorted(found.items())}

    def _way(self, drift: Drift) -> str:
        is_webhook = any(event in self.by_webhook for event in drift.events)
        return "the watch, by webhook" if is_webhook else "the watch, by poll"

    def _first(self, drift: Drift, agreed_at: float, sent_at: Sequence[float]) -> str:
        place = bisect_right(sent_at, drift.at)
        event_at = sent_at[place] if place < len(sent_at) else math.inf
        noticed_at = math.inf if drift.noticed_at is None else drift.noticed_at
        first_at = min(event_at, noticed_at, self.scan_at)
        if drift.act == "write" and not drift.is_withheld:
            return BY_AUTUMN
        if first_at > agreed_at:
            return "another sync"
        if first_at == noticed_at:
            return self._way(drift)
        return "an event of the customer" if event_at < self.scan_at else "the scan"


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def over_limit(times: Sequence[float], per_second: int) -> int:
    """Return the number of requests that exceeded the limit of the second before them."""
    window: deque[float] = deque()
    over = 0
    for at in sorted(times):
        while window and window[0] <= at - WINDOW_SECONDS:
            window.popleft()
        if len(window) >= per_second:
            over += 1
        else:
            window.append(at)
    return over


def recoveries(killed_at: Sequence[float], calls: Sequence[Call]) -> list[float]:
    """Return the seconds from each kill to the next call for each customer whose call it cut off, shortest first.

    A call was cut off by a kill if it ran at that moment and its client got no answer.
    """
    by_customer: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_customer[str(call.body.get("customer_id"))].append(call)
    found = []
    for of_one in by_customer.values():
        for cut_off in of_one:
            kill = next(
                (at for at in killed_at if cut_off.status == 0 and cut_off.started <= at <= cut_off.ended), None
            )
            later = [call.started for call in of_one if kill is not None and call.started > kill]
            if kill is not None and later:
                found.append(min(later) - kill)
    return sorted(found)


def reverts(history: Sequence[Sent | Written], copied: Sequence[Copied]) -> int:
    """Return the number of webhook copies that replaced a name or e-mail written later than the copied one."""
    written: dict[tuple[str, str, str], int] = {}
    for place, item in enumerate(history):
        for name in ("name", "email"):
            if item.changes is not None and name in item.changes:
                written[item.customer, name, str(item.changes[name])] = place
    return sum(
        any(
            written.get((one.customer, name, str(after)), -1) < written.get((one.customer, name, str(before)), -1)
            for name, (before, after) in one.changed.items()
        )
        for one in copied
    )
