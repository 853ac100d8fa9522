"""Alerts and queries evaluated by Prometheus itself: promtool's checks and unit tests of rules."""

import json
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import yaml

from tests.support.scrapes import INTERVAL_SECONDS, Scrape, input_series
from tests.tools import PROMTOOL, missing

ALERTS: Final = Path(__file__).parents[2] / "docs" / "alerts.yml"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
needs_promtool = pytest.mark.skipif(bool(missing([PROMTOOL])), reason=PROMTOOL.what_to_do)
"""Skip a test if there is no promtool, and say how to install it."""
LASTING: Final = 15
"""Minutes for which a state lasts after an alert's wait: the longest range of an expression."""
METRIC: Final = re.compile(r"\bcustomer_sync_\w+")
NOT_EMPTY: Final = re.compile(r'(?:alertname: (\w+)|expr: ("(?:[^"\\]|\\.)*")), time: ')


def metrics_of(expression: str) -> set[str]:
    """Return the names of our metrics in an expression."""
    return set(METRIC.findall(expression))


def waits_minutes(rule: Mapping[str, Any]) -> int:
    """Return how long an alert's expression has to hold before it fires."""
    number, unit = int(rule.get("for", "0m")[:-1]), rule.get("for", "0m")[-1]
    return number * {"m": 1, "h": 60}[unit]


def firing(quiet: Scrape, now: Scrape) -> set[str]:
    """Return the alerts that fire if the state of `now` lasts, after a worker in the state of `quiet`."""
    at_minutes = {rule["alert"]: waits_minutes(rule) + LASTING for rule in RULES}
    return firing_at(input_series([quiet, now], max(at_minutes.values())), at_minutes)


def firing_at(series: Sequence[Mapping[str, str]], at_minutes: Mapping[str, int]) -> set[str]:
    """Return the alerts that fire over these series, each evaluated at its minute."""
    tests = [{"alertname": alert, "eval_time": f"{minute}m", "exp_alerts": []} for alert, minute in at_minutes.items()]
    return _not_empty({"input_series": [*series], "alert_rule_test": tests})


def answered(queries: Collection[str], scrapes: Sequence[Scrape]) -> set[str]:
    """Return the queries that have a result for these scrapes, at the time of the last one."""
    at = f"{(len(scrapes) - 1) * INTERVAL_SECONDS}s"
    tests = [{"expr": query, "eval_time": at, "exp_samples": []} for query in queries]
    return _not_empty({"input_series": input_series(scrapes, 0), "promql_expr_test": tests})


def check_rules(rules: Path) -> None:
    """Let promtool check a file of rules. Raises: AssertionError, NoToolError."""
    ended = _promtool("check", "rules", str(rules))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _not_empty(test: dict[str, Any]) -> set[str]:
    """Return the alerts and expressions that have a result although none is expected.

    Raises: AssertionError, NoToolError.
    """
    interval = f"{INTERVAL_SECONDS}s"
    content = {"rule_files": [str(ALERTS)], "evaluation_interval": interval, "tests": [{"interval": interval, **test}]}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "test.yml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        ended = _promtool("test", "rules", str(path))
    output = ended.stdout + ended.stderr
    found = {alert or json.loads(quoted) for alert, quoted in NOT_EMPTY.findall(output)}
    assert (ended.returncode == 0) is not bool(found), output
    assert "err:" not in output, output
    return found


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROMTOOL.find(), *arguments], capture_output=True, text=True, check=False)
