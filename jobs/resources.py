"""What a job is handed: every door it may use, opened in one place and closed there again."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from jobs.autumn import AutumnClient
from jobs.customer import Mode
from jobs.mailbox import Mailbox
from jobs.policy import Policy
from jobs.rate_limit import Limits
from jobs.stripe_gateway import StripeGateway
from jobs.watch import NOBODY, Watch


@dataclass(frozen=True)
class Resources:
    """The doors and the few settings of a sync. `mode` is that of the keys; times are in seconds."""

    mailbox: Mailbox
    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    mode: Mode
    policy: Policy
    retry_for_seconds: float
    look_after_seconds: float
    """How long after a changed name or e-mail, or a write of unknown fate, a customer is looked at a second time."""
    random: random.Random
    now: Callable[[], float]
    """Seconds since the epoch."""
    watch: Watch = NOBODY
