-- Signed reports as they came, the segments that they came in, and bad ones. Times are milliseconds since 1970.

-- name: segments
SELECT name, position FROM segment WHERE node_id = :node;

-- name: segment_moved
INSERT INTO segment (node_id, name, position) VALUES (:node, :name, :position)
ON CONFLICT (node_id, name) DO UPDATE SET position = excluded.position WHERE excluded.position > position;

-- name: segment_gone
DELETE FROM segment WHERE node_id = :node AND name = :name;

-- name: reports_of
SELECT p.payload_sha256, p.packed, p.signature, p.received_at, d.payload AS dictionary, r.launch_id, r.node_id
FROM report p JOIN replica r ON r.id = p.replica_id JOIN dictionary d ON d.job_id = r.job_id
WHERE p.replica_id = :replica ORDER BY p.received_at, p.payload_sha256;

-- name: dictionary
SELECT payload FROM dictionary WHERE job_id = :job;

-- name: dictionary_insert
INSERT INTO dictionary (job_id, payload) VALUES (:job, :payload);

-- name: carried_of
SELECT files FROM carried WHERE replica_id = :replica;

-- name: report_insert
INSERT OR IGNORE INTO report (replica_id, payload_sha256, packed, signature, received_at) VALUES (?, ?, ?, ?, ?);

-- name: carried_insert
INSERT OR IGNORE INTO carried (replica_id, files) VALUES (?, ?);

-- name: carried_supplied
-- The files of a report that was read before without them, as long as they are wanted.
INSERT OR IGNORE INTO carried (replica_id, files) SELECT r.id, :files FROM replica r JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
WHERE r.id = :replica AND r.cleaned = 0 AND r.voided = 0 AND t.published = 0;

-- name: quarantine_insert
INSERT OR IGNORE INTO quarantine (node_id, segment, position, reason, line, created_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: quarantine_count
SELECT count(*) AS n, (SELECT coalesce(sum(dropped), 0) FROM node) AS dropped FROM quarantine;

-- name: quarantine_of
SELECT count(*) AS n FROM quarantine WHERE node_id = :node;

-- name: quarantine_dropped
UPDATE node SET dropped = dropped + :n WHERE id = :node;

-- name: quarantine_last
SELECT n.name AS node, q.segment, q.position, q.reason FROM quarantine q LEFT JOIN node n ON n.id = q.node_id ORDER BY q.id DESC LIMIT :limit;

-- name: carried_results
-- The files carried by the replica of each task that is published first, unless a loser is to be compared with it.
SELECT r.task, r.number, c.files FROM replica r JOIN carried c ON c.replica_id = r.id JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
WHERE r.job_id = :job AND r.task IN (SELECT value FROM json_each(:tasks)) AND r.validation = 'valid' AND r.execution = 'reported'
  AND r.number = coalesce(json_extract(t.measured, '$.centre'),
    (SELECT min(number) FROM replica v WHERE v.job_id = r.job_id AND v.task = r.task AND v.validation = 'valid' AND v.execution = 'reported'))
  AND NOT EXISTS (SELECT 1 FROM replica l WHERE l.job_id = r.job_id AND l.task = r.task AND l.validation = 'invalid');

-- name: replica_uncarried
DELETE FROM carried WHERE replica_id = ?;

-- name: task_uncarried
DELETE FROM carried WHERE replica_id IN (SELECT id FROM replica WHERE job_id = ? AND task = ?);
