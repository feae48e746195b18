-- Replicas: what was placed, what was reported, what is to stop. Times are milliseconds since 1970.
-- A replica is out as long as it has not ended: `ended_at` is set by everything that takes it out of created, submitted,
-- queued and running.

-- name: replicas_of_task
SELECT id, job_id, task, number, node_id, launch_id, isolation, created_at, ended_at, host, machine, execution, validation, voided,
  class AS numeric_class, vote, reason, failure, nonce, exit_code, wall_ms, cpu_ms, max_rss_kib, output_bytes,
  gpus, deadline, cleaned
FROM replica WHERE job_id = :job AND task = :task ORDER BY number;

-- name: foreign_replicas
SELECT r.id, r.node_id, r.isolation, r.created_at, r.ended_at,
  (SELECT json_extract(CAST(d.body AS TEXT), '$.container') IS NOT NULL FROM document d WHERE d.job_id = j.id) AS contained
FROM job j JOIN replica r ON r.job_id = j.id
WHERE j."foreign" = 1 AND r.created_at <= :until AND (r.ended_at IS NULL OR r.ended_at >= :since) AND r.isolation IN ('', 'none');

-- name: replicas_of_tasks
SELECT id, job_id, task, number, node_id, launch_id, isolation, created_at, ended_at, host, machine, execution, validation, voided,
  class AS numeric_class, vote, reason, failure
FROM replica
WHERE job_id = :job AND task IN (SELECT value FROM json_each(:tasks)) ORDER BY task, number;

-- name: replica_could_not_fetch
SELECT EXISTS (
  SELECT 1 FROM replica WHERE job_id = :job AND node_id = :node AND execution = 'lost' AND instr(reason, :words)
);

-- name: replica_words_of_losses
SELECT DISTINCT reason FROM replica
WHERE job_id = :job AND task IN (SELECT value FROM json_each(:tasks)) AND execution = 'lost' AND instr(reason, :words) LIMIT :limit;

