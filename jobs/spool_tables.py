"""The tables of a scan's spool, in SQLite's words. Names and no code; what goes into them, jobs.spool says."""

from typing import Final

TABLES: Final = """
CREATE TABLE about (run TEXT, identity TEXT, started_ms INTEGER);
CREATE TABLE lists (side TEXT PRIMARY KEY, cursor TEXT, pages INTEGER, rows INTEGER, is_done INTEGER);
CREATE TABLE autumn (id TEXT, name TEXT, email TEXT, stripe_id TEXT, mode TEXT, shown TEXT, metadata TEXT);
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
"""What is kept: both lists and how far they were read, then what is found, and what it is compared with."""
INDEXES: Final = """
CREATE INDEX IF NOT EXISTS autumn_id ON autumn (id);
CREATE INDEX IF NOT EXISTS autumn_stripe_id ON autumn (stripe_id) WHERE stripe_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS stripe_id ON stripe (id);
CREATE INDEX IF NOT EXISTS stripe_owner ON stripe (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_customer ON payments (customer, id);
CREATE TABLE IF NOT EXISTS absent (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""For looking up, made when both lists are whole: an index that grows with them costs several times as much."""
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
"""What a list showed twice, because it moved while it was read, counts once."""
SHARED: Final = """
CREATE TABLE IF NOT EXISTS shared AS
  SELECT stripe_id AS id FROM autumn WHERE stripe_id IS NOT NULL GROUP BY stripe_id HAVING count(*) > 1;
CREATE TABLE IF NOT EXISTS carried AS
  SELECT owner AS id FROM stripe WHERE owner IS NOT NULL GROUP BY owner HAVING count(*) > 1;
CREATE INDEX IF NOT EXISTS shared_id ON shared (id);
CREATE INDEX IF NOT EXISTS carried_id ON carried (id);
"""
"""The few ids that several customers have, on either side."""
