"""The findings of a scan in its spool: kept as they are found, read as often as they are shown.

Also what they are compared with: the customers that are to be left out, and the findings of the run before.
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
    """The same for the same finding in another run, whatever its values are then."""
    parts = (finding.customer, finding.kind, finding.field, *finding.stripe_ids)
    return hashlib.sha256("\n".join(parts).encode()).digest()[:FINGERPRINT_BYTES]


class SpooledFindings:
    """The findings of a spool, without those of customers that are left out and of kinds that nobody asked for."""

    def __init__(self, spool: Spool, kinds: Iterable[str]) -> None:
        """`kinds` are those that are wanted."""
        self._spool = spool
        with spool.writing() as connection:
            connection.execute("DELETE FROM wanted")
            connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", [(kind,) for kind in kinds])

    def __iter__(self) -> Iterator[ScanFinding]:
        """Read them, by kind and customer."""
        query = """SELECT customer, kind, stripe_ids, field, autumn, stripe, reason, would, is_repairable FROM shown
            ORDER BY kind, customer, field, stripe_ids"""
        for customer, kind, stripe_ids, field, autumn, stripe, reason, would, is_repairable in self._spool.rows(query):
            ids = tuple(json.loads(stripe_ids))
            yield ScanFinding(customer, kind, ids, field, autumn, stripe, reason, would, bool(is_repairable))

    def add(self, findings: Iterable[ScanFinding]) -> int:
        """Keep findings, all or none; how many there were."""
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
        """Forget all of them: a comparison that was cut short is made again."""
        with self._spool.writing() as connection:
            connection.execute("DELETE FROM findings")
            connection.execute("DELETE FROM busy")

    def leave_out(self, customers: Iterable[str]) -> None:
        """Leave the findings of these customers out."""
        with self._spool.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO busy VALUES (?)", ((each,) for each in customers))

    def drifting(self) -> Iterator[str]:
        """The customers whose profile differs, each once."""
        rows = self._spool.rows("SELECT DISTINCT customer FROM shown WHERE kind = 'profile-drift' ORDER BY customer")
        return (str(row[0]) for row in rows)

    def note_refused(self, customer: str, refused: Mapping[str, tuple[str, str]]) -> None:
        """Note that Stripe refuses fields of a customer: their code and the digest of the value, by field.

        What differs in nothing but these is no drift that a sync would repair.
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
        """How many customers with findings are left out."""
        return self._count(
            "SELECT count(DISTINCT customer) FROM findings WHERE customer IN (SELECT customer FROM busy)"
        )

    def totals(self) -> dict[str, int]:
        """How many there are by kind, the most first."""
        rows = self._spool.rows("SELECT kind, count(*) FROM shown GROUP BY kind ORDER BY 2 DESC, 1")
        return {str(kind): int(count) for kind, count in rows}

    def repairable(self) -> Iterator[str]:
        """The customers that a sync would change, each once."""
        rows = self._spool.rows("SELECT DISTINCT customer FROM shown WHERE is_repairable ORDER BY customer")
        return (str(row[0]) for row in rows)

    def count_repairable(self) -> int:
        """How many customers a sync would change."""
        return self._count("SELECT count(DISTINCT customer) FROM shown WHERE is_repairable")

    def fingerprints(self) -> bytes:
        """Those of all findings one behind the other, of customers that are left out too: they may still be there."""
        return b"".join(row[0] for row in self._spool.rows("SELECT fingerprint FROM findings ORDER BY fingerprint"))

    def compare(self, before: bytes) -> Changed:
        """The difference to the fingerprints of another run. What is left out counts as neither new nor fixed."""
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
