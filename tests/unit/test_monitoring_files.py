"""docs/alerts.yml and docs/grafana.json as they are written: whole, and in agreement with /readyz and the runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboard import DASHBOARD, PANELS, QUERIES
from tests.support.promtool import RULES, check_rules, metrics_of, needs_promtool
from worker.status import health

ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for rule in RULES}
WIDTH = 24


def test_every_alert_says_how_urgent_it_is_what_it_means_and_where_the_runbook_is() -> None:
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
def test_alerts_and_readyz_draw_the_same_line(alert: str, seconds: float) -> None:
    assert f" {seconds:.0f}" in ALERTS[alert]


def test_the_outage_lasts_as_long_for_the_alert_as_for_readyz() -> None:
    (rule,) = [rule for rule in RULES if rule["alert"] == "CustomerSyncOutage"]
    assert rule["for"] == f"{health.OUTAGE_SECONDS / 60:.0f}m"


def test_what_is_common_to_all_workers_is_never_added_up() -> None:
    for expression in ALERTS.values():
        shared = [name for name in metrics_of(expression) if not name.startswith("customer_sync_worker_")]
        assert not shared or "sum" not in expression


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_workers_own_numbers_are_added_up_and_common_ones_are_not(query: str) -> None:
    own = [name.startswith("customer_sync_worker_") for name in metrics_of(query)]
    assert all(own) or not any(own)
    assert not re.search(r"\bsum\b", query) or all(own)


@needs_promtool
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:query_{number}", "expr": query} for number, query in enumerate(QUERIES.values())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    check_rules(file)


def test_panels_are_whole_and_do_not_overlap() -> None:
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
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert target["legendFormat"]
