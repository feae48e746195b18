-- Replicas that go on from what an earlier one of their task left.

-- name: continuation_insert
INSERT INTO continuation (replica_id, before, files)
SELECT id, :before, :files FROM replica WHERE job_id = :job AND task = :task AND number = :number;

-- name: continuation_of
SELECT b.number AS number, n.files AS files FROM continuation n JOIN replica b ON b.id = n.before
WHERE n.replica_id = :replica;

-- name: continued
SELECT n.before, n.replica_id FROM continuation n JOIN replica b ON b.id = n.before
WHERE b.job_id = :job AND b.task IN (SELECT value FROM json_each(:tasks));

-- name: continuation_files_of_launch
SELECT n.files FROM continuation n JOIN replica r ON r.id = n.replica_id WHERE r.launch_id = :launch;

-- name: continuation_files_out
SELECT n.files FROM continuation n JOIN replica r ON r.id = n.replica_id
WHERE r.execution IN ('created', 'submitted', 'queued', 'running');
