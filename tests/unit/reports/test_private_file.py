"""A report's file is written completely or not at all, is owner-only, and replaces only files."""

import os
import stat
import threading
from pathlib import Path

import pytest

from worker.reports.files import private_file


def test_file_becomes_owner_only_despite_previous_mode(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    path.write_text("the one before", encoding="utf-8")
    path.chmod(0o644)
    with private_file(path) as file:
        file.write("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") == "new"


def test_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    path.write_text("the one before", encoding="utf-8")
    with pytest.raises(TypeError), private_file(path) as file:
        file.writelines(["half", 2])  # type: ignore[list-item]  # that is what breaks
    assert path.read_text(encoding="utf-8") == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_link_stays_a_link(tmp_path: Path) -> None:
    link, path = tmp_path / "latest.html", tmp_path / "scan.html"
    link.symlink_to(path)
    with private_file(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "new"


def test_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    path, read = tmp_path / "pipe", list[str]()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    with private_file(path) as file:
        file.write("new")
    reader.join(10)
    assert read == ["new"]
    assert path.is_fifo()
