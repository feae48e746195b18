-- Jobs whose results are wanted elsewhere. Times are milliseconds since 1970.
CREATE TABLE delivery (
  job_id    INTEGER PRIMARY KEY REFERENCES job (id),
  made      INTEGER NOT NULL DEFAULT 0 CHECK (made >= 0),   -- deliveries that were completed: a retry makes another one
  of_finish INTEGER,                                        -- when the job had finished that the last one is of
  place     TEXT NOT NULL DEFAULT '',                       -- where that lies
  digest    BLOB CHECK (digest IS NULL OR length(digest) = 32), -- SHA-256 of what names everything in it
  tries     INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),  -- that failed since
  next_at   INTEGER NOT NULL DEFAULT 0,                     -- not before this
  reason    TEXT NOT NULL DEFAULT ''                        -- why the last try failed, as JSON; '' for none
) STRICT;
