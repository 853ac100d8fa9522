"""The spool of a scan: both sides' customers on disk while they are listed, and how far each list was read.

A page and the cursor behind it are kept in one transaction, so that a process that is killed at any moment goes on
where it was. It only keeps and joins; what a difference means is up to jobs.scan.compare. The file holds names and
e-mail addresses: nobody else may read it, and it is deleted when the scan is over.
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
from jobs.scan.compare import NAMED_AT_MOST, Pair
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
    set_bound,
    telling_full,
)

Side = Literal["autumn", "stripe", "payments"]
_CACHE_KIB: Final = 16_000
_AUTUMN: Final = "a.id, a.name, a.email, a.stripe_id, a.mode, a.shown, a.metadata"
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
"""All but those of whom a plan would say nothing: nine of ten and more, which would take the most time."""


@dataclass(frozen=True)
class Position:
    """How far a list was read: the cursor of the next page, and what came until then."""

    cursor: str = ""
    pages: int = 0
    rows: int = 0
    is_done: bool = False


@dataclass(frozen=True)
class About:
    """Which run a spool belongs to. Another `identity` means other accounts or another scope."""

    run: str
    identity: str
    started_ms: int


class Spool:
    """An open spool. Its methods block, and may be called from any thread."""

    def __init__(self, path: Path, *, rows_at_most: int = ROWS_AT_MOST, bytes_at_most: int = BYTES_AT_MOST) -> None:
        """Open the spool, or make a new one, which only this user may read. Raises OSError, sqlite3.Error.

        `rows_at_most` are kept of each list, and the file has `bytes_at_most`.
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
        # A process that is killed loses nothing by synchronous=OFF: what it has written is with the system.
        for setting in ("synchronous=OFF", "locking_mode=EXCLUSIVE", "journal_mode=WAL", f"cache_size=-{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute("PRAGMA temp_store=FILE")
        set_bound(self._connection, self._bytes_at_most)

    def about(self) -> About | None:
        """Which run it belongs to; None for a new one."""
        if not self._all("SELECT 1 FROM sqlite_master WHERE name = 'about'"):
            return None
        rows = self._all("SELECT run, identity, started_ms FROM about")
        return About(*rows[0]) if rows else None

    def begin(self, about: About) -> None:
        """Make the tables of a new spool for a run."""
        with self.writing() as connection:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO about VALUES (?, ?, ?)", (about.run, about.identity, about.started_ms))

    def position(self, side: Side) -> Position:
        """How far a side was read."""
        rows = self._all("SELECT cursor, pages, rows, is_done FROM lists WHERE side = ?", (side,))
        return Position(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else Position()

    def add_autumn(self, page: Sequence[ListedCustomer], cursor: str | None, *, keys: Sequence[str] = ()) -> None:
        """Keep a page of Autumn's list and the cursor of the next one, None after the last; of metadata, the `keys`.

        Raises ListError for a list that repeats itself or is too long.
        """
        rows = [
            (
                *(each.id, each.name, each.email, each.stripe_id, AUTUMN_MODES.get(each.env)),
                *("true" if each.send_email_receipts else "false", _metadata(each, keys) if keys else "{}"),
            )
            for each in page
        ]
        self._add("autumn", "INSERT INTO autumn VALUES (?, ?, ?, ?, ?, ?, ?)", rows, cursor)

    def add_stripe(self, page: Sequence[StripeCustomer], cursor: str | None) -> None:
        """Keep a page of Stripe's customers, as `add_autumn` does."""
        self._add("stripe", "INSERT INTO stripe VALUES (?, ?, ?, ?, ?, ?, ?)", [_stripe_row(e) for e in page], cursor)

    def add_payments(self, page: Sequence[tuple[str, PaymentIntent]], cursor: str | None) -> None:
        """Keep a page of payment intents, each with its Stripe customer, as `add_autumn` does."""
        rows = [
            (
                *(each.id, customer, each.status, each.receipt_email, json.dumps(dict(each.metadata))),
                *(each.succeeded_at, each.was_mailed),
            )
            for customer, each in page
        ]
        self._add("payments", "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?)", rows, cursor)

    def step_back(self) -> str:
        """Forget the last customer of Stripe's list, who was deleted meanwhile; the id to go on from."""
        with self.writing() as connection:
            connection.execute("DELETE FROM stripe WHERE rowid = (SELECT max(rowid) FROM stripe)")
            last = connection.execute("SELECT id FROM stripe ORDER BY rowid DESC LIMIT 1").fetchone()
            cursor = last[0] if last else ""
            connection.execute("UPDATE lists SET cursor = ?, rows = max(rows - 1, 0) WHERE side = 'stripe'", (cursor,))
        return str(cursor)

    def add_looked_up(self, stripe: Iterable[StripeCustomer], known: Iterable[str] = ()) -> None:
        """Add customers that no list showed: those of Stripe, and the ids of those that Autumn `known`."""
        with self.writing() as connection:
            query = (
                """INSERT INTO stripe SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM stripe WHERE id = ?)"""
            )
            connection.executemany(query, [(*row, row[0]) for row in map(_stripe_row, stripe)])
            connection.executemany("INSERT OR IGNORE INTO outside VALUES (?)", [(each,) for each in known])

    def add_absent(self, stripe_id: str) -> None:
        """Note that a linked customer was looked up and is not there."""
        with self.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO absent VALUES (?)", (stripe_id,))

    def unseen_links(self, at_most: int) -> list[str]:
        """The `stripe_id`s that no list of Stripe showed and nobody has looked up."""
        query = f"SELECT DISTINCT a.stripe_id FROM autumn a WHERE {_UNCHECKED} LIMIT ?"  # noqa: S608
        return [row[0] for row in self._all(query, (at_most,))]

    def count_unchecked(self) -> int:
        """How many customers have a link that no list of Stripe showed and nobody has looked up."""
        return int(self._all(f"SELECT count(*) FROM autumn a WHERE {_UNCHECKED}")[0][0])  # noqa: S608

    def without_stripe(self) -> list[tuple[str, str | None]]:
        """Id and e-mail of the customers of whom Stripe has shown nothing: neither the linked one nor one of ours."""
        query = """SELECT id, email FROM autumn WHERE id NOT IN (SELECT owner FROM stripe WHERE owner IS NOT NULL)
            AND (stripe_id IS NULL OR stripe_id IN (SELECT id FROM absent))"""
        return [(row[0], row[1]) for row in self._all(query)]

    def unknown_owners(self) -> list[str]:
        """The ids that Stripe's customers carry and that no list of Autumn showed."""
        query = """SELECT DISTINCT owner FROM stripe WHERE owner IS NOT NULL
            AND owner NOT IN (SELECT id FROM autumn) AND owner NOT IN (SELECT id FROM outside)"""
        return [row[0] for row in self._all(query)]

    def index(self) -> None:
        """Make ready for looking up, when both sides are listed: what was listed twice is kept once.

        Once made, nothing is made again.
        """
        self._run(INDEXES)
        self._run(ONCE)

    def count(self, side: Literal["autumn", "stripe"]) -> int:
        """How many customers of a side are kept."""
        return int(self._all(f"SELECT count(*) FROM {side}")[0][0])  # noqa: S608

    def join(self) -> None:
        """Make ready for `pairs` and `orphans`, when all is kept. Once made, nothing is made again."""
        self._run(SHARED)

    def last_row(self, side: Literal["autumn", "stripe"]) -> int:
        """The number of the last row, up to which chunks go."""
        return int(self._all(f"SELECT coalesce(max(rowid), 0) FROM {side}")[0][0])  # noqa: S608

    def pairs(self, after: int, until: int, *, in_doubt: str | None, payments: bool) -> list[Pair]:
        """The customers of the rows `after` to `until`, joined.

        `in_doubt` is the keys' mode where only those are wanted of whom a plan that copies no metadata and looks at no
        payments might say something; None for all.
        """
        query = _PAIRS + (_IN_DOUBT if in_doubt else "")
        rows = self._all(query, {"after": after, "until": until, "mode": in_doubt})
        return [self._pair(row, payments=payments) for row in rows]

    def orphans(self, after: int, until: int) -> list[StripeCustomer]:
        """Those of Stripe's rows `after` to `until` that carry an id which Autumn does not know."""
        query = f"""SELECT {_STRIPE} FROM stripe s WHERE s.rowid > ? AND s.rowid <= ? AND s.owner IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM autumn a WHERE a.id = s.owner)
            AND NOT EXISTS (SELECT 1 FROM outside o WHERE o.id = s.owner)"""  # noqa: S608
        return [_stripe(row) for row in self._all(query, (after, until))]

    def close(self) -> None:
        """Close it, after the transaction that runs; it can be opened again, by another process too."""
        with self._lock:
            self._connection.close()

    def remove(self) -> None:
        """Close it and delete it from the disk."""
        self.close()
        delete_spool(self._path)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among the threads; all of it or nothing is kept. Raises SpoolFullError."""
        with self._lock, telling_full(self._path, self._bytes_at_most):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except BaseException:
                # SQLite itself takes a transaction back that finds no room.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of a query, read as they are asked for."""
        return iter(self._connection.execute(query, values))

    def _run(self, statements: str) -> None:
        for statement in statements.split(";"):
            with self._lock, telling_full(self._path, self._bytes_at_most):
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

    def _pair(self, row: Sequence[Any], *, payments: bool) -> Pair:
        autumn, linked = _autumn(row[:7]), _stripe(row[7:14]) if row[7] is not None else None
        ours = self._all(f"SELECT {_STRIPE} FROM stripe s WHERE s.owner = ? LIMIT {NAMED_AT_MOST}", (autumn.id,))  # noqa: S608
        sharers = self._all(
            f"SELECT id FROM autumn WHERE stripe_id = ? AND id <> ? ORDER BY id LIMIT {NAMED_AT_MOST}",  # noqa: S608
            (autumn.stripe_id, autumn.id),
        )
        found = self._payments(linked) if payments and linked is not None else None
        return Pair(
            autumn,
            linked,
            ours=tuple(_stripe(each) for each in ours),
            sharers=tuple(each[0] for each in sharers),
            payments=found,
            is_checked=not row[14],
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
    """Open the spool there, or a new one in the place of what is none. Raises as Spool does."""
    try:
        spool = Spool(path, bytes_at_most=bytes_at_most)
        spool.about()
    except sqlite3.OperationalError:
        raise  # Another process has it open, or the disk is full: then it is not ours to delete.
    except sqlite3.DatabaseError:
        delete_spool(path)
        return Spool(path, bytes_at_most=bytes_at_most)
    return spool


def _metadata(autumn: ListedCustomer, keys: Sequence[str]) -> str:
    return json.dumps({key: autumn.metadata[key] for key in keys if key in autumn.metadata})


def _stripe_row(each: StripeCustomer) -> tuple[Any, ...]:
    metadata = each.metadata
    owner, shown = metadata.get(AUTUMN_ID) or None, metadata.get(SEND_EMAIL_RECEIPTS)
    # Most have our own two keys and no more, which have columns of their own.
    is_ours = len(metadata) == (owner is not None) + (shown is not None)
    kept = None if is_ours else json.dumps(dict(metadata))
    return (each.id, owner, each.name, each.email, each.mode, shown, kept)


def _autumn(row: Sequence[Any]) -> AutumnCustomer:
    return AutumnCustomer(row[0], row[1], row[2], row[3], row[4], row[5] == "true", json.loads(row[6]))


def _stripe(row: Sequence[Any]) -> StripeCustomer:
    customer_id, name, email, mode, owner, shown, metadata = row
    ours = {AUTUMN_ID: owner, SEND_EMAIL_RECEIPTS: shown}
    kept = (
        {key: value for key, value in ours.items() if value is not None} if metadata is None else json.loads(metadata)
    )
    return StripeCustomer(customer_id, name, email, mode, kept)
