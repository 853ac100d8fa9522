"""The short form of the run passes: every promise holds while everything around the workers breaks."""

from pathlib import Path

import pytest

from tests.chaos.subprocesses import HANG_SECONDS, chaos


@pytest.mark.timeout(HANG_SECONDS + 60)
def test_short_run_keeps_every_promise(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, "--short")
    assert report["findings"] == []
    assert code == 0
    assert report["events"]["sent"] >= 2000
    assert report["disturbances"]["SIGKILL"] >= 10
    assert report["disturbances"]["SIGKILL"] + report["disturbances"]["SIGTERM"] >= 15
    assert report["disturbances"]["Redis killed"] >= 1
    assert report["receipts mailed"] > 0, "no receipt was mailed, so the check for doubles proves nothing"
    assert report["updates without a fetch"] >= 1
    assert report["disturbances"]["updates by other apps"] >= 10
    assert report["disturbances"]["edits in Stripe's dashboard"] >= 10
    assert report["webhooks"]["that reverted a newer value"] >= 1, (
        "no value was reverted, so the check for repairs proves nothing"
    )
    for act in ("fields emptied in Stripe", "marks removed in Stripe", "customers deleted in Stripe", "payments"):
        assert report["disturbances"][act] >= 5, "too few acts to judge the watch"
    assert report["watch"]["drifts withheld"] >= 1
    assert {"the watch, by poll", "the watch, by webhook"} <= report["seconds to agreement"].keys()
    kinds = {kind for fired in report["faults"].values() for kind in fired}
    assert len(kinds) >= 3, "too few kinds of faults: a busy machine may get less done"
