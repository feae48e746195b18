-- Nodes whose newest launches, one after the other, ended before anything of them began, all for the same reason.
CREATE TABLE start_failure (
  node_id INTEGER PRIMARY KEY REFERENCES node (id),
  alike   INTEGER NOT NULL CHECK (alike > 0),     -- launches in a row
  pattern TEXT NOT NULL,                          -- why, without numbers: what makes two of them alike
  why     TEXT NOT NULL,                          -- of the newest
  at      INTEGER NOT NULL                        -- when that was told, milliseconds since 1970
) STRICT;
