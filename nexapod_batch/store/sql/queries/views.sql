-- What people and scripts are shown. Each query reads whole rows by an index and never counts tasks:
-- the counters of a job are kept by triggers, so a million tasks cost no more here than one.

-- name: view_jobs
SELECT id, uuid, name, user, held, blocked, priority, created_at, finished_at, n_tasks,
       n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled,
       (SELECT count(*) FROM task INDEXED BY task_doubt WHERE job_id = job.id AND doubt <> '') AS n_doubted,
       (SELECT json_extract(CAST(body AS TEXT), '$.labels') FROM document WHERE job_id = job.id) AS labels
FROM job WHERE id < :before ORDER BY id DESC LIMIT :limit;

-- name: view_open_jobs
SELECT id, uuid, name, user, held, blocked, priority, created_at, finished_at, n_tasks,
       n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled,
       (SELECT count(*) FROM task INDEXED BY task_doubt WHERE job_id = job.id AND doubt <> '') AS n_doubted,
       (SELECT json_extract(CAST(body AS TEXT), '$.labels') FROM document WHERE job_id = job.id) AS labels
FROM job WHERE n_waiting + n_active > 0 AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: view_jobs_of
SELECT id, uuid, name, user, held, blocked, priority, created_at, finished_at, n_tasks,
       n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled,
       (SELECT count(*) FROM task INDEXED BY task_doubt WHERE job_id = job.id AND doubt <> '') AS n_doubted,
       (SELECT json_extract(CAST(body AS TEXT), '$.labels') FROM document WHERE job_id = job.id) AS labels
FROM job WHERE user = :user AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: view_job_of_uuid
SELECT id FROM job WHERE uuid = :uuid;

-- name: view_job
SELECT id, uuid, name, user, "foreign", digest, folder, held, blocked, priority, max_running, created_at, finished_at, n_tasks,
       n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled,
       (SELECT count(*) FROM task INDEXED BY task_doubt WHERE job_id = job.id AND doubt <> '') AS n_doubted,
       (SELECT json_extract(CAST(body AS TEXT), '$.quorum') FROM document WHERE job_id = job.id) AS quorum,
       (SELECT json_extract(CAST(body AS TEXT), '$.container') FROM document WHERE job_id = job.id) AS container,
       EXISTS (SELECT 1 FROM delivery WHERE job_id = job.id) AS delivered,
       (SELECT json_extract(CAST(body AS TEXT), '$.labels') FROM document WHERE job_id = job.id) AS labels
FROM job WHERE id = :id;

-- name: view_job_array
SELECT json_extract(CAST(body AS TEXT), '$.array') AS array FROM document WHERE job_id = :id;

-- name: view_job_dependencies
SELECT on_job, condition FROM dependency WHERE job_id = :id ORDER BY on_job;

-- name: view_jobs_before_that_may_not_hold
WITH RECURSIVE earlier (id) AS (
  SELECT on_job FROM dependency WHERE job_id = :id
  UNION SELECT d.on_job FROM earlier JOIN dependency d ON d.job_id = earlier.id
)
SELECT j.id FROM earlier JOIN job j ON j.id = earlier.id
WHERE j.n_accepted < j.n_tasks OR EXISTS (SELECT 1 FROM task INDEXED BY task_doubt WHERE job_id = j.id AND doubt <> '');

-- name: view_tasks
SELECT idx, state, reason, agree, class AS numeric_class, published, published_from, unpublished, doubt
FROM task WHERE job_id = :id AND idx BETWEEN :first AND :last ORDER BY idx LIMIT :limit;

-- name: view_tasks_without_result
SELECT idx, state, reason, agree, class AS numeric_class, published, published_from, unpublished, doubt
FROM task WHERE job_id = :id AND (state <> 'accepted' OR unpublished <> '' OR doubt <> '') ORDER BY idx LIMIT :limit;

