"""The file of a scan's spool: for its owner alone, and gone when it is no longer needed. Not what is in it."""

import os
from pathlib import Path


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
