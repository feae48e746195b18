-- What `store.salvage.mend` asks and makes, before `mend.sql` is run.

-- name: reports
-- Each statement with what it takes to check it.
SELECT r.id, r.replica_id, r.packed, coalesce(d.payload, x'') AS dictionary, r.payload_sha256, r.signature,
  g.payload AS delegation,
  coalesce((SELECT public_key FROM node_key WHERE node_id = p.node_id ORDER BY id LIMIT 1), x'') AS first_key
FROM report r JOIN replica p ON p.id = r.replica_id LEFT JOIN dictionary d ON d.job_id = p.job_id
LEFT JOIN delegation g ON g.launch_id = p.launch_id;

-- name: report_delete
DELETE FROM report WHERE id = ?;

-- name: envelopes
SELECT envelope FROM launch WHERE envelope IS NOT NULL;

-- name: digest_of
SELECT digest FROM job WHERE id = ?;

-- name: document_insert
-- A whole one, in place of one whose list of inputs may be lost.
INSERT OR REPLACE INTO document (job_id, body) VALUES (?, ?);

-- name: job_insert
INSERT OR IGNORE INTO job (id, uuid, name, user, digest, folder, priority, created_at, n_tasks, n_waiting, n_want)
SELECT ?1, ?2, ?3, '(lost)', ?4, '(lost)', ?5, coalesce((SELECT min(created_at) FROM replica WHERE job_id = ?1), 0), ?6, ?6, 0;

-- name: documents
SELECT j.id, j.digest, d.body FROM job j LEFT JOIN whole_document d ON d.job_id = j.id ORDER BY j.id;

-- name: document_delete
DELETE FROM document WHERE job_id = ?;

-- name: job_delete
DELETE FROM job WHERE id = ?;

-- name: documents_without_job
SELECT job_id FROM document WHERE job_id NOT IN (SELECT id FROM job);

-- name: jobs_by_statement
-- The first statement of each job is kept as it was signed: it names the job.
SELECT d.job_id, d.body, s.payload FROM whole_document d JOIN dictionary s ON s.job_id = d.job_id
WHERE d.job_id NOT IN (SELECT id FROM job);

-- name: keys_without_node
SELECT node_id, key_id, public_key, since FROM node_key WHERE until IS NULL AND node_id NOT IN (SELECT id FROM node);

-- name: node_insert
INSERT OR IGNORE INTO node (id, name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, max_queued, active,
  created_at)
VALUES (?, ?, ?, ?, 'local', '(lost)', '(lost)', 'cpu', 'local', 1, 1, 1, 0, ?);

-- name: keys_of_nodes
-- A node whose keys are lost has the one that it is registered with.
INSERT OR IGNORE INTO node_key (node_id, key_id, public_key, since)
SELECT id, key_id, public_key, created_at FROM node WHERE id NOT IN (SELECT node_id FROM node_key WHERE until IS NULL);

-- name: jobs_without_tasks
SELECT j.id, d.body FROM job j JOIN whole_document d ON d.job_id = j.id
WHERE j.n_tasks <> (SELECT count(*) FROM task WHERE job_id = j.id);

-- name: task_insert
INSERT OR IGNORE INTO task (job_id, idx, state, news, reason) VALUES (?, ?, 'active', 1, '{"code":"task.salvaged"}');

-- name: reports_without_replica
SELECT replica_id, packed, payload_sha256, received_at FROM report WHERE replica_id NOT IN (SELECT id FROM replica);

-- name: dictionaries
SELECT s.job_id, s.payload, d.body FROM dictionary s JOIN whole_document d ON d.job_id = s.job_id
WHERE s.job_id IN (SELECT id FROM job);

-- name: delegations
SELECT g.launch_id, g.payload, k.node_id FROM delegation g JOIN node_key k ON k.id = g.key_id;

-- name: made_again
CREATE TEMP TABLE made_again (job_id INTEGER, task INTEGER, PRIMARY KEY (job_id, task));

-- name: made_again_insert
INSERT OR IGNORE INTO made_again (job_id, task) VALUES (?, ?);

-- name: replicas_without_launch
SELECT launch_id, node_id, job_id, min(created_at) AS created_at FROM replica
WHERE launch_id IS NOT NULL AND launch_id NOT IN (SELECT id FROM launch) GROUP BY launch_id;

-- name: launch_insert
INSERT OR IGNORE INTO launch (id, key, node_id, job_id, state, created_at) VALUES (?, ?, ?, ?, 'ended', ?);
