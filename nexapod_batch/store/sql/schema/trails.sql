-- Notes of what replicas wrote to their logs while they ran, as their runners wrote them, and what checks them.
CREATE TABLE trail (
  replica_id INTEGER NOT NULL REFERENCES replica (id),
  number     INTEGER NOT NULL CHECK (number > 0),
  note       BLOB NOT NULL,                       -- the line of the segment
  PRIMARY KEY (replica_id, number)
) STRICT, WITHOUT ROWID;

ALTER TABLE delegation ADD COLUMN trail BLOB CHECK (trail IS NULL OR length(trail) = 32); -- secret of the launch's log trails
