-- The keys that the coordinator has and had. Where they begin and end is told by entries of the ledger, not by clocks.
CREATE TABLE coordinator_key (
  id         INTEGER PRIMARY KEY,
  key_id     TEXT NOT NULL UNIQUE,
  public_key BLOB CHECK (public_key IS NULL OR length(public_key) = 32), -- NULL: of a time before, and not yet filled in
  since      INTEGER NOT NULL CHECK (since >= 0), -- the first entry that it signs for
  until      INTEGER,                             -- the first that it signs for no longer; NULL: it is the coordinator's key
  until_ms   INTEGER,                             -- when that was, since 1970
  revoked    INTEGER,                             -- the first entry for which what it signed counts no longer
  rotation   BLOB                                 -- by which it took the place of the one before, signed by both
) STRICT;
INSERT INTO coordinator_key (key_id, since) SELECT key_id, 0 FROM coordinator;

ALTER TABLE node_key ADD COLUMN entry INTEGER;    -- that gave it to the node; NULL: it is not kept which
ALTER TABLE node_key ADD COLUMN over INTEGER;     -- that gave the node another one
ALTER TABLE node_key ADD COLUMN revoked INTEGER;  -- the first entry for which what it signed counts no longer
ALTER TABLE node_key ADD COLUMN rotation BLOB;    -- by which it took the place of the one before, signed by both
