-- What nodes offer of their machines: the DSSE envelope, exactly as it was signed.
CREATE TABLE profile (
  node_id  INTEGER PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
  envelope BLOB NOT NULL CHECK (length(envelope) > 0)
) STRICT;
