"""The demo's verdict: everything that is wrong in the end, and the numbers that are shown.

Reads the simulators' own data, and of Redis only what events came to. What the worker says of its own work is shown,
never believed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sandbox.demo.comparison import (
    Difference,
    addresses_of,
    differences,
    lost_to_echoes,
    parallel_updates,
    stray_writes,
    writer_of,
    wrong_endings,
    wrong_receipts,
    wrong_updates,
)
from sandbox.demo.deployments import all_traffic
from sandbox.demo.run import Deployed
from sandbox.demo.view import Endpoint, Links, Receipts, Report
from sandbox.demo.world import Fate, Traffic
from sandbox.everything import Sandbox

TOO_MANY_REQUESTS: Final = 429
AUTUMNS_OWN_KEY: Final = "stripe-node-retry-"


class Verdict:
    """What was found when everything had ended."""

    def __init__(self, running: Sandbox, fleet: Sequence[Deployed], exit_codes: Sequence[int]) -> None:
        """Judges at once; `exit_codes` are those of the deployments' workers."""
        self._running, self._fleet = running, fleet
        self.traffic = all_traffic([each.deployment for each in fleet])
        autumn, stripe, traffic = running.autumn, running.stripe, self.traffic
        self._stray = stray_writes(stripe.writes, traffic)
        self._lost = lost_to_echoes(autumn.copied)
        self._wrong_customers = differences(
            traffic.expected, autumn.customers, stripe.customers, apart=traffic.apart, untouched=traffic.untouched
        ) + wrong_updates(traffic, autumn.calls, autumn.customers)
        self.differences = self._of_the_runs(exit_codes)
        if all(each.progress.is_over for each in fleet):
            # What is still on its way would only hide in a list of everything that is not yet equal.
            self.differences += self._wrong_customers
            self.differences += wrong_receipts(traffic, stripe.writes, stripe.payment_intents, stripe.mails)
        self.differences += self._stray + self._lost + parallel_updates(autumn.max_parallel_updates)

    @property
    def sent(self) -> int:
        """Events that were sent."""
        return sum(len(each.progress.sent) for each in self._fleet)

    @property
    def dead(self) -> int:
        """Dead letters."""
        return sum(len(each.progress.dead) for each in self._fleet)

    def report(self, seconds: float) -> Report:
        """The numbers, after so many seconds."""
        progresses = [each.progress for each in self._fleet]
        totals: Counter[str] = sum((Counter(each.totals) for each in progresses), Counter())
        wrong = {difference.about for difference in self._wrong_customers}
        ought = [*self.traffic.of(Fate.IN_SYNC), *self.traffic.of(Fate.HEALED)]
        return Report(
            in_sync=sum(planted.customer_id not in wrong for planted in ought),
            customers=len(ought),
            links=_links(self._running, self.traffic, wrong),
            sent=self.sent,
            applied=sum(each.applied for each in progresses),
            merged=totals["merged"],
            duplicates=totals["duplicates"],
            dead=sum((each.dead_by_reason() for each in progresses), Counter()),
            receipts=[_receipts(self._running, each) for each in self._fleet],
            writers=Counter(writer_of(write) for write in self._running.stripe.writes),
            stray=len(self._stray),
            webhooks=self._running.stripe.webhooks.delivered,
            lost_to_echoes=len(self._lost),
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
                found += wrong_endings({entry: sent.end for entry, sent in progress.sent.items()}, progress.endings)
            else:
                found.append(Difference(f"the events of {each.deployment.inbox}", "have not all come to an end"))
        return found


def _links(running: Sandbox, traffic: Traffic, wrong: set[str]) -> Links:
    healed = [planted for planted in traffic.of(Fate.HEALED) if planted.customer_id not in wrong]
    found_again = sum(
        running.autumn.customers[planted.customer_id]["stripe_id"] in {each.id for each in planted.stripe}
        for planted in healed
    )
    return Links(
        found_again=found_again,
        created=len(healed) - found_again,
        refused=sum(planted.customer_id not in wrong for planted in traffic.of(Fate.REFUSED)),
        unlinked=sum(planted.customer_id not in wrong for planted in traffic.of(Fate.UNLINKED)),
    )


def _receipts(running: Sandbox, each: Deployed) -> Receipts:
    payments = each.deployment.traffic.payments
    given = [address for payment in payments for address in addresses_of(payment, running.stripe.writes)]
    ids = {payment.id for payment in payments}
    return Receipts(
        mode=each.deployment.receipts,
        payments=len(payments),
        set=sum(address is not None for address in given),
        taken_back=given.count(None),
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
