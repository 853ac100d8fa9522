"""Run the property of `test_echo_property` with many more examples and another seed, to find new failures.

python -m tests.support.echoes.hunt --examples 5000 --seed 1
"""

import argparse
import logging

import structlog
from hypothesis import HealthCheck, seed, settings

from sandbox.redis import embedded_redis
from tests.integration.sync.test_echo_property import STEPS, property_on


def main() -> None:
    """Read the arguments, run, and raise the first failure in its shortest form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = settings(
        max_examples=options.examples,
        stateful_step_count=options.steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with embedded_redis(aof=False) as server:
        seed(options.seed)(property_on(server.url, chosen))()
    print(f"{options.examples} examples of {options.steps} steps with seed {options.seed}: no failure")


if __name__ == "__main__":
    main()