-- name: view_replicas
SELECT r.task, r.number, n.name AS node, n.key_id AS node_key, n.site, n.owner, n.backend, r.host, r.class AS numeric_class, r.isolation,
       r.execution, r.validation, r.voided, r.exit_code, r.wall_ms, r.cpu_ms, r.max_rss_kib, r.output_bytes, r.gpus, r.cleaned,
       CASE WHEN r.execution IN ('submitted', 'queued', 'running') THEN coalesce(l.reason, '') ELSE r.reason END AS reason,
       coalesce(l.native_id, '') AS native_id, coalesce(l.native_state, '') AS native_state, coalesce(l.native_reason, '') AS native_reason,
       (SELECT b.number FROM continuation AS k JOIN replica AS b ON b.id = k.before WHERE k.replica_id = r.id) AS continues
FROM replica AS r JOIN node AS n ON n.id = r.node_id LEFT JOIN launch AS l ON l.id = r.launch_id
WHERE r.job_id = :id AND r.task BETWEEN :first AND :last ORDER BY r.task, r.number;

-- name: view_carried
SELECT r.number, c.files FROM replica AS r JOIN carried AS c ON c.replica_id = r.id
WHERE r.job_id = :job AND r.task = :task ORDER BY r.number;

-- name: view_nodes
SELECT n.name, n.key_id, n.public_key, n.site, n.owner, n.host, n.tier, n.backend, n.cpus, n.mem_mib, n.gpus, n.gpu_type,
       n.classes, n.max_queued, n.active, n.blame, n.created_at,
       (SELECT count(*) FROM replica AS r
        WHERE r.node_id = n.id AND r.ended_at IS NULL) AS out
FROM node AS n ORDER BY n.name;

-- name: view_segments
SELECT n.name AS node, s.name AS segment, s.position FROM node AS n LEFT JOIN segment AS s ON s.node_id = n.id;

-- name: view_last_job
SELECT max(id) AS id FROM job;

-- name: view_job_ids
SELECT id FROM job WHERE id BETWEEN :first AND :last ORDER BY id;

-- name: view_open_job_ids
SELECT id FROM job WHERE n_waiting + n_active > 0 ORDER BY id;

-- name: view_waits
-- Why launches wait of which nothing runs yet, or of which all was reported but where, in the backends' words, and tasks
-- that find no place.
SELECT DISTINCT l.job_id AS job, l.reason FROM launch AS l
WHERE l.job_id IN (SELECT value FROM json_each(:jobs)) AND l.state IN ('intent', 'handed') AND l.reason <> ''
  AND NOT EXISTS (SELECT 1 FROM replica AS r WHERE r.launch_id = l.id AND r.execution = 'running')
  AND (NOT EXISTS (SELECT 1 FROM replica AS r WHERE r.launch_id = l.id AND r.execution NOT IN ('submitted', 'queued'))
    OR l.host_set >= 0 AND l.hosts = ''
      AND NOT EXISTS (SELECT 1 FROM replica AS r WHERE r.launch_id = l.id AND r.execution IN ('submitted', 'queued')))
UNION SELECT t.job_id, t.reason FROM task AS t
WHERE t.job_id IN (SELECT value FROM json_each(:jobs)) AND t.want > 0 AND t.reason <> '' AND t.not_before <= :now
ORDER BY 1, 2 LIMIT :limit;

-- name: view_waits_lost
-- Why the newest replica was lost of each task that is placed again later.
SELECT DISTINCT t.job_id AS job, r.reason FROM task AS t JOIN replica AS r ON r.job_id = t.job_id AND r.task = t.idx
WHERE t.job_id IN (SELECT value FROM json_each(:jobs)) AND t.want > 0 AND t.not_before > :now AND r.execution = 'lost'
  AND r.reason <> '' AND r.number = (SELECT max(n.number) FROM replica AS n WHERE n.job_id = t.job_id AND n.task = t.idx)
ORDER BY 1, 2 LIMIT :limit;

-- name: view_judged
SELECT v.entry, v.task, e.body FROM verdict v LEFT JOIN ledger_entry e ON e.idx = v.entry
WHERE v.again = 1 AND v.job_id = :job AND v.task BETWEEN :first AND :last ORDER BY v.entry;
