-- What nodes committed themselves to report.

-- name: commitment_insert
INSERT INTO commitment (replica_id, sha256, created_at)
SELECT id, :sha256, :now FROM replica WHERE job_id = :job AND task = :task AND number = :number AND node_id = :node
ON CONFLICT (replica_id) DO NOTHING;

-- name: commitments_of
SELECT replica_id, sha256 FROM commitment WHERE replica_id IN (SELECT value FROM json_each(:replicas));
