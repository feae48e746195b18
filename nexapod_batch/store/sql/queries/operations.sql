-- The lease of a host, the coordinator's key, standing faults, and the checks of `db check`.

-- name: coordinator
SELECT key_id FROM coordinator WHERE id = 1;

-- name: coordinator_put
INSERT OR IGNORE INTO coordinator (id, key_id) VALUES (1, :key);

-- name: coordinator_key_first
INSERT INTO coordinator_key (key_id, public_key, since) SELECT :key, :public_key, 0 WHERE NOT EXISTS (SELECT 1 FROM coordinator_key);

-- name: coordinator_key_known
UPDATE coordinator_key SET public_key = :public_key WHERE key_id = :key AND public_key IS NULL;

-- name: coordinator_keys
SELECT key_id, public_key, since, until, until_ms, revoked, rotation FROM coordinator_key ORDER BY id;

-- name: coordinator_key_over
UPDATE coordinator_key SET until = :entry, until_ms = :now WHERE until IS NULL;

-- name: coordinator_key_insert
INSERT INTO coordinator_key (key_id, public_key, since, rotation) VALUES (:key, :public_key, :entry, :rotation);

-- name: coordinator_key_revoked
UPDATE coordinator_key SET revoked = min(coalesce(revoked, :since), :since) WHERE key_id = :key;

-- name: faults
SELECT key, reason FROM fault;

-- name: fault_told
INSERT INTO fault (key, reason, told_at, seen_at) VALUES (:key, :reason, :now, :now) ON CONFLICT (key) DO UPDATE SET seen_at = excluded.seen_at;

-- name: fault_gone
DELETE FROM fault WHERE key = :key;

-- name: lease
SELECT host, boot, pid, taken_at, released FROM lease WHERE id = 1

-- name: lease_take
INSERT INTO lease (id, host, boot, pid, taken_at, released) VALUES (1, :host, :boot, :pid, :taken_at, 0)
ON CONFLICT (id) DO UPDATE SET
  host = excluded.host, boot = excluded.boot, pid = excluded.pid, taken_at = excluded.taken_at, released = 0

-- name: lease_release
UPDATE lease SET released = 1
WHERE id = 1 AND host = :host AND boot = :boot AND pid = :pid AND taken_at = :taken_at

-- name: check_tasks_counted
SELECT job.id AS job FROM job
LEFT JOIN (
  SELECT job_id, count(*) AS n, sum(state = 'waiting') AS waiting, sum(state = 'active') AS active,
    sum(state = 'accepted') AS accepted, sum(state = 'failed') AS failed,
    sum(state = 'inconclusive') AS inconclusive, sum(state = 'cancelled') AS cancelled, sum(want > 0) AS want
  FROM task GROUP BY job_id
) AS real ON real.job_id = job.id
WHERE (n_tasks, n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled, n_want) IS NOT
  (n, waiting, active, accepted, failed, inconclusive, cancelled, want)
ORDER BY job.id LIMIT 100

-- name: check_reported_without_report
SELECT job_id AS job, task, number FROM replica
WHERE execution = 'reported' AND NOT EXISTS (SELECT 1 FROM report WHERE replica_id = replica.id)
ORDER BY job_id, task, number LIMIT 100

-- name: check_accepted_without_valid
SELECT task.job_id AS job, task.idx AS task FROM task
WHERE state = 'accepted' AND NOT EXISTS (
  SELECT 1 FROM replica WHERE replica.job_id = task.job_id AND replica.task = task.idx AND validation = 'valid'
)
ORDER BY task.job_id, task.idx LIMIT 100

-- name: epoch
SELECT number, since, entry, first_job FROM epoch ORDER BY number DESC LIMIT 1;

-- name: epoch_begin
INSERT INTO epoch (number, since, entry, first_job) VALUES (:number, :since, :entry, :first_job);

-- name: job_newest
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'job';

-- name: job_numbers_begun
INSERT INTO sqlite_sequence (name, seq) SELECT 'job', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'job');

-- name: job_numbers_raised
UPDATE sqlite_sequence SET seq = seq + :gap WHERE name = 'job';
