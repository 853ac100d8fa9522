"""The file of a scan's spool, its tables, and the check that a list ends.

The file is readable by its owner only, has a maximum size, and is deleted after the scan.

A service or a proxy may return the same pages for ever. Each page looks right by itself, so `ListGuard` compares it
with the pages before it.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobs.errors import GiveUp, Service

BYTES_AT_MOST: Final = 16 * 1024**3
"""More than twice the size of 20 million customers on both sides, and about 50 times the size of a million."""


class SpoolFullError(GiveUp):
    """The spool has no room left. The message holds no personal data."""


@contextmanager
def raising_spool_full(path: Path, bytes_at_most: int) -> Iterator[None]:
    """Raise SpoolFullError if SQLite reports a full disk or a full file in the block."""
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        text = (
            f"the spool is full: its limit is {_megabytes(bytes_at_most)}, and {_megabytes(free)} are free in "
            "SCAN_SPOOL. Free space or name another folder in SCAN_SPOOL; see docs/scan.md, How it works"
        )
        raise SpoolFullError("scan", "spool_full", text) from error


def set_bound(connection: sqlite3.Connection, bytes_at_most: int) -> None:
    """Limit the size of the file: SQLite refuses a write that would exceed it."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count={max(1, bytes_at_most // page_bytes)}")


def _megabytes(number: int) -> str:
    return f"{number / 1024**2:,.1f} MiB"


def make_private(path: Path) -> None:
    """Create the file, or restrict the existing one to its owner. Raises OSError."""
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_uid != os.geteuid():
            raise PermissionError(f"{path}: belongs to another user; name another folder in SCAN_SPOOL")
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


def delete_spool(path: Path) -> None:
    """Delete a spool and the files that SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


TABLES: Final = """
CREATE TABLE about (run TEXT, identity TEXT, started_ms INTEGER);
CREATE TABLE lists (side TEXT PRIMARY KEY, cursor TEXT, pages INTEGER, rows INTEGER, is_done INTEGER);
CREATE TABLE autumn (id TEXT, name TEXT, email TEXT, stripe_id TEXT, mode TEXT, shown TEXT, metadata TEXT,
  elsewhere TEXT);
CREATE TABLE stripe (id TEXT, owner TEXT, name TEXT, email TEXT, mode TEXT, shown TEXT, metadata TEXT);
CREATE TABLE payments
  (id TEXT, customer TEXT, status TEXT, receipt_email TEXT, metadata TEXT, succeeded_at REAL, was_mailed INTEGER);
CREATE TABLE outside (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE busy (customer TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE wanted (kind TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE before (fingerprint BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE findings
  (customer TEXT, kind TEXT, stripe_ids TEXT, field TEXT, autumn TEXT, stripe TEXT, reason TEXT, would TEXT,
   is_repairable INTEGER, fingerprint BLOB);
CREATE VIEW shown AS SELECT * FROM findings
  WHERE kind IN (SELECT kind FROM wanted) AND customer NOT IN (SELECT customer FROM busy);
"""
"""Both lists and their positions, the findings, and the data that they are compared with."""
INDEXES: Final = """
CREATE INDEX IF NOT EXISTS autumn_id ON autumn (id);
CREATE INDEX IF NOT EXISTS autumn_stripe_id ON autumn (stripe_id) WHERE stripe_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS stripe_id ON stripe (id);
CREATE INDEX IF NOT EXISTS stripe_owner ON stripe (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_customer ON payments (customer, id);
CREATE TABLE IF NOT EXISTS absent (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""Created after both lists are complete, because an index that grows with them costs several times as much."""
ONCE: Final = """
DELETE FROM autumn WHERE rowid IN (SELECT b.rowid FROM
  (SELECT id, min(rowid) AS first FROM autumn GROUP BY id HAVING count(*) > 1) a
  JOIN autumn b ON b.id = a.id AND b.rowid > a.first);
DELETE FROM stripe WHERE rowid IN (SELECT b.rowid FROM
  (SELECT id, min(rowid) AS first FROM stripe GROUP BY id HAVING count(*) > 1) a
  JOIN stripe b ON b.id = a.id AND b.rowid > a.first);
DELETE FROM payments WHERE rowid IN (SELECT b.rowid FROM
  (SELECT customer, id, min(rowid) AS first FROM payments GROUP BY customer, id HAVING count(*) > 1) a
  JOIN payments b ON b.customer = a.customer AND b.id = a.id AND b.rowid > a.first);
"""
"""Delete duplicates: a list that changes while it is read may show a row twice."""
SHARED: Final = """
CREATE TABLE IF NOT EXISTS shared AS
  SELECT stripe_id AS id FROM autumn WHERE stripe_id IS NOT NULL GROUP BY stripe_id HAVING count(*) > 1;
CREATE TABLE IF NOT EXISTS carried AS
  SELECT owner AS id FROM stripe WHERE owner IS NOT NULL GROUP BY owner HAVING count(*) > 1;
CREATE INDEX IF NOT EXISTS shared_id ON shared (id);
CREATE INDEX IF NOT EXISTS carried_id ON carried (id);
"""
"""The ids that several customers have, on either side. They are few."""


ROWS_AT_MOST: Final = 20_000_000
"""The rows of one list: about 7 GB on disk, and half a day at the rate limit of a scan."""
EMPTY_PAGES_AT_MOST: Final = 10_000
"""Empty pages in a row. A page is empty if all its customers have no id, or all its payments have no customer."""

Known = Callable[[Collection[str]], int]
"""Returns the number of these ids that are already stored."""


class ListError(GiveUp):
    """A list that cannot be read to its end. The message holds no personal data."""


class ListGuard:
    """Checks one list, page by page, for repeats and for its length."""

    def __init__(self, service: Service, name: str, *, rows_at_most: int) -> None:
        """Begin before the first page. `name` names the list in an error."""
        self._service = service
        self._name = name
        self._rows_at_most = rows_at_most
        self._cursors = set[str]()
        self._smallest = set[int]()
        self._empty_pages = 0

    def check(self, ids: Sequence[str], cursor: str | None, *, came_from: str, rows: int, known: Known) -> None:
        """Check the next page before it is stored. Raises ListError.

        `cursor` is that of the page after it, None after the last page. `came_from` is the cursor that it was read
        from. `rows` is the number of stored rows.
        """
        if rows + len(ids) > self._rows_at_most:
            text = f"{self._name} has more than {self._rows_at_most:,} rows: a scan cannot compare so many"
            raise ListError(self._service, "list_too_long", text)
        self._cursors.add(came_from)
        self._empty_pages = 0 if ids else self._empty_pages + 1
        brings_nothing = self._is_known(frozenset(ids), known) or self._empty_pages > EMPTY_PAGES_AT_MOST
        if cursor is not None and (cursor in self._cursors or brings_nothing):
            text = f"{self._name} repeats itself and does not end: scan again, and report a bug if it repeats again"
            raise ListError(self._service, "list_repeats", text)

    def _is_known(self, page: frozenset[str], known: Known) -> bool:
        """Return whether all ids of a page are stored already.

        A query for each page would need an index, which costs several times as much as the rows. So only a page is
        queried whose smallest id was the smallest of an earlier page. A list that repeats has only such pages.
        """
        if not page:
            return False
        smallest = hash(min(page))
        may_be_known = smallest in self._smallest
        self._smallest.add(smallest)
        return may_be_known and known(page) == len(page)
