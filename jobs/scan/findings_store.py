"""The findings of a scan, stored in its spool.

The spool also holds the customers that are left out, and the fingerprints of the run before.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from jobs.plan.profile import digest_of
from jobs.scan.report import Changed, ScanFinding
from jobs.scan.spool import Spool

FINGERPRINT_BYTES: Final = 8


def fingerprint(finding: ScanFinding) -> bytes:
    """Return a digest that is the same for the same finding in another run, even if its values change."""
    parts = (finding.customer, finding.kind, finding.field, *finding.stripe_ids)
    return hashlib.sha256("\n".join(parts).encode()).digest()[:FINGERPRINT_BYTES]


class SpooledFindings:
    """The findings of a spool, without customers that are left out and without kinds that were not requested."""

    def __init__(self, spool: Spool, kinds: Iterable[str]) -> None:
        """Show only findings of these `kinds`."""
        self._spool = spool
        with spool.writing() as connection:
            connection.execute("DELETE FROM wanted")
            connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", [(kind,) for kind in kinds])

    def __iter__(self) -> Iterator[ScanFinding]:
        """Read the findings, ordered by kind and customer."""
        query = """SELECT customer, kind, stripe_ids, field, autumn, stripe, reason, would, is_repairable FROM shown
            ORDER BY kind, customer, field, stripe_ids"""
        for customer, kind, stripe_ids, field, autumn, stripe, reason, would, is_repairable in self._spool.rows(query):
            ids = tuple(json.loads(stripe_ids))
            yield ScanFinding(customer, kind, ids, field, autumn, stripe, reason, would, bool(is_repairable))

    def add(self, findings: Iterable[ScanFinding]) -> int:
        """Store findings, all or none, and return their number."""
        rows = [
            (
                *(each.customer, each.kind, json.dumps(each.stripe_ids), each.field, each.autumn, each.stripe),
                *(each.reason, each.would, each.is_repairable, fingerprint(each)),
            )
            for each in findings
        ]
        with self._spool.writing() as connection:
            connection.executemany("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return len(rows)

    def clear(self) -> None:
        """Delete all findings, because an interrupted comparison starts again."""
        with self._spool.writing() as connection:
            connection.execute("DELETE FROM findings")
            connection.execute("DELETE FROM busy")

    def leave_out(self, customers: Iterable[str]) -> None:
        """Leave out the findings of these customers."""
        with self._spool.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO busy VALUES (?)", ((each,) for each in customers))

    def drifting(self) -> Iterator[str]:
        """Return the customers whose profile differs, each once."""
        rows = self._spool.rows("SELECT DISTINCT customer FROM shown WHERE kind = 'profile-drift' ORDER BY customer")
        return (str(row[0]) for row in rows)

    def mark_refused(self, customer: str, refused: Mapping[str, tuple[str, str]]) -> None:
        """Mark differences in fields that Stripe refuses, because no sync would repair them.

        `refused` has Stripe's code and the digest of the refused value, by field. Another value stays repairable.
        """
        query = "SELECT rowid, field, autumn FROM findings WHERE kind = 'profile-drift' AND customer = ?"
        rows = [row for row in self._spool.rows(query, (customer,)) if row[1] in refused]
        change = """UPDATE findings SET kind = 'refused-by-stripe', would = 'nothing', is_repairable = 0, reason = ?
            WHERE rowid = ?"""
        with self._spool.writing() as connection:
            for row, name, value in rows:
                code, digest = refused[name]
                if digest_of(customer, name, value) == digest:
                    connection.execute(change, (f"Stripe refuses {name} ({code})", row))

    def left_out(self) -> int:
        """Count the customers with findings that are left out."""
        return self._count(
            "SELECT count(DISTINCT customer) FROM findings WHERE customer IN (SELECT customer FROM busy)"
        )

    def totals(self) -> dict[str, int]:
        """Return the number of findings by kind, the most first."""
        rows = self._spool.rows("SELECT kind, count(*) FROM shown GROUP BY kind ORDER BY 2 DESC, 1")
        return {str(kind): int(count) for kind, count in rows}

    def repairable(self) -> Iterator[str]:
        """Return the customers that a sync would change, each once."""
        rows = self._spool.rows("SELECT DISTINCT customer FROM shown WHERE is_repairable ORDER BY customer")
        return (str(row[0]) for row in rows)

    def count_repairable(self) -> int:
        """Count the customers that a sync would change."""
        return self._count("SELECT count(DISTINCT customer) FROM shown WHERE is_repairable")

    def fingerprints(self) -> bytes:
        """Return the joined fingerprints of all findings, also of the left-out ones: they may still be there."""
        return b"".join(row[0] for row in self._spool.rows("SELECT fingerprint FROM findings ORDER BY fingerprint"))

    def compare(self, before: bytes) -> Changed:
        """Compare with the fingerprints of another run. A finding that is left out counts as neither new nor fixed."""
        each = (before[at : at + FINGERPRINT_BYTES] for at in range(0, len(before), FINGERPRINT_BYTES))
        with self._spool.writing() as connection:
            connection.execute("DELETE FROM before")
            connection.executemany("INSERT OR IGNORE INTO before VALUES (?)", ((one,) for one in each))
            connection.execute("CREATE INDEX IF NOT EXISTS findings_fingerprint ON findings (fingerprint)")
        return Changed(
            new=self._count("SELECT count(*) FROM shown WHERE fingerprint NOT IN (SELECT fingerprint FROM before)"),
            fixed=self._count(
                "SELECT count(*) FROM before WHERE fingerprint NOT IN (SELECT fingerprint FROM findings)"
            ),
            still_there=self._count("SELECT count(*) FROM shown WHERE fingerprint IN (SELECT fingerprint FROM before)"),
        )

    def _count(self, query: str) -> int:
        return int(next(self._spool.rows(query))[0])
