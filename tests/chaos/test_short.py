"""The short form of the run passes: every promise holds while everything around the workers breaks."""

from pathlib import Path

import pytest

from tests.chaos.subprocesses import chaos


@pytest.mark.timeout(150)
def test_nothing_is_lost_stale_doubled_or_out_of_order(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, "--short")
    assert report["findings"] == []
    assert report["stuck"] == []
    assert code == 0
    assert report["events"]["sent"] >= 2000
    assert report["disturbances"]["SIGKILL"] >= 10
    assert report["disturbances"]["SIGKILL"] + report["disturbances"]["SIGTERM"] >= 15
    assert report["disturbances"]["Redis killed"] >= 1
    assert report["receipts mailed"] > 0, "that none is mailed twice has to mean something"
    assert {kind for fired in report["faults"].values() for kind in fired} == set(
        ["429", "500", "503", "hang", "cut", "lost", "garbage"]
    )
