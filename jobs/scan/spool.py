"""The spool of a scan: both lists on disk, and the position in each.

A page and the next cursor are stored in one transaction, so a scan can resume after a kill at any moment. The spool
stores and joins; `jobs.scan.compare` decides what a difference means. The file holds names and e-mail addresses, so
only its owner can read it, and it is deleted after the scan.
"""

import json
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from jobs.autumn.pages import ListedCustomer
from jobs.plan.customer import (
    AUTUMN_ID,
    AUTUMN_MODES,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    PaymentIntent,
    StripeCustomer,
)
from jobs.scan.compare import NAMED_AT_MOST, JoinedCustomer
from jobs.scan.spool_file import (
    BYTES_AT_MOST,
    INDEXES,
    ONCE,
    ROWS_AT_MOST,
    SHARED,
    TABLES,
    ListGuard,
    delete_spool,
    make_private,
    raising_spool_full,
    set_bound,
)

Side = Literal["autumn", "stripe", "payments"]
_CACHE_KIB: Final = 16_000
_AUTUMN: Final = "a.id, a.name, a.email, a.stripe_id, a.mode, a.shown, a.metadata, a.elsewhere"
_STRIPE: Final = "s.id, s.name, s.email, s.mode, s.owner, s.shown, s.metadata"
_UNCHECKED: Final = """a.stripe_id IS NOT NULL
AND a.stripe_id NOT IN (SELECT id FROM stripe) AND a.stripe_id NOT IN (SELECT id FROM absent)"""
_PAIRS: Final = f"""
SELECT {_AUTUMN}, {_STRIPE}, s.id IS NULL AND a.stripe_id IS NOT NULL AND a.stripe_id NOT IN (SELECT id FROM absent)
FROM autumn a LEFT JOIN stripe s ON s.id = a.stripe_id
WHERE a.rowid > :after AND a.rowid <= :until
"""  # noqa: S608 - made of the names of columns above
_IN_DOUBT: Final = """
AND (s.id IS NULL OR a.mode IS NOT :mode OR s.mode IS NOT :mode OR s.owner IS NOT a.id
  OR (a.name <> '' AND s.name IS NOT a.name) OR (a.email <> '' AND s.email IS NOT a.email)
  OR s.shown IS NOT a.shown OR (a.shown = 'true' AND coalesce(s.email, '') = '')
  OR EXISTS (SELECT 1 FROM shared WHERE shared.id = a.stripe_id)
  OR EXISTS (SELECT 1 FROM carried WHERE carried.id = a.id))
"""
"""Skips customers whose plan would be empty. They are nine of ten or more, and would take the most time."""


@dataclass(frozen=True)
class Position:
    """The position in a list: the cursor of the next page, and the pages and rows that were read."""

    cursor: str = ""
    pages: int = 0
    rows: int = 0
    is_done: bool = False


@dataclass(frozen=True)
class About:
    """The run that a spool belongs to. `identity` names its accounts, scope and policy."""

    run: str
    identity: str
    started_ms: int


