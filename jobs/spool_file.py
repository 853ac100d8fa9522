"""The file of a scan's spool: for its owner alone, of a bounded size, and gone when it is no longer needed.

Not what is in it.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobs.errors import GiveUp

BYTES_AT_MOST: Final = 16 * 1024**3
"""Over twice what 20 million customers of both sides take, and some 50 times what a million takes."""


class SpoolFullError(GiveUp):
    """The spool has no room left. The message is our own text and holds no personal data."""


@contextmanager
def telling_full(path: Path, bytes_at_most: int) -> Iterator[None]:
    """Raise SpoolFullError if SQLite finds no room in the block."""
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        text = (
            f"the spool has no room: it may have {_megabytes(bytes_at_most)}, and {_megabytes(free)} are free in "
            "SCAN_SPOOL; see docs/scan.md, How it works"
        )
        raise SpoolFullError("scan", "spool_full", text) from error


def set_bound(connection: sqlite3.Connection, bytes_at_most: int) -> None:
    """Have SQLite refuse what would make the file larger."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count={max(1, bytes_at_most // page_bytes)}")


def _megabytes(number: int) -> str:
    return f"{number / 1024**2:,.1f} MiB"


def make_private(path: Path) -> None:
    """Make the file, or make sure that nobody else reads the one that is there. Raises OSError."""
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user: name another folder in SCAN_SPOOL")
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


def delete_spool(path: Path) -> None:
    """Delete a spool and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
