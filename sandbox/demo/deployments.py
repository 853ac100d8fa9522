"""The demo's three deployments, which share one Redis and one account of each service.

Each has its settings and its traffic. The rates of all three together stay below those of the services.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

from sandbox.demo.links import make_edits, make_links, make_receipts
from sandbox.demo.traffic import make_traffic
from sandbox.demo.world import Mode, Traffic

LIVE_FACTOR: Final = 4
"""In live mode Stripe allows 100 requests a second, four times as many as for one endpoint."""
SHARED_NUMBER: Final = 2
"""The index of the everyday customer whose Stripe customer another Autumn customer is linked to as well."""


@dataclass(frozen=True)
class Deployment:
    """Workers of one configuration. Each deployment has its own inbox and its own prefix of Redis keys."""

    receipts: Mode
    traffic: Traffic
    inbox: str
    prefix: str
    calls_per_second: int
    """The rate for Autumn and for each endpoint of Stripe. Each allows 25 to all deployments together."""
    in_flight: int
    """The parallel updates of Autumn."""
    poll_seconds: int = 0
    """The pause between two polls of Stripe's events; 0 for none. One deployment follows them for all."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Return its environment variables, without addresses and keys."""
        return {
            "INBOX_STREAM": self.inbox,
            "KEY_PREFIX": self.prefix,
            "RECEIPTS": self.receipts,
            "AUTUMN_UPDATES_PER_SECOND": str(self.calls_per_second),
            "AUTUMN_MAX_IN_FLIGHT": str(self.in_flight),
            "STRIPE_REQUESTS_PER_SECOND": str(LIVE_FACTOR * self.calls_per_second),
            "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": str(self.calls_per_second),
            "STRIPE_EVENTS_POLL_SECONDS": str(self.poll_seconds),
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
        }


def make_deployments(seed: int) -> tuple[Deployment, ...]:
    """Return the main deployment with the everyday traffic and the links, and two small ones for the other modes."""
    everyday = make_traffic(seed)
    shared = everyday.customers[SHARED_NUMBER].stripe[0].id
    main = everyday + make_links(shared) + make_receipts("mirror") + make_edits()
    return (
        Deployment(
            "mirror", main, "customer-updates", "customer-sync", calls_per_second=12, in_flight=4, poll_seconds=1
        ),
        _small("open"),
        _small("recover"),
    )


def all_traffic(deployments: Iterable[Deployment]) -> Traffic:
    """Return the traffic of all deployments together."""
    return reduce(add, (deployment.traffic for deployment in deployments))


def _small(mode: Mode) -> Deployment:
    return Deployment(
        mode, make_receipts(mode), f"customer-updates-{mode}", f"customer-sync-{mode}", calls_per_second=2, in_flight=2
    )
