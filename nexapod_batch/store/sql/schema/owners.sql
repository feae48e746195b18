-- People and labs that answer for nodes that joined. One without a row is of before there were any: approved.
CREATE TABLE owner (
  name   TEXT PRIMARY KEY CHECK (name <> ''),
  state  TEXT NOT NULL CHECK (state IN ('waits', 'approved', 'suspended')),
  since  INTEGER NOT NULL,                        -- milliseconds since 1970
  by     TEXT NOT NULL DEFAULT ''                 -- who said so
) STRICT, WITHOUT ROWID;
