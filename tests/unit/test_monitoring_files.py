"""docs/alerts.yml and docs/grafana.json are complete, and agree with /readyz and the runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dashboard import DASHBOARD, PANELS, QUERIES
from tests.support.promtool import RULES, check_rules, metrics_of, needs_promtool
from worker.status import health

ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for rule in RULES}
WIDTH = 24


def test_every_alert_has_severity_meaning_and_runbook_link() -> None:
    assert len(ALERTS) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith((".", "?"))
        anchor = re.sub(r"(?<!^)([A-Z])", r"-\1", rule["alert"]).lower()
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{anchor}"


@pytest.mark.parametrize(
    ("alert", "seconds"),
    [
        ("CustomerSyncOldestEventTooOld", health.OLDEST_SECONDS),
        ("CustomerSyncNoSuccess", health.NO_SUCCESS_SECONDS),
        ("CustomerSyncDeadLetters", health.DEAD_LETTER_SECONDS),
    ],
)
def test_alerts_and_readyz_share_thresholds(alert: str, seconds: float) -> None:
    assert f" {seconds:.0f}" in ALERTS[alert]


def test_outage_alert_and_readyz_share_the_delay() -> None:
    (rule,) = [rule for rule in RULES if rule["alert"] == "CustomerSyncOutage"]
    assert rule["for"] == f"{health.OUTAGE_SECONDS / 60:.0f}m"


def test_metrics_common_to_all_workers_are_never_summed() -> None:
    for expression in ALERTS.values():
        shared = [name for name in metrics_of(expression) if not name.startswith("customer_sync_worker_")]
        assert not shared or "sum" not in expression


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_only_per_worker_metrics_are_summed(query: str) -> None:
    own = [name.startswith("customer_sync_worker_") for name in metrics_of(query)]
    assert all(own) or not any(own)
    assert not re.search(r"\bsum\b", query) or all(own)


@needs_promtool
def test_prometheus_accepts_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:query_{number}", "expr": query} for number, query in enumerate(QUERIES.values())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    check_rules(file)


def test_panels_are_complete_and_do_not_overlap() -> None:
    assert DASHBOARD["uid"] == "customer-sync"
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < WIDTH


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panel_has_title_unit_and_data_source(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert target["legendFormat"]
