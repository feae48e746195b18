-- Times at which a stand-in took over, from a copy of this database. Without a row it is the first epoch.
CREATE TABLE epoch (
  number    INTEGER PRIMARY KEY CHECK (number > 1),
  since     INTEGER NOT NULL,                     -- milliseconds since 1970
  entry     INTEGER NOT NULL,                     -- of the ledger, that says so
  first_job INTEGER NOT NULL                      -- jobs below may be known to nodes better than to this database
) STRICT;
