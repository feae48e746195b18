-- The keys that a node has and had. Its own key signs its profile and the delegations of its launches, no statement.
CREATE TABLE node_key (
  id         INTEGER PRIMARY KEY,
  node_id    INTEGER NOT NULL REFERENCES node (id) ON DELETE CASCADE,
  key_id     TEXT NOT NULL UNIQUE,
  public_key BLOB NOT NULL CHECK (length(public_key) = 32),
  since      INTEGER NOT NULL,
  until      INTEGER                              -- when another one took its place; NULL: it is the node's key
) STRICT;
CREATE INDEX node_key_of ON node_key (node_id, id);
INSERT INTO node_key (node_id, key_id, public_key, since) SELECT id, key_id, public_key, created_at FROM node ORDER BY id;

CREATE TRIGGER node_made AFTER INSERT ON node BEGIN
  INSERT INTO node_key (node_id, key_id, public_key, since) VALUES (NEW.id, NEW.key_id, NEW.public_key, NEW.created_at);
END;

-- What the node's key signed for the key of a launch. Launches without one are of a time when the node's key, its
-- first, signed the statements.
CREATE TABLE delegation (
  launch_id INTEGER PRIMARY KEY REFERENCES launch (id),
  seed      BLOB CHECK (seed IS NULL OR length(seed) = 32), -- of the launch's key, until the launch is claimed or ended
  key_id    INTEGER NOT NULL REFERENCES node_key (id),
  not_after INTEGER NOT NULL,                     -- seconds since 1970: no replica starts later
  claim     INTEGER NOT NULL DEFAULT 1 CHECK (claim IN (0, 1)), -- 0: the backend may forget that it was claimed
  payload   BLOB NOT NULL,                        -- exactly the bytes that were signed
  signature BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE INDEX delegation_claim ON delegation (not_after) WHERE claim = 1;

CREATE TRIGGER launch_over AFTER UPDATE OF state ON launch WHEN NEW.state IN ('ended', 'forgotten') BEGIN
  UPDATE delegation SET seed = NULL WHERE launch_id = NEW.id AND seed IS NOT NULL;
END;