-- name: replica_insert
INSERT INTO replica (job_id, task, number, node_id, launch_id, nonce, created_at, deadline, placed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: overdue
SELECT id, job_id, task FROM replica
WHERE ended_at IS NULL AND deadline < :now LIMIT :limit;

-- name: replica_overdue
UPDATE replica SET execution = 'lost', reason = ?, ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued', 'running');

-- name: replicas_for_reports
SELECT r.id, r.task, r.number, r.node_id, r.launch_id, r.created_at, r.nonce, r.execution, j.uuid AS job_uuid,
  j.digest AS job_digest, coalesce(l.native_id, '') AS native_id
FROM job j JOIN replica r ON r.job_id = j.id LEFT JOIN launch l ON l.id = r.launch_id
WHERE j.id = :job AND r.task IN (SELECT value FROM json_each(:tasks)) AND r.number BETWEEN :least AND :most;

-- name: replica_reported
UPDATE replica SET execution = ?, reason = ?, failure = ?, exit_code = ?, host = ?, machine = ?, class = ?, isolation = ?, vote = ?, wall_ms = ?, cpu_ms = ?,
  max_rss_kib = ?, output_bytes = ?, gpus = ?, ended_at = ?, cleaned = ?, committed = coalesce(committed, ?)
WHERE id = ? AND voided = 0 AND execution <> 'reported';

-- name: replica_voided
UPDATE replica SET voided = 1, execution = 'errored', reason = '{"code":"replica.two_statements"}' WHERE id = :id AND voided = 0;

-- name: replica_withdrawn
UPDATE replica SET execution = 'errored', reason = :reason WHERE id = :id AND execution = 'reported' AND voided = 0
RETURNING job_id, task;

-- name: replica_running
UPDATE replica SET execution = 'running' WHERE job_id = ? AND task = ? AND number = ? AND node_id = ? AND execution IN ('submitted', 'queued');

-- name: replica_judged
UPDATE replica SET validation = :validation WHERE id IN (SELECT value FROM json_each(:replicas)) AND validation <> :validation;

-- name: replica_unneeded
UPDATE replica SET execution = 'cancelled', validation = 'unneeded', reason = '{"code":"replica.not_needed"}', ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued');

-- name: replica_cleaned
UPDATE replica SET cleaned = 1 WHERE id = ?;

-- name: replicas_unclean
SELECT r.id, r.job_id, r.task, r.number, r.node_id, r.execution FROM replica r JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
WHERE r.cleaned = 0 AND r.execution IN ('reported', 'errored', 'lost', 'cancelled')
  AND coalesce(r.ended_at, 0) < CASE WHEN t.published = 1 THEN :accepted WHEN t.state IN ('failed', 'inconclusive', 'cancelled') THEN :others END
LIMIT :limit;

-- name: replicas_out
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key FROM replica r JOIN launch l ON l.id = r.launch_id
WHERE r.job_id = :job AND (:task IS NULL OR r.task = :task) AND r.ended_at IS NULL;

-- name: jobs_out
-- From one job to the next in the index: a job may have many thousand replicas out.
WITH RECURSIVE found (job) AS (
  SELECT min(job_id) FROM replica WHERE node_id = :node AND ended_at IS NULL
  UNION ALL
  SELECT (SELECT min(job_id) FROM replica WHERE node_id = :node AND ended_at IS NULL AND job_id > found.job) FROM found WHERE found.job IS NOT NULL
)
SELECT job FROM found WHERE job IS NOT NULL LIMIT :limit;

-- name: replica
SELECT l.key, l.reason, l.host_set >= 0 AND l.hosts = '' AS host_awaited FROM replica r JOIN launch l ON l.id = r.launch_id WHERE r.id = :id;

-- name: stop_owe
INSERT OR IGNORE INTO stop_owed (replica_id) VALUES (?);

-- name: stops_owed
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key, l.state IN ('intent', 'handed') AS open
FROM stop_owed o JOIN replica r ON r.id = o.replica_id JOIN launch l ON l.id = r.launch_id ORDER BY r.node_id, r.id;

-- name: stop_paid
DELETE FROM stop_owed WHERE replica_id = ?;

-- name: ahead_of
SELECT count(*) AS n FROM replica r JOIN launch l ON l.id = r.launch_id
WHERE r.node_id = :node AND r.ended_at IS NULL AND r.id < :id
  AND l.native_id <> '' AND l.native_id = (SELECT native_id FROM launch WHERE id = :launch);

-- name: replica_cancel
UPDATE replica SET execution = 'cancelled', reason = '{"code":"replica.cancelled"}', ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued', 'running');

-- name: replicas_set_aside
UPDATE replica SET validation = 'unneeded'
WHERE job_id = :job AND (:task IS NULL OR task = :task) AND execution IN ('errored', 'lost', 'cancelled')
  AND EXISTS (SELECT 1 FROM task t WHERE t.job_id = replica.job_id AND t.idx = replica.task
    AND (t.state IN ('failed', 'inconclusive', 'cancelled') OR t.doubt <> ''));

-- name: replicas_of_job
SELECT id, job_id, task, number, node_id, launch_id, isolation, created_at, ended_at, host, machine, execution, validation, voided,
  class AS numeric_class, vote, reason, failure, nonce, exit_code, wall_ms, cpu_ms, max_rss_kib, output_bytes,
  gpus, deadline, cleaned
FROM replica WHERE job_id = :job ORDER BY task, number;

-- name: replicas_between
SELECT id, job_id, task, number, node_id, launch_id, isolation, created_at, ended_at, host, machine, execution, validation, voided,
  class AS numeric_class, vote, reason, failure, nonce, exit_code, wall_ms, cpu_ms, max_rss_kib, output_bytes,
  gpus, deadline, cleaned
FROM replica WHERE job_id = :job AND task BETWEEN :first AND :last ORDER BY task, number;
