-- What happened, in an append-only tree (RFC 6962). The triggers keep accidents away; what proves is the tree.

CREATE TABLE ledger_entry (
  idx  INTEGER PRIMARY KEY CHECK (idx >= 0),      -- from 0, without gaps
  body BLOB NOT NULL CHECK (length(body) BETWEEN 2 AND 4096), -- canonical JSON
  mark INTEGER NOT NULL                           -- the first 6 bytes of its leaf hash: tells which entry was changed
) STRICT;

-- Hashes of whole subtrees of 16 entries and more; those below are worked out from the entries when they are wanted.
CREATE TABLE ledger_node (
  level INTEGER NOT NULL CHECK (level >= 4),
  idx   INTEGER NOT NULL CHECK (idx >= 0),
  hash  BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (                         -- signed heads of this ledger
  size INTEGER PRIMARY KEY CHECK (size > 0),
  note TEXT NOT NULL
) STRICT;

CREATE TABLE witnessed (                          -- the newest head that was cosigned of each other ledger
  origin TEXT PRIMARY KEY,
  key    TEXT NOT NULL,                           -- by which it signs: NAME+ID+KEY
  note   TEXT NOT NULL
) STRICT;

CREATE TRIGGER ledger_entry_stays BEFORE UPDATE ON ledger_entry BEGIN SELECT raise(ABORT, 'entries of the ledger stay as they are'); END;
CREATE TRIGGER ledger_entry_kept BEFORE DELETE ON ledger_entry BEGIN SELECT raise(ABORT, 'entries of the ledger are kept'); END;
CREATE TRIGGER ledger_node_stays BEFORE UPDATE ON ledger_node BEGIN SELECT raise(ABORT, 'nodes of the ledger stay as they are'); END;
CREATE TRIGGER ledger_node_kept BEFORE DELETE ON ledger_node BEGIN SELECT raise(ABORT, 'nodes of the ledger are kept'); END;
CREATE TRIGGER checkpoint_stays BEFORE UPDATE ON checkpoint BEGIN SELECT raise(ABORT, 'heads of the ledger stay as they are'); END;
CREATE TRIGGER checkpoint_kept BEFORE DELETE ON checkpoint BEGIN SELECT raise(ABORT, 'heads of the ledger are kept'); END;

-- Where in the ledger the facts stand: numbers of entries.
ALTER TABLE job ADD COLUMN submitted INTEGER;
ALTER TABLE task ADD COLUMN decided INTEGER;      -- its latest verdict
ALTER TABLE replica ADD COLUMN placed INTEGER;
ALTER TABLE replica ADD COLUMN committed INTEGER; -- its first report
