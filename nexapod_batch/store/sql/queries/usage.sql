-- What the replicas of a job used, added up.

-- name: usage
-- Nodes may sign numbers up to 2^53: added up as real ones they never overflow.
-- What is not measured is left out, from the time that it is compared with as well; only those that ended well give advice.
SELECT count(*) AS n, total(wall_ms) AS wall_ms, max(wall_ms) AS max_wall_ms, total(output_bytes) AS output_bytes,
  count(cpu_ms) AS n_cpu, total(cpu_ms) AS cpu_ms, total(CASE WHEN cpu_ms IS NOT NULL THEN wall_ms END) AS timed_ms,
  max(max_rss_kib) AS max_rss_kib,
  max(CASE WHEN execution = 'reported' THEN wall_ms END) AS max_wall_ms_well,
  total(CASE WHEN execution = 'reported' THEN cpu_ms END) AS cpu_ms_well,
  total(CASE WHEN execution = 'reported' AND cpu_ms IS NOT NULL THEN wall_ms END) AS timed_ms_well,
  max(CASE WHEN execution = 'reported' THEN max_rss_kib END) AS max_rss_kib_well
FROM replica WHERE job_id = :job AND wall_ms IS NOT NULL;

-- name: usage_elsewhere
-- Replicas on sites of whose ranks nobody measured what they used: by what schedulers call their launches.
SELECT DISTINCT l.native_id FROM replica r JOIN node n ON n.id = r.node_id LEFT JOIN launch l ON l.id = r.launch_id
WHERE r.job_id = :job AND r.wall_ms IS NOT NULL AND r.cpu_ms IS NULL AND n.site <> 'local' LIMIT :limit;

-- name: usage_gpus
SELECT count(*) AS n, total(r.wall_ms) AS wall_ms, sum(json_extract(g.value, '$.time_ms') * 1.0) AS time_ms,
  sum(CASE WHEN json_extract(g.value, '$.time_ms') IS NOT NULL THEN r.wall_ms * 1.0 END) AS timed_ms,
  max(json_extract(g.value, '$.peak_mib')) AS peak_mib, sum(json_extract(g.value, '$.energy_mj') * 1.0) AS energy_mj
FROM replica AS r, json_each(r.gpus) AS g WHERE r.job_id = :job AND r.gpus IS NOT NULL;

-- name: usage_states
SELECT execution, validation, count(*) AS n FROM replica WHERE job_id = :job GROUP BY execution, validation;
