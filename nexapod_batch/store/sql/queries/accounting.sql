-- Who submitted what since a time, and what it used.

-- name: accounting_jobs
-- The document is text in a BLOB, which JSON functions want to be told.
SELECT j.id AS job, j.user,
  coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.ntasks'), 1)
  * coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.cpus_per_task'), 1) AS cpus,
  coalesce(json_extract(CAST(d.body AS TEXT), '$.sites'), '[]') AS sites, j.n_tasks, j.n_accepted
FROM job j JOIN document d ON d.job_id = j.id WHERE j.created_at >= :since ORDER BY j.id;

-- name: accounting_use
-- Nodes may sign numbers up to 2^53: added up as real ones they never overflow.
WITH first_valid AS (
  SELECT r.job_id, r.task, min(r.number) AS number FROM replica r
  JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
  JOIN job j ON j.id = r.job_id
  WHERE j.created_at >= :since AND t.state = 'accepted' AND r.validation = 'valid' AND r.wall_ms IS NOT NULL
  GROUP BY r.job_id, r.task
)
SELECT r.job_id AS job, n.site, count(*) AS executions, total(r.wall_ms) AS wall_ms,
  total(CASE WHEN f.number IS NOT NULL THEN r.wall_ms END) AS needed_ms,
  count(r.cpu_ms) AS n_cpu, total(r.cpu_ms) AS cpu_ms,
  total(r.wall_ms * (SELECT count(*) FROM json_each(r.gpus))) AS gpu_ms,
  coalesce(sum((SELECT count(*) FROM json_each(r.gpus))), 0) AS n_gpus,
  coalesce(sum((SELECT count(json_extract(g.value, '$.energy_mj')) FROM json_each(r.gpus) AS g)), 0) AS n_energy,
  total((SELECT total(json_extract(g.value, '$.energy_mj')) FROM json_each(r.gpus) AS g)) AS energy_mj
FROM replica r JOIN job j ON j.id = r.job_id JOIN node n ON n.id = r.node_id
LEFT JOIN first_valid f ON f.job_id = r.job_id AND f.task = r.task AND f.number = r.number
WHERE j.created_at >= :since AND r.wall_ms IS NOT NULL
GROUP BY r.job_id, n.site ORDER BY r.job_id, n.site;

-- name: accounting_given
-- What nodes gave since a time, by the clock of this machine; a task counts once for each node and period.
SELECT n.name AS node, coalesce(strftime(:form, r.ended_at / 1000, 'unixepoch', 'localtime'), '') AS period,
  count(DISTINCT r.job_id || '_' || r.task) AS tasks, count(*) AS replicas, total(r.validation = 'valid') AS valid,
  total(r.wall_ms * coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.ntasks'), 1)
    * coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.cpus_per_task'), 1)) AS core_ms,
  count(r.cpu_ms) AS n_cpu, total(r.cpu_ms) AS cpu_ms,
  total(r.wall_ms * (SELECT count(*) FROM json_each(r.gpus))) AS gpu_ms,
  coalesce(sum((SELECT count(*) FROM json_each(r.gpus))), 0) AS n_gpus,
  coalesce(sum((SELECT count(json_extract(g.value, '$.energy_mj')) FROM json_each(r.gpus) AS g)), 0) AS n_energy,
  total((SELECT total(json_extract(g.value, '$.energy_mj')) FROM json_each(r.gpus) AS g)) AS energy_mj
FROM replica r JOIN node n ON n.id = r.node_id JOIN document d ON d.job_id = r.job_id
WHERE r.wall_ms IS NOT NULL AND coalesce(r.ended_at, 0) >= :since AND (:node = '' OR n.name = :node)
GROUP BY n.name, period ORDER BY n.name, period;
