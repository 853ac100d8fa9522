"""The demo's verdict: all differences at the end, and the numbers of the final tables.

It reads the simulators' data and, from Redis, the outcomes of events. It shows the worker's own numbers, but does not
rely on them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sandbox.demo.comparison import (
    Difference,
    addresses_of,
    differences,
    parallel_updates,
    reverted_by_echoes,
    stray_writes,
    writer_of,
    wrong_outcomes,
    wrong_receipts,
    wrong_updates,
)
from sandbox.demo.deployments import all_traffic
from sandbox.demo.run import Deployed
from sandbox.demo.view import Endpoint, Links, Receipts, Report
from sandbox.demo.world import Expected, Traffic
from sandbox.everything import Sandbox

TOO_MANY_REQUESTS: Final = 429
AUTUMNS_OWN_KEY: Final = "stripe-node-retry-"


class Verdict:
    """All differences of a finished run."""

    def __init__(self, running: Sandbox, fleet: Sequence[Deployed], exit_codes: Sequence[int]) -> None:
        """Find the differences. `exit_codes` has one code for each deployment's worker."""
        self._running, self._fleet = running, fleet
        self.traffic = all_traffic([each.deployment for each in fleet])
        autumn, stripe, traffic = running.autumn, running.stripe, self.traffic
        self._stray = stray_writes(stripe.writes, traffic)
        self._lost = reverted_by_echoes(autumn.copied)
        self._wrong_customers = differences(
            traffic.expected, autumn.customers, stripe.customers, apart=traffic.apart, untouched=traffic.untouched
        ) + wrong_updates(traffic, autumn.calls, autumn.customers)
        self.differences = self._of_the_runs(exit_codes)
        if all(each.progress.is_over for each in fleet):
            # Before that, the list of differences would hide the events without an outcome.
            self.differences += self._wrong_customers
            self.differences += wrong_receipts(traffic, stripe.writes, stripe.payment_intents, stripe.mails)
        self.differences += self._stray + self._lost + parallel_updates(autumn.max_parallel_updates)

    @property
    def sent(self) -> int:
        """The number of events that were sent."""
        return sum(len(each.progress.sent) for each in self._fleet)

    @property
    def dead(self) -> int:
        """The number of dead letters."""
        return sum(len(each.progress.dead) for each in self._fleet)

    def report(self, seconds: float) -> Report:
        """Return the numbers; the run took `seconds`."""
        progresses = [each.progress for each in self._fleet]
        totals: Counter[str] = sum((Counter(each.totals) for each in progresses), Counter())
        wrong = {difference.about for difference in self._wrong_customers}
        in_sync = [*self.traffic.of(Expected.IN_SYNC), *self.traffic.of(Expected.REPAIRED)]
        return Report(
            in_sync=sum(seeded.customer_id not in wrong for seeded in in_sync),
            customers=len(in_sync),
            links=_links(self._running, self.traffic, wrong),
            edits_repaired=sum(edit.customer_id not in wrong for edit in self.traffic.edits),
            sent=self.sent,
            applied=sum(each.applied for each in progresses),
            merged=totals["merged"],
            duplicates=totals["duplicates"],
            dead=sum((each.dead_by_reason() for each in progresses), Counter()),
            receipts=[_receipts(self._running, each) for each in self._fleet],
            writers=Counter(writer_of(write) for write in self._running.stripe.writes),
            stray=len(self._stray),
            webhooks=self._running.stripe.webhooks.delivered,
            reverted_by_echoes=len(self._lost),
            endpoints=_endpoints(self._running),
            most_parallel=max(self._running.autumn.max_parallel_updates.values(), default=0),
            seconds=seconds,
        )

    def _of_the_runs(self, exit_codes: Sequence[int]) -> list[Difference]:
        found = []
        for each, exit_code in zip(self._fleet, exit_codes, strict=True):
            if exit_code:
                found.append(Difference(f"the worker of {each.deployment.prefix}", f"ended with exit code {exit_code}"))
            progress = each.progress
            found += progress.missing()
            if progress.is_over:
                found += wrong_outcomes(
                    {entry: sent.outcome for entry, sent in progress.sent.items()}, progress.outcomes
                )
            else:
                found.append(Difference(f"the events of {each.deployment.inbox}", "do not all have an outcome"))
        return found


def _links(running: Sandbox, traffic: Traffic, wrong: set[str]) -> Links:
    repaired = [seeded for seeded in traffic.of(Expected.REPAIRED) if seeded.customer_id not in wrong]
    found = sum(
        running.autumn.customers[seeded.customer_id]["stripe_id"] in {each.id for each in seeded.stripe}
        for seeded in repaired
    )
    return Links(
        found=found,
        created=len(repaired) - found,
        refused=sum(seeded.customer_id not in wrong for seeded in traffic.of(Expected.REFUSED)),
        unlinked=sum(seeded.customer_id not in wrong for seeded in traffic.of(Expected.UNLINKED)),
    )


def _receipts(running: Sandbox, each: Deployed) -> Receipts:
    payments = each.deployment.traffic.payments
    given = [address for payment in payments for address in addresses_of(payment, running.stripe.writes)]
    ids = {payment.id for payment in payments}
    return Receipts(
        mode=each.deployment.receipts,
        payments=len(payments),
        set=sum(address is not None for address in given),
        cleared=given.count(None),
        mailed=sum(mail.payment_intent in ids for mail in running.stripe.mails),
    )


def _endpoints(running: Sandbox) -> list[Endpoint]:
    calls: Counter[tuple[str, str]] = Counter()
    too_many: Counter[tuple[str, str]] = Counter()
    for at_autumn in running.autumn.calls:
        name = ("Autumn", at_autumn.path.removeprefix("/v1/"))
        calls[name] += 1
        too_many[name] += at_autumn.status == TOO_MANY_REQUESTS
    for at_stripe in running.stripe.calls:
        own = (at_stripe.idempotency_key or "").startswith(AUTUMNS_OWN_KEY)
        name = ("Stripe", at_stripe.endpoint + (" (by Autumn itself)" if own else ""))
        calls[name] += 1
        too_many[name] += at_stripe.status == TOO_MANY_REQUESTS
    return [Endpoint(*name, count, too_many[name]) for name, count in sorted(calls.items())]
