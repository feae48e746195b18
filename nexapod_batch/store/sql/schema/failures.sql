-- Which kind of failure a node signed (outcome, and the exit code of a command): an answer of its own.
ALTER TABLE replica ADD COLUMN failure TEXT NOT NULL DEFAULT '';
