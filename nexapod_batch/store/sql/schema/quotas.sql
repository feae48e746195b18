-- What an administrator lets single people have; NULL: as the server says for all.
CREATE TABLE quota (
  person     TEXT PRIMARY KEY CHECK (person <> ''),
  jobs       INTEGER CHECK (jobs >= 0),           -- that have not ended
  tasks      INTEGER CHECK (tasks >= 0),          -- that have not ended
  core_hours REAL CHECK (core_hours >= 0),        -- in 30 days
  bytes      INTEGER CHECK (bytes >= 0)           -- of published results
) STRICT, WITHOUT ROWID;
