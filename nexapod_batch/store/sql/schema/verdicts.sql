-- Verdicts as the coordinator signed them: deflated, all but the first of a job with that one as dictionary.
CREATE TABLE verdict (
  entry     INTEGER PRIMARY KEY,                  -- of the ledger, which has the SHA-256 of the payload
  job_id    INTEGER NOT NULL,
  task      INTEGER NOT NULL,
  packed    BLOB NOT NULL,
  signature BLOB NOT NULL CHECK (length(signature) = 64),
  FOREIGN KEY (job_id, task) REFERENCES task (job_id, idx)
) STRICT;
CREATE INDEX verdict_of ON verdict (job_id, task);
