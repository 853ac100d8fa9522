"""The contract tests need no files from outside the repository, and none of them is ever skipped.

The tests of `recorded` compare with the full recordings and schemas, so they exist only if CONTRACT_DATA names the
folder that has those. Without it, the tables in `data` compare the simulators and the models with the same facts.
"""

from collections.abc import Generator

import pytest

from tests.contract import recordings

_recordings = recordings.folder()
if _recordings is not None and not _recordings.is_dir():
    raise pytest.UsageError(f"CONTRACT_DATA: no such folder {_recordings}. Correct it, or unset CONTRACT_DATA.")
collect_ignore = [] if _recordings else ["recorded"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn each skipped contract test into a failure."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"A contract test is never skipped: {report.longrepr}"
    return report
