"""The dependencies of the sync job: its clients and settings. They are opened and closed in one place."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from jobs.autumn.client import AutumnClient
from jobs.observer import NOBODY, Observer
from jobs.plan.customer import Mode
from jobs.plan.policy import Policy
from jobs.queue.mailbox import Mailbox
from jobs.rate_limit import Limits
from jobs.stripe.client import StripeGateway


@dataclass(frozen=True)
class Deps:
    """The clients and settings of a sync. `mode` is the mode of the API keys. Times are in seconds."""

    mailbox: Mailbox
    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    mode: Mode
    policy: Policy
    retry_for_seconds: float
    recheck_after_seconds: float
    """The time from a changed name or e-mail, or from a write of unknown fate, to the recheck."""
    link_trust_seconds: float
    """The time from a fetch in which a sync may write without another one. 0: each sync fetches."""
    random: random.Random
    now: Callable[[], float]
    """Seconds since the epoch."""
    observer: Observer = NOBODY
