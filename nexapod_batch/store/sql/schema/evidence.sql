-- What makes a verdict one that can be recomputed later, what was published, and what became of both since.

-- How each replica of a task stood when the task ended: one letter each, in the order of their numbers. "": it ended
-- before this was kept; NULL: there is no verdict.
ALTER TABLE task ADD COLUMN basis TEXT;
UPDATE task SET basis = '' WHERE state IN ('accepted', 'failed', 'inconclusive');
-- Within tolerances: {"centre": number, "close": [[1, 2]], "apart": {"3": why it could not be compared}}.
ALTER TABLE task ADD COLUMN measured TEXT CHECK (measured IS NULL OR json_valid(measured));
-- Number of the replica whose files lie in the results; NULL: published before this was kept, or not at all.
ALTER TABLE task ADD COLUMN published_from INTEGER;
-- Why an accepted task could not be published so far.
ALTER TABLE task ADD COLUMN unpublished TEXT NOT NULL DEFAULT '';
-- Why the quorum of an accepted task is no longer met: a winner was voided since.
ALTER TABLE task ADD COLUMN doubt TEXT NOT NULL DEFAULT '';
CREATE INDEX task_doubt ON task (job_id) WHERE doubt <> '';

-- Outputs of a published task that are too many for a statement: the signed manifest, deflated.
CREATE TABLE manifest (
  job_id INTEGER NOT NULL,
  task   INTEGER NOT NULL,
  packed BLOB NOT NULL,
  PRIMARY KEY (job_id, task), FOREIGN KEY (job_id, task) REFERENCES task (job_id, idx)
) STRICT, WITHOUT ROWID;

-- Whose database this is: nodes trust the key that signed their bundles, and no other.
CREATE TABLE coordinator (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  key_id TEXT NOT NULL
) STRICT;

UPDATE task SET unpublished = substr(reason, 14), reason = '' WHERE state = 'accepted' AND published = 0 AND reason LIKE 'unpublished: %';
