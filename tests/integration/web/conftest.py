"""A Redis that a busy machine delays is no trouble for the pages of these tests."""

import pytest


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pages wait for Redis for a minute."""
    for module in ("worker.web.credentials", "worker.status.shared_state"):
        monkeypatch.setattr(f"{module}.READ_SECONDS", 60.0)
