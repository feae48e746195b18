-- People who use the coordinator from elsewhere.

-- name: token_insert
INSERT INTO token (hash, person, name, scope, created_at, expires_at)
VALUES (:hash, :person, :name, :scope, :now, :expires);

-- name: token_find
SELECT id, person, name, scope, created_at, expires_at, revoked_at FROM token
WHERE hash = :hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now);

-- name: token_all
SELECT id, person, name, scope, created_at, expires_at, revoked_at FROM token ORDER BY id DESC;

-- name: token_revoke
UPDATE token SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL;

-- name: token_revoke_named
UPDATE token SET revoked_at = :now WHERE person = :person AND name = :name AND revoked_at IS NULL;

-- name: open_of
SELECT count(*) AS jobs, coalesce(sum(n_waiting + n_active), 0) AS tasks FROM job
WHERE user = :user AND n_waiting + n_active > 0;

-- name: sent_find
SELECT digest, job_id FROM sent WHERE person = :person AND key = :key;

-- name: sent_insert
INSERT INTO sent (person, key, digest, job_id, created_at) VALUES (:person, :key, :digest, :job, :now);

-- name: quota_find
SELECT person, jobs, tasks, core_hours, bytes FROM quota WHERE person = :person;

-- name: quota_all
SELECT person FROM quota UNION SELECT person FROM token WHERE scope <> 'join' ORDER BY 1;

-- name: quota_put
INSERT INTO quota (person, jobs, tasks, core_hours, bytes) VALUES (:person, :jobs, :tasks, :core_hours, :stored)
ON CONFLICT (person) DO UPDATE SET jobs = coalesce(excluded.jobs, jobs), tasks = coalesce(excluded.tasks, tasks),
  core_hours = coalesce(excluded.core_hours, core_hours), bytes = coalesce(excluded.bytes, bytes);

-- name: quota_remove
DELETE FROM quota WHERE person = :person;

-- name: core_ms_of
-- What a user's jobs took since a time, and what their open tasks may still take by the time that they ask for.
SELECT total(cpus * (SELECT total(r.wall_ms) FROM replica r WHERE r.job_id = mine.id AND coalesce(r.ended_at, :since) >= :since)) AS used,
  total(cpus * replicas * time_ms * open) AS promised
FROM (
  SELECT j.id, j.n_waiting + j.n_active AS open,
    coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.ntasks'), 1)
    * coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.cpus_per_task'), 1) AS cpus,
    coalesce(json_extract(CAST(d.body AS TEXT), '$.quorum.replicas'), 1) AS replicas,
    coalesce(json_extract(CAST(d.body AS TEXT), '$.resources.time_s'), 0) * 1000.0 AS time_ms
  FROM job j JOIN document d ON d.job_id = j.id
  WHERE j.user = :user AND (j.n_waiting + j.n_active > 0 OR coalesce(j.finished_at, j.created_at) >= :since)
) AS mine;

-- name: bytes_of
SELECT CAST(total(r.output_bytes) AS INTEGER) AS bytes FROM job j JOIN task t ON t.job_id = j.id
JOIN replica r ON r.job_id = t.job_id AND r.task = t.idx AND r.number = t.published_from
WHERE j.user = :user AND t.published = 1;

-- name: owners
SELECT o.name, o.state, o.since, o.by FROM owner o ORDER BY o.name;

-- name: owner_find
SELECT name, state, since, by FROM owner WHERE name = :name;

-- name: owner_put
INSERT INTO owner (name, state, since, by) VALUES (:name, :state, :now, :by)
ON CONFLICT (name) DO UPDATE SET state = excluded.state, since = excluded.since, by = excluded.by;
