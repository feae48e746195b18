-- People who use the coordinator from elsewhere. Of a token only its SHA-256 is kept: it has 256 random bits.
CREATE TABLE token (
  id         INTEGER PRIMARY KEY,
  hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  person     TEXT NOT NULL CHECK (person <> ''),
  name       TEXT NOT NULL DEFAULT '',            -- what it is for, in the words of whoever made it
  scope      TEXT NOT NULL CHECK (scope IN ('submit', 'operate', 'admin', 'join')),
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT;

-- Submissions by the key that their sender chose (Idempotency-Key): what is sent twice becomes one job.
CREATE TABLE sent (
  person     TEXT NOT NULL,
  key        TEXT NOT NULL,
  digest     BLOB NOT NULL CHECK (length(digest) = 32),
  job_id     INTEGER NOT NULL REFERENCES job (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (person, key)
) STRICT, WITHOUT ROWID;
