"""The length and roughness of a run. The same options give the same plan."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The size of a run. The defaults are a full run.

    `kills` are SIGKILLs and SIGTERMs together, `stops` are SIGSTOPs with the SIGCONT that follows. `faults` scales the
    probabilities of the services' faults: 0 is none. `worker` names other arq settings than the Procfile's. Webhooks
    are up to `webhook_seconds` late. `without_change`: Stripe also announces writes that change nothing. `other_writes`
    are those of other apps and of people. `settle_seconds` stops a run that never ends although it makes progress.

    `calm_acts` are acts of people in Stripe, and payments that begin, on `calm_customers`. These get no events of apps,
    so only the watch can notice the acts. Stripe lists its events up to `list_seconds` late, and never makes the share
    `withheld` of those of people. The workers poll each `poll_seconds`. Until as many acts have ended as the plan has
    in its first part, `webhook_share`, Stripe also sends the events to the workers, up to `event_webhook_seconds` late.
    The time of the plan, `seconds`, stands still while no worker is ready.
    """

    seed: int = 42
    events: int = 20_000
    customers: int = 1_000
    kills: int = 200
    stops: int = 20
    redis_restarts: int = 8
    faults: float = 1.0
    hang_seconds: float = 2.5
    doubled_wakeups: int = 200
    max_in_flight: int = 6
    workers: int = 3
    webhook_seconds: float = 3.0
    without_change: bool = False
    other_writes: int = 1_000
    calm_customers: int = 150
    calm_acts: int = 900
    withheld: float = 0.01
    list_seconds: float = 20.0
    poll_seconds: int = 5
    webhook_share: float = 0.5
    event_webhook_seconds: float = 10.0
    seconds: float = 600.0
    settle_seconds: float = 1800.0
    worker: str = ""


SHORT = Options(
    events=2_400,
    customers=120,
    kills=18,
    stops=3,
    redis_restarts=2,
    doubled_wakeups=40,
    webhook_seconds=4.0,
    other_writes=60,
    calm_customers=30,
    calm_acts=90,
    withheld=0.05,
    list_seconds=4.0,
    poll_seconds=2,
    event_webhook_seconds=2.0,
    seconds=32.0,
)
"""The form that the tests can afford: about a minute on an idle machine."""
