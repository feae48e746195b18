-- Jobs, their documents, and what they depend on. Times are milliseconds since 1970.

-- name: job_insert
INSERT INTO job (uuid, name, user, "foreign", digest, folder, priority, held, max_running, created_at, n_tasks, n_waiting, n_want)
VALUES (:uuid, :name, :user, :foreign, :digest, :folder, :priority, :held, :max_running, :now, :n_tasks, :n_tasks, :n_tasks);

-- name: job_renumber
UPDATE job SET id = :free WHERE id = :id;

-- name: document_insert
INSERT INTO document (job_id, body, inputs, inputs_at) VALUES (:job, :body, :inputs, :inputs_at);

-- name: input_list_known
SELECT 1 AS known FROM input_list WHERE sha256 = :sha256;

-- name: input_list_insert
INSERT INTO input_list (sha256, body) VALUES (:sha256, :body);

-- name: document
SELECT body FROM whole_document WHERE job_id = :job;

-- name: job_id_of
SELECT id FROM job WHERE uuid = :uuid;

-- name: dependency_insert
INSERT INTO dependency (job_id, on_job, condition) VALUES (:job, :on_job, :condition);

-- name: job
SELECT id, uuid, name, user, digest, folder, priority, held, blocked, max_running, created_at, finished_at, n_tasks, n_waiting,
  n_active, n_accepted, n_failed, n_inconclusive, n_cancelled, n_want, "foreign"
FROM job WHERE id = :id;

-- name: jobs_wanting
SELECT id, uuid, name, user, digest, folder, priority, held, blocked, max_running, created_at, finished_at, n_tasks, n_waiting,
  n_active, n_accepted, n_failed, n_inconclusive, n_cancelled, n_want, "foreign"
FROM job WHERE n_want > 0 AND held = 0 ORDER BY priority DESC, id;

-- name: jobs_ahead
-- Of a job that wants replicas placed: how many come before it, in the order of `jobs_wanting`.
SELECT count(*) AS ahead FROM job o JOIN job j ON j.id = :job
WHERE o.n_want > 0 AND o.held = 0 AND (o.priority > j.priority OR o.priority = j.priority AND o.id < j.id);

-- name: dependencies
SELECT d.on_job, d.condition, j.n_tasks, j.n_waiting, j.n_active, j.n_accepted
FROM dependency d JOIN job j ON j.id = d.on_job WHERE d.job_id = :job;

-- name: job_block
UPDATE job SET blocked = :reason WHERE id = :job AND blocked <> :reason;

-- name: job_pin
UPDATE job SET digest = :digest WHERE id = :job;

-- name: document_pin
UPDATE document SET body = :body, inputs = NULL, inputs_at = NULL WHERE job_id = :job;

-- name: jobs_blocked
SELECT 1 AS n FROM job WHERE blocked <> '' AND n_waiting + n_active > 0 AND id IN (SELECT value FROM json_each(:jobs)) LIMIT 1;

-- name: job_out
SELECT count(*) AS n FROM replica WHERE job_id = :job AND ended_at IS NULL;

-- name: foreign_jobs
SELECT EXISTS (SELECT 1 FROM job WHERE "foreign" = 1) AS any;

-- name: jobs_with_news
SELECT DISTINCT job_id FROM task WHERE news = 1 ORDER BY job_id;

-- name: job_finished
UPDATE job SET finished_at = :now WHERE id = :job AND finished_at IS NULL AND n_waiting + n_active = 0;

-- name: job_hold
UPDATE job SET held = :held WHERE id = :job AND held <> :held AND n_waiting + n_active > 0;

-- name: job_reopened
UPDATE job SET finished_at = NULL WHERE id = :job AND n_waiting + n_active > 0;

-- name: jobs_open
SELECT count(*) AS n FROM job WHERE n_waiting + n_active > 0;

-- name: jobs_still_open
SELECT id FROM job WHERE id IN (SELECT value FROM json_each(:jobs)) AND n_waiting + n_active > 0;

-- name: unpublished_of
SELECT EXISTS (SELECT 1 FROM task WHERE state = 'accepted' AND published = 0 AND unpublished = ''
  AND job_id IN (SELECT value FROM json_each(:jobs))) AS n;

-- name: progress
SELECT sum(n_tasks) AS tasks, sum(n_waiting) AS waiting, sum(n_active) AS active, sum(n_accepted) AS accepted, sum(n_failed) AS failed,
  sum(n_inconclusive) AS inconclusive, sum(n_cancelled) AS cancelled FROM job WHERE id IN (SELECT value FROM json_each(:jobs));

-- name: jobs_running_documents
SELECT job_id, body FROM whole_document JOIN job ON job.id = job_id
WHERE n_waiting + n_active > 0 OR job_id IN (SELECT job_id FROM launch WHERE state <> 'forgotten');

-- name: jobs_open_documents
SELECT job_id, body FROM whole_document JOIN job ON job.id = job_id WHERE n_waiting + n_active > 0;

-- name: jobs_count
SELECT count(*) AS n FROM job;

-- name: jobs_ended_documents
SELECT job_id, body FROM whole_document JOIN job ON job.id = job_id
WHERE n_waiting + n_active = 0 AND finished_at >= :since ORDER BY finished_at, job_id;
