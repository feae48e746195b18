-- What nodes that joined said beforehand of their reports: SHA-256 of payload and signature.
CREATE TABLE commitment (
  replica_id INTEGER PRIMARY KEY REFERENCES replica (id),
  sha256     BLOB NOT NULL CHECK (length(sha256) = 32),
  created_at INTEGER NOT NULL                    -- when it was taken in, ms
) STRICT;
