"""Numbers that show how well a run went, without a right or wrong. Pure."""

from collections import defaultdict, deque
from collections.abc import Sequence

from sandbox.autumn.server import Call
from tests.chaos.evidence import Copied, Sent, Written

WINDOW_SECONDS = 1.0


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