class Spool:
    """An open spool. Its methods block, and may be called from any thread."""

    def __init__(self, path: Path, *, rows_at_most: int = ROWS_AT_MOST, bytes_at_most: int = BYTES_AT_MOST) -> None:
        """Open the spool, or create one that only this user can read. Raises OSError, sqlite3.Error.

        `rows_at_most` limits the rows of each list, and `bytes_at_most` the size of the file.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_private(path)
        self._path = path
        self._bytes_at_most = bytes_at_most
        self._lock = threading.Lock()
        self._guards: dict[Side, ListGuard] = {
            "autumn": ListGuard("autumn", "Autumn's list of customers", rows_at_most=rows_at_most),
            "stripe": ListGuard("stripe", "Stripe's list of customers", rows_at_most=rows_at_most),
            "payments": ListGuard("stripe", "Stripe's list of payments", rows_at_most=rows_at_most),
        }
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        # synchronous=OFF loses nothing if the process is killed: the operating system has what it wrote.
        for setting in ("synchronous=OFF", "locking_mode=EXCLUSIVE", "journal_mode=WAL", f"cache_size=-{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute("PRAGMA temp_store=FILE")
        set_bound(self._connection, self._bytes_at_most)

    def about(self) -> About | None:
        """Return the run that the spool belongs to; None for a new spool."""
        if not self._all("SELECT 1 FROM sqlite_master WHERE name = 'about'"):
            return None
        rows = self._all("SELECT run, identity, started_ms FROM about")
        return About(*rows[0]) if rows else None

    def begin(self, about: About) -> None:
        """Create the tables of a new spool for a run."""
        with self.writing() as connection:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO about VALUES (?, ?, ?)", (about.run, about.identity, about.started_ms))

    def position(self, side: Side) -> Position:
        """Return the position in the list of a side."""
        rows = self._all("SELECT cursor, pages, rows, is_done FROM lists WHERE side = ?", (side,))
        return Position(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else Position()

    def add_autumn(self, page: Sequence[ListedCustomer], cursor: str | None, *, keys: Sequence[str] = ()) -> None:
        """Store a page of Autumn's list and the cursor of the next page, None after the last page.

        Only the `keys` of the metadata are stored. Raises ListError for a list that repeats itself or is too long.
        """
        rows = [
            (
                *(each.id, each.name, each.email, each.stripe_id, AUTUMN_MODES.get(each.env)),
                *("true" if each.send_email_receipts else "false", _metadata(each, keys) if keys else "{}"),
                ",".join(each.elsewhere),
            )
            for each in page
        ]
        self._add("autumn", "INSERT INTO autumn VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows, cursor)

    def add_stripe(self, page: Sequence[StripeCustomer], cursor: str | None) -> None:
        """Store a page of Stripe's customers, as `add_autumn` does."""
        self._add("stripe", "INSERT INTO stripe VALUES (?, ?, ?, ?, ?, ?, ?)", [_stripe_row(e) for e in page], cursor)

    def add_payments(self, page: Sequence[tuple[str, PaymentIntent]], cursor: str | None) -> None:
        """Store a page of payment intents, each with its Stripe customer, as `add_autumn` does."""
        rows = [
            (
                *(each.id, customer, each.status, each.receipt_email, json.dumps(dict(each.metadata))),
                *(each.succeeded_at, each.was_mailed),
            )
            for customer, each in page
        ]
        self._add("payments", "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?)", rows, cursor)

    def step_back(self) -> str:
        """Drop the last customer of Stripe's list, which was deleted, and return the id before it as the cursor."""
        with self.writing() as connection:
            connection.execute("DELETE FROM stripe WHERE rowid = (SELECT max(rowid) FROM stripe)")
            last = connection.execute("SELECT id FROM stripe ORDER BY rowid DESC LIMIT 1").fetchone()
            cursor = last[0] if last else ""
            connection.execute("UPDATE lists SET cursor = ?, rows = max(rows - 1, 0) WHERE side = 'stripe'", (cursor,))
        return str(cursor)

    def add_looked_up(self, stripe: Iterable[StripeCustomer], known: Iterable[str] = ()) -> None:
        """Add customers that the lists lack: Stripe customers, and the ids of `known` Autumn customers."""
        with self.writing() as connection:
            query = (
                """INSERT INTO stripe SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM stripe WHERE id = ?)"""
            )
            connection.executemany(query, [(*row, row[0]) for row in map(_stripe_row, stripe)])
            connection.executemany("INSERT OR IGNORE INTO outside VALUES (?)", [(each,) for each in known])

    def add_absent(self, stripe_id: str) -> None:
        """Record that a linked customer was looked up and does not exist."""
        with self.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO absent VALUES (?)", (stripe_id,))

    def unseen_links(self, at_most: int) -> list[str]:
        """Return `stripe_id`s that Stripe's list lacks and that were not looked up."""
        query = f"SELECT DISTINCT a.stripe_id FROM autumn a WHERE {_UNCHECKED} LIMIT ?"  # noqa: S608
        return [row[0] for row in self._all(query, (at_most,))]

    def count_unchecked(self) -> int:
        """Count the customers whose `stripe_id` Stripe's list lacks and that was not looked up."""
        return int(self._all(f"SELECT count(*) FROM autumn a WHERE {_UNCHECKED}")[0][0])  # noqa: S608

    def without_stripe(self) -> list[tuple[str, str | None]]:
        """Return id and e-mail of the Autumn customers that are neither linked nor carried by a Stripe customer."""
        query = """SELECT id, email FROM autumn WHERE id NOT IN (SELECT owner FROM stripe WHERE owner IS NOT NULL)
            AND (stripe_id IS NULL OR stripe_id IN (SELECT id FROM absent))"""
        return [(row[0], row[1]) for row in self._all(query)]

    def unknown_owners(self) -> list[str]:
        """Return the ids that Stripe customers carry and that Autumn's list lacks."""
        query = """SELECT DISTINCT owner FROM stripe WHERE owner IS NOT NULL
            AND owner NOT IN (SELECT id FROM autumn) AND owner NOT IN (SELECT id FROM outside)"""
        return [row[0] for row in self._all(query)]

    def index(self) -> None:
        """Create the indexes and delete duplicates. Call this after both sides are listed; a second call is safe."""
        self._run(INDEXES)
        self._run(ONCE)

    def count(self, side: Literal["autumn", "stripe"]) -> int:
        """Count the stored customers of a side."""
        return int(self._all(f"SELECT count(*) FROM {side}")[0][0])  # noqa: S608

    def join(self) -> None:
        """Prepare `joined` and `orphans`. Call this after the last customer is stored; a second call is safe."""
        self._run(SHARED)

    def last_row(self, side: Literal["autumn", "stripe"]) -> int:
        """Return the number of the last row, or 0."""
        return int(self._all(f"SELECT coalesce(max(rowid), 0) FROM {side}")[0][0])  # noqa: S608

    def joined(self, after: int, until: int, *, in_doubt: str | None, payments: bool) -> list[JoinedCustomer]:
        """Return the Autumn customers of the rows after `after` up to `until`, joined with Stripe's.

        `in_doubt` is the mode of the keys, or None. With a mode, customers that plainly agree are skipped. That is only
        right if the policy copies no metadata and reads no payments.
        """
        query = _PAIRS + (_IN_DOUBT if in_doubt else "")
        rows = self._all(query, {"after": after, "until": until, "mode": in_doubt})
        return [self._joined(row, payments=payments) for row in rows]

    def orphans(self, after: int, until: int) -> list[StripeCustomer]:
        """Return Stripe's customers of the rows after `after` up to `until` that carry an id unknown to Autumn."""
        query = f"""SELECT {_STRIPE} FROM stripe s WHERE s.rowid > ? AND s.rowid <= ? AND s.owner IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM autumn a WHERE a.id = s.owner)
            AND NOT EXISTS (SELECT 1 FROM outside o WHERE o.id = s.owner)"""  # noqa: S608
        return [_stripe(row) for row in self._all(query, (after, until))]

    def close(self) -> None:
        """Close the spool after the current transaction. Any process of this user can open it again."""
        with self._lock:
            self._connection.close()

    def remove(self) -> None:
        """Close the spool and delete its files."""
        self.close()
        delete_spool(self._path)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a transaction, one thread at a time. Raises SpoolFullError."""
        with self._lock, raising_spool_full(self._path, self._bytes_at_most):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except BaseException:
                # SQLite has rolled back a transaction that found no room.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Return an iterator over the rows of a query."""
        return iter(self._connection.execute(query, values))

    def _run(self, statements: str) -> None:
        for statement in statements.split(";"):
            with self._lock, raising_spool_full(self._path, self._bytes_at_most):
                self._connection.execute(statement)

    def _add(self, side: Side, insert: str, rows: list[Any], cursor: str | None) -> None:
        position = self.position(side)
        ids = [row[0] for row in rows]
        self._guards[side].check(
            ids, cursor, came_from=position.cursor, rows=position.rows, known=partial(self._count_known, side)
        )
        with self.writing() as connection:
            connection.executemany(insert, rows)
            connection.execute(
                """INSERT INTO lists VALUES (?, ?, 1, ?, ?) ON CONFLICT (side) DO UPDATE SET cursor = excluded.cursor,
                pages = pages + 1, rows = rows + excluded.rows, is_done = excluded.is_done""",
                (side, cursor or "", len(rows), cursor is None),
            )

    def _count_known(self, side: Side, ids: Collection[str]) -> int:
        query = f"SELECT count(DISTINCT id) FROM {side} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
        return int(self._all(query, (json.dumps(list(ids)),))[0][0])

    def _joined(self, row: Sequence[Any], *, payments: bool) -> JoinedCustomer:
        autumn, linked = _autumn(row[:8]), _stripe(row[8:15]) if row[8] is not None else None
        ours = self._all(f"SELECT {_STRIPE} FROM stripe s WHERE s.owner = ? LIMIT {NAMED_AT_MOST}", (autumn.id,))  # noqa: S608
        sharers = self._all(
            f"SELECT id FROM autumn WHERE stripe_id = ? AND id <> ? ORDER BY id LIMIT {NAMED_AT_MOST}",  # noqa: S608
            (autumn.stripe_id, autumn.id),
        )
        found = self._payments(linked) if payments and linked is not None else None
        return JoinedCustomer(
            autumn,
            linked,
            ours=tuple(_stripe(each) for each in ours),
            sharers=tuple(each[0] for each in sharers),
            payments=found,
            is_checked=not row[15],
        )

    def _payments(self, stripe: StripeCustomer) -> tuple[PaymentIntent, ...]:
        query = """SELECT id, status, receipt_email, metadata, succeeded_at, was_mailed FROM payments WHERE customer = ?
            ORDER BY rowid LIMIT ?"""
        rows = self._all(query, (stripe.id, NAMED_AT_MOST + 1))
        return tuple(PaymentIntent(row[0], row[1], row[2], json.loads(row[3]), row[4], bool(row[5])) for row in rows)

    def _all(self, query: str, values: Any = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()


def open_spool(path: Path, *, bytes_at_most: int = BYTES_AT_MOST) -> Spool:
    """Open the spool, or replace a file that is no database by a new spool. Raises OSError, sqlite3.Error."""
    try:
        spool = Spool(path, bytes_at_most=bytes_at_most)
        spool.about()
    except sqlite3.OperationalError:
        raise  # Another process uses it, or the disk is full: do not delete it.
    except sqlite3.DatabaseError:
        delete_spool(path)
        return Spool(path, bytes_at_most=bytes_at_most)
    return spool


def _metadata(autumn: ListedCustomer, keys: Sequence[str]) -> str:
    return json.dumps({key: autumn.metadata[key] for key in keys if key in autumn.metadata})


def _stripe_row(each: StripeCustomer) -> tuple[Any, ...]:
    metadata = each.metadata
    owner, shown = metadata.get(AUTUMN_ID) or None, metadata.get(SEND_EMAIL_RECEIPTS)
    # Most customers have only our two keys, which have their own columns.
    is_ours = len(metadata) == (owner is not None) + (shown is not None)
    kept = None if is_ours else json.dumps(dict(metadata))
    return (each.id, owner, each.name, each.email, each.mode, shown, kept)


def _autumn(row: Sequence[Any]) -> AutumnCustomer:
    customer_id, name, email, stripe_id, mode, shown, metadata, elsewhere = row
    return AutumnCustomer(
        *(customer_id, name, email, stripe_id, mode, shown == "true", json.loads(metadata)),
        elsewhere=tuple(filter(None, elsewhere.split(","))),
    )


def _stripe(row: Sequence[Any]) -> StripeCustomer:
    customer_id, name, email, mode, owner, shown, metadata = row
    ours = {AUTUMN_ID: owner, SEND_EMAIL_RECEIPTS: shown}
    kept = (
        {key: value for key, value in ours.items() if value is not None} if metadata is None else json.loads(metadata)
    )
    return StripeCustomer(customer_id, name, email, mode, kept)
