-- Replicas that go on from what an earlier one of their task left when it was stopped.
CREATE TABLE continuation (
  replica_id INTEGER PRIMARY KEY REFERENCES replica (id),
  before     INTEGER NOT NULL REFERENCES replica (id), -- an earlier one of the same task
  files      TEXT NOT NULL                             -- JSON object: path in the work folder -> SHA-256
) STRICT;
CREATE INDEX continuation_before ON continuation (before);
