"""What a job is handed: every door it may use, opened in one place and closed there again."""

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
    """The doors and the few settings of a sync. `mode` is that of the keys; times are in seconds."""

    mailbox: Mailbox
    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    mode: Mode
    policy: Policy
    retry_for_seconds: float
    recheck_after_seconds: float
    """How long after a changed name or e-mail, or a write of unknown fate, a customer is looked at a second time."""
    random: random.Random
    now: Callable[[], float]
    """Seconds since the epoch."""
    observer: Observer = NOBODY
