-- Tasks: placing, deciding, publishing. Times are milliseconds since 1970.

-- name: task_insert
INSERT INTO task (job_id, idx, want) VALUES (?, ?, ?);

-- name: task
SELECT idx, state, want, class AS numeric_class, extra, basis, measured, doubt, job_id, reason, news, agree, not_before, published,
  published_from, unpublished
FROM task WHERE job_id = :job AND idx = :task;

-- name: tasks_wanting
-- A time further ahead than any back-off is a clock that was set back since: it counts as over.
SELECT idx, state, want, class AS numeric_class FROM task
WHERE job_id = :job AND want > 0 AND (not_before <= :now OR not_before > :now + :longest) ORDER BY idx LIMIT :limit;

-- name: task_placed
UPDATE task SET want = want - ?, state = 'active', class = coalesce(class, ?), reason = ''
WHERE job_id = ? AND idx = ? AND want >= ? AND state IN ('waiting', 'active');

-- name: task_class
UPDATE task SET class = ? WHERE job_id = ? AND idx = ? AND state = 'waiting';

-- name: task_blocked
UPDATE task SET reason = ? WHERE job_id = ? AND idx = ? AND reason <> ?;

-- name: task_news
UPDATE task SET news = 1 WHERE job_id = ? AND idx = ? AND news = 0;

-- name: tasks_with_news
SELECT idx, state, want, class AS numeric_class, extra, basis, measured, doubt FROM task
WHERE job_id = :job AND news = 1 ORDER BY idx LIMIT :limit;

-- name: task_decided
UPDATE task SET state = ?, want = ?, agree = ?, reason = ?, not_before = ?, basis = ?, measured = ?, decided = coalesce(?, decided), news = 0
WHERE job_id = ? AND idx = ?;

-- name: task_doubted
UPDATE task SET doubt = ? WHERE job_id = ? AND idx = ? AND state = 'accepted' AND doubt <> ?;

-- name: task_quiet
UPDATE task SET news = 0 WHERE job_id = ? AND idx = ?;

-- name: tasks_unpublished
SELECT job_id, idx FROM task WHERE state = 'accepted' AND published = 0 ORDER BY job_id, idx LIMIT :limit;

-- name: tasks_unpublished_on
SELECT t.job_id, t.idx FROM task t WHERE t.state = 'accepted' AND t.published = 0 AND EXISTS (
  SELECT 1 FROM replica r WHERE r.job_id = t.job_id AND r.task = t.idx AND r.validation = 'valid'
  AND r.node_id IN (SELECT value FROM json_each(:nodes))
) ORDER BY t.job_id, t.idx;

-- name: tasks_newest_published
SELECT job_id, idx FROM task WHERE published = 1 ORDER BY job_id DESC, idx DESC LIMIT :limit;

-- name: tasks_published_of
SELECT idx FROM task WHERE job_id = :job AND published = 1 ORDER BY idx;

-- name: task_published
UPDATE task SET published = 1, published_from = ?, shown = ?, unpublished = '' WHERE job_id = ? AND idx = ? AND state = 'accepted';

-- name: task_unpublished
UPDATE task SET unpublished = :why WHERE job_id = :job AND idx = :task;

-- name: manifest_put
INSERT INTO manifest (job_id, task, packed) VALUES (:job, :task, :packed)
ON CONFLICT (job_id, task) DO UPDATE SET packed = excluded.packed;

-- name: manifest
SELECT packed FROM manifest WHERE job_id = :job AND task = :task;

-- name: difference_put
INSERT INTO difference (job_id, task, text) VALUES (:job, :task, :text) ON CONFLICT (job_id, task) DO UPDATE SET text = excluded.text;

-- name: difference
SELECT text FROM difference WHERE job_id = :job AND task = :task;

-- name: task_cancel
UPDATE task SET state = 'cancelled', want = 0, news = 0, reason = '{"code":"task.cancelled"}'
WHERE job_id = :job AND (:task IS NULL OR idx = :task) AND state IN ('waiting', 'active');

-- name: task_retry
UPDATE task SET state = 'active', want = :want, reason = '{"code":"task.retried"}', not_before = 0, basis = NULL, measured = NULL,
  published = 0, doubt = ''
WHERE job_id = :job AND (:task IS NULL OR idx = :task) AND (state IN ('failed', 'inconclusive', 'cancelled') OR doubt <> '');

-- name: task_states
SELECT idx, state FROM task WHERE job_id = :job ORDER BY idx;

-- name: tasks_of_job
SELECT idx, state, want, class AS numeric_class, extra, basis, measured, doubt, job_id, reason, news, agree, not_before, published,
  published_from, unpublished
FROM task WHERE job_id = :job AND idx > :after ORDER BY idx LIMIT :limit;

-- name: task_allowance
-- After what brought no vote was set aside: room for a new answer to win by itself, whatever was voted before.
UPDATE task SET news = 1, extra = max(extra, max(:agree, agree + 1) - :max_replicas + (
    SELECT count(*) FROM replica r WHERE r.job_id = task.job_id AND r.task = task.idx
    AND r.execution NOT IN ('errored', 'lost', 'cancelled')))
WHERE job_id = :job AND (:task IS NULL OR idx = :task) AND (state IN ('failed', 'inconclusive', 'cancelled') OR doubt <> '');
