-- The inputs of documents that have thousands of them: jobs with the same inputs share one list, and whoever wants another
-- part of a document reads no list. Exactly the bytes of the value of "inputs" in the canonical JSON.
CREATE TABLE input_list (
  sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32), -- of the body
  body   BLOB NOT NULL
) STRICT;

-- Which list a document has, and after how many bytes of its body that stands for `[]`; NULL: the body is the whole document.
ALTER TABLE document ADD COLUMN inputs BLOB REFERENCES input_list (sha256);
ALTER TABLE document ADD COLUMN inputs_at INTEGER CHECK ((inputs IS NULL) = (inputs_at IS NULL));

-- The documents as their digests cover them; NULL where a list is gone.
CREATE VIEW whole_document AS
SELECT d.job_id, CASE WHEN d.inputs IS NULL AND d.inputs_at IS NULL THEN d.body
  ELSE CAST(substr(d.body, 1, d.inputs_at) || l.body || substr(d.body, d.inputs_at + 3) AS BLOB) END AS body
FROM document d LEFT JOIN input_list l ON l.sha256 = d.inputs;
