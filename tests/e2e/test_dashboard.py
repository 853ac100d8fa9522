"""docs/grafana.json: whole, and each of its queries answered by what a real worker that had work and trouble shows.

The names of its metrics and of those of the alerts are looked for without promtool.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox, sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX
from tests.e2e.processes import ROOT, wait_until
from tests.e2e.watching import watched
from tests.promtool import RULES, answered, check_rules, metrics_of
from tests.scrapes import Scrape

DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
    for panel in PANELS
    for target in panel["targets"]
}
WIDTH = 24


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def scrapes_of_work_and_trouble(box: Sandbox) -> list[Scrape]:
    """What a worker shows before and while it applies events, retries one, and gives one up; the last shows all."""
    async with watched(box.environment) as one, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        scrapes = [await one.scrape()]
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": "poison"})
        box.autumn.switches.add(Fault("503", times=1))
        for name in ("One", "Two", "Three"):
            event = await send(redis, new_update(customer_id="ann", changes={"name": name}))
            outcome = await outcome_of(redis, event, wait_seconds=30)
            assert outcome is not None
            assert outcome.status == "applied"
            scrapes.append(await one.scrape())

        async def all_is_shown() -> bool:
            scrapes.append(await one.scrape())
            ends = scrapes[-1].samples.get("customer_sync_events_total", {})
            return [value for labels, value in ends.items() if ("outcome", "applied") in labels] == [3]

        await wait_until(all_is_shown)
    return scrapes


async def test_worker_shows_every_metric_that_a_panel_or_an_alert_names(box: Sandbox) -> None:
    shown = {name for name in (await scrapes_of_work_and_trouble(box))[-1].samples if name.startswith("customer_sync_")}
    asked = {name for query in QUERIES.values() for name in metrics_of(query)}
    alerting = {name for rule in RULES for name in metrics_of(rule["expr"])}
    assert (len(asked) > 20, len(alerting) > 10) == (True, True)
    assert (asked | alerting) - shown == set()
    beside = {name for name in shown - asked if not name.endswith(("_sum", "_count", "_bucket"))}
    assert beside == {"customer_sync_newest_dead_letter_timestamp_seconds"}, "no panel shows it"


@pytest.mark.usefixtures("promtool")
async def test_every_query_is_answered_by_a_worker_that_had_work_and_trouble(box: Sandbox) -> None:
    known = answered(QUERIES.values(), await scrapes_of_work_and_trouble(box))
    assert [name for name, query in QUERIES.items() if query not in known] == []


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_workers_own_numbers_are_added_up_and_common_ones_are_not(query: str) -> None:
    own = [name.startswith("customer_sync_worker_") for name in metrics_of(query)]
    assert all(own) or not any(own)
    assert not re.search(r"\bsum\b", query) or all(own)


@pytest.mark.usefixtures("promtool")
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
