-- What the coordinator asks of the store, by name. Times are milliseconds since 1970.

-- name: node_put
INSERT INTO node (name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, gpus, gpu_type, hosts, classes, max_queued, created_at)
VALUES (:name, :key_id, :public_key, :site, :owner, :host, :tier, :backend, :cpus, :mem_mib, :gpus, :gpu_type, :hosts, :classes, :max_queued, :now)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, tier = excluded.tier, backend = excluded.backend, cpus = excluded.cpus,
  mem_mib = excluded.mem_mib, gpus = excluded.gpus, gpu_type = excluded.gpu_type, hosts = excluded.hosts, classes = excluded.classes, max_queued = excluded.max_queued
WHERE key_id = excluded.key_id AND site = excluded.site;

-- name: profile_put
INSERT INTO profile (node_id, envelope) VALUES ((SELECT id FROM node WHERE name = :name), :envelope)
ON CONFLICT (node_id) DO UPDATE SET envelope = excluded.envelope;

-- name: profiles
SELECT node_id, envelope FROM profile;

-- name: profile
SELECT n.key_id, n.public_key, p.envelope FROM node n JOIN profile p ON p.node_id = n.id WHERE n.name = :name;

-- name: nodes
SELECT n.*, (SELECT k.key_id FROM node_key k WHERE k.node_id = n.id ORDER BY k.id LIMIT 1) AS first_key FROM node n ORDER BY n.id;

-- name: node_activate
UPDATE node SET active = :active WHERE name = :name;

-- name: node_delete
DELETE FROM node WHERE name = :name;

-- name: node_used
SELECT EXISTS (SELECT 1 FROM replica WHERE node_id = :id) AS used;

-- name: node_blame
UPDATE node SET blame = blame + 1 WHERE id = :id;

-- name: node_out
SELECT node_id, count(*) AS n FROM replica WHERE execution IN ('created', 'submitted', 'queued', 'running') GROUP BY node_id;

-- name: job_insert
INSERT INTO job (uuid, name, user, "foreign", digest, folder, priority, held, max_running, created_at, n_tasks, n_waiting, n_want)
VALUES (:uuid, :name, :user, :foreign, :digest, :folder, :priority, :held, :max_running, :now, :n_tasks, :n_tasks, :n_tasks);

-- name: job_renumber
UPDATE job SET id = :free WHERE id = :id;

-- name: document_insert
INSERT INTO document (job_id, body) VALUES (:job, :body);

-- name: document
SELECT body FROM document WHERE job_id = :job;

-- name: job_id_of
SELECT id FROM job WHERE uuid = :uuid;

-- name: task_insert
INSERT INTO task (job_id, idx, want) VALUES (?, ?, ?);

-- name: dependency_insert
INSERT INTO dependency (job_id, on_job, condition) VALUES (:job, :on_job, :condition);

-- name: job
SELECT * FROM job WHERE id = :id;

-- name: task
SELECT * FROM task WHERE job_id = :job AND idx = :task;

-- name: jobs_wanting
SELECT * FROM job WHERE n_want > 0 AND held = 0 ORDER BY priority DESC, id;

-- name: dependencies
SELECT d.on_job, d.condition, j.n_tasks, j.n_waiting, j.n_active, j.n_accepted
FROM dependency d JOIN job j ON j.id = d.on_job WHERE d.job_id = :job;

-- name: job_block
UPDATE job SET blocked = :reason WHERE id = :job AND blocked <> :reason;

-- name: job_out
SELECT count(*) AS n FROM replica WHERE job_id = :job AND execution IN ('created', 'submitted', 'queued', 'running');

-- name: tasks_wanting
-- A time further ahead than any back-off is a clock that was set back since: it counts as over.
SELECT idx, state, want, class FROM task
WHERE job_id = :job AND want > 0 AND (not_before <= :now OR not_before > :now + :longest) ORDER BY idx LIMIT :limit;

-- name: replicas_of_task
SELECT * FROM replica WHERE job_id = :job AND task = :task ORDER BY number;

-- name: foreign_jobs
SELECT EXISTS (SELECT 1 FROM job WHERE "foreign" = 1) AS any;

-- name: foreign_replicas
SELECT r.id, r.node_id, r.isolation, r.created_at, r.ended_at,
  (SELECT json_extract(CAST(d.body AS TEXT), '$.container') IS NOT NULL FROM document d WHERE d.job_id = j.id) AS contained
FROM job j JOIN replica r ON r.job_id = j.id
WHERE j."foreign" = 1 AND r.created_at <= :until AND (r.ended_at IS NULL OR r.ended_at >= :since) AND r.isolation IN ('', 'none');

-- name: replicas_of_tasks
SELECT id, job_id, task, number, node_id, launch_id, isolation, created_at, ended_at, host, machine, execution, validation, voided, class, vote, reason, failure FROM replica
WHERE job_id = :job AND task IN (SELECT value FROM json_each(:tasks)) ORDER BY task, number;

-- name: launch_hosts
SELECT host_set, hosts FROM launch WHERE id = :id;

-- name: launch_ran_on
UPDATE launch SET hosts = :hosts WHERE id = :id AND hosts = '';

-- name: launch_tasks
SELECT DISTINCT job_id, task FROM replica WHERE launch_id = :id;

-- name: launch_insert
INSERT INTO launch (key, node_id, job_id, host_set, envelope, created_at) VALUES (:key, :node, :job, :host_set, :envelope, :now) RETURNING id;

-- name: delegation_insert
INSERT INTO delegation (launch_id, seed, key_id, not_after, payload, signature)
VALUES (:launch, :seed, (SELECT id FROM node_key WHERE key_id = :key), :not_after, :payload, :signature);

-- name: delegation_claimed
-- Who claimed the launch has its key: here nobody needs it any more.
UPDATE delegation SET seed = NULL WHERE launch_id = ? AND seed IS NOT NULL;

-- name: delegation_of
SELECT d.payload, d.signature, k.key_id, k.public_key FROM delegation d JOIN node_key k ON k.id = d.key_id WHERE d.launch_id = :launch;

-- name: node_key_over
UPDATE node_key SET until = :now WHERE node_id = :node AND until IS NULL;

-- name: node_key_insert
INSERT INTO node_key (node_id, key_id, public_key, since) VALUES (:node, :key, :public_key, :now);

-- name: node_rekeyed
UPDATE node SET key_id = :key, public_key = :public_key WHERE id = :node;

-- name: node_keys
SELECT key_id, public_key, since, until FROM node_key WHERE node_id = :node ORDER BY id;

-- name: replica_insert
INSERT INTO replica (job_id, task, number, node_id, launch_id, nonce, created_at, deadline) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: task_placed
UPDATE task SET want = want - ?, state = 'active', class = coalesce(class, ?), reason = ''
WHERE job_id = ? AND idx = ? AND want >= ? AND state IN ('waiting', 'active');

-- name: task_blocked
UPDATE task SET reason = ? WHERE job_id = ? AND idx = ? AND reason <> ?;

-- name: launch_newest
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'launch';

-- name: launches_open
SELECT id, key, node_id, job_id, state, native_id, reason, created_at, host_set, hosts,
  EXISTS (SELECT 1 FROM delegation d WHERE d.launch_id = launch.id AND d.seed IS NOT NULL) AS keyed
FROM launch WHERE state IN ('intent', 'handed') ORDER BY node_id, id;

-- name: nodes_at_work
SELECT DISTINCT node_id FROM launch WHERE state IN ('intent', 'handed');

-- name: launch_envelope
SELECT l.key, l.envelope, (SELECT d.seed FROM delegation d WHERE d.launch_id = l.id) AS seed, l.job_id, l.host_set, (SELECT count(*) FROM replica r WHERE r.launch_id = l.id) AS replicas FROM launch l WHERE l.id = :id;

-- name: launch_handed
UPDATE launch SET state = 'handed', native_id = :native_id WHERE key = :key AND state IN ('intent', 'handed');

-- name: launch_ended
UPDATE launch SET state = 'ended', reason = :reason, envelope = NULL WHERE id = :id AND state IN ('intent', 'handed');

-- name: launch_waits
UPDATE launch SET reason = ? WHERE id = ? AND state IN ('intent', 'handed');

-- name: launches_ended
SELECT id, key, node_id FROM launch WHERE state = 'ended' ORDER BY node_id, id LIMIT :limit;

-- name: launch_forgotten
UPDATE launch SET state = 'forgotten' WHERE id = ? AND state = 'ended';

-- name: claims_expired
SELECT l.id, l.key, l.node_id FROM delegation d JOIN launch l ON l.id = d.launch_id
WHERE d.claim = 1 AND d.not_after < :before AND l.state = 'forgotten' ORDER BY d.not_after LIMIT :limit;

-- name: claim_expired
UPDATE delegation SET claim = 0 WHERE launch_id = ? AND claim = 1;

-- name: launch_lost
UPDATE replica SET execution = :execution, reason = :reason, ended_at = :now
WHERE launch_id = :launch AND execution IN ('submitted', 'queued', 'running') RETURNING job_id, task;

-- name: launch_lost_why
-- Where the runner could only say that it was stopped, the backend may know by whom.
UPDATE replica SET reason = reason || '; ' || :reason
WHERE launch_id = :launch AND execution = 'lost' AND instr(reason, :reason) = 0;

-- name: launch_out
SELECT id, task FROM replica WHERE launch_id = :launch AND execution IN ('submitted', 'queued', 'running') ORDER BY task;

-- name: launch_taken_back
-- Set aside: an owner's wish, or a scheduler's that wants smaller jobs, counts against no task.
UPDATE replica SET execution = 'lost', validation = 'unneeded', reason = :reason, ended_at = :now
WHERE launch_id = :launch AND execution IN ('submitted', 'queued', 'running') RETURNING job_id, task;

-- name: launch_seen
UPDATE replica SET execution = 'queued' WHERE launch_id = :launch AND execution = 'submitted';

-- name: overdue
SELECT id, job_id, task FROM replica
WHERE execution IN ('created', 'submitted', 'queued', 'running') AND deadline < :now LIMIT :limit;

-- name: replica_overdue
UPDATE replica SET execution = 'lost', reason = ?, ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued', 'running');

-- name: task_news
UPDATE task SET news = 1 WHERE job_id = ? AND idx = ? AND news = 0;

-- name: segments
SELECT name, position FROM segment WHERE node_id = :node;

-- name: segment_moved
INSERT INTO segment (node_id, name, position) VALUES (:node, :name, :position)
ON CONFLICT (node_id, name) DO UPDATE SET position = excluded.position WHERE excluded.position > position;

-- name: segment_gone
DELETE FROM segment WHERE node_id = :node AND name = :name;

-- name: replicas_for_reports
SELECT r.id, r.task, r.number, r.node_id, r.launch_id, r.created_at, r.nonce, r.execution, j.uuid, j.digest, l.native_id
FROM job j JOIN replica r ON r.job_id = j.id LEFT JOIN launch l ON l.id = r.launch_id
WHERE j.id = :job AND r.task IN (SELECT value FROM json_each(:tasks));

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

-- name: replica_reported
UPDATE replica SET execution = ?, reason = ?, failure = ?, exit_code = ?, host = ?, machine = ?, class = ?, isolation = ?, vote = ?, wall_ms = ?, cpu_ms = ?,
  max_rss_kib = ?, output_bytes = ?, gpus = ?, ended_at = ?, cleaned = ?
WHERE id = ? AND voided = 0 AND execution <> 'reported';

-- name: replica_voided
UPDATE replica SET voided = 1, execution = 'errored', reason = 'two different signed statements' WHERE id = :id AND voided = 0;

-- name: replica_running
UPDATE replica SET execution = 'running' WHERE job_id = ? AND task = ? AND number = ? AND node_id = ? AND execution IN ('submitted', 'queued');

-- name: quarantine_insert
INSERT OR IGNORE INTO quarantine (node_id, segment, position, reason, line, created_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: quarantine_count
SELECT count(*) AS n, (SELECT coalesce(sum(dropped), 0) FROM node) AS dropped FROM quarantine;

-- name: quarantine_of
SELECT count(*) AS n FROM quarantine WHERE node_id = :node;

-- name: quarantine_dropped
UPDATE node SET dropped = dropped + :n WHERE id = :node;

-- name: quarantine_last
SELECT q.*, n.name AS node FROM quarantine q LEFT JOIN node n ON n.id = q.node_id ORDER BY q.id DESC LIMIT :limit;

-- name: jobs_with_news
SELECT DISTINCT job_id FROM task WHERE news = 1 ORDER BY job_id;

-- name: tasks_with_news
SELECT idx, state, want, class, extra, basis, measured FROM task WHERE job_id = :job AND news = 1 ORDER BY idx LIMIT :limit;

-- name: task_decided
UPDATE task SET state = ?, want = ?, agree = ?, reason = ?, not_before = ?, basis = ?, measured = ?, news = 0
WHERE job_id = ? AND idx = ?;

-- name: task_doubted
UPDATE task SET doubt = ? WHERE job_id = ? AND idx = ? AND state = 'accepted' AND doubt <> ?;

-- name: task_quiet
UPDATE task SET news = 0 WHERE job_id = ? AND idx = ?;

-- name: replica_judged
UPDATE replica SET validation = ? WHERE id = ? AND validation <> ?;

-- name: replica_unneeded
UPDATE replica SET execution = 'cancelled', validation = 'unneeded', reason = 'no longer needed', ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued');

-- name: job_finished
UPDATE job SET finished_at = :now WHERE id = :job AND finished_at IS NULL AND n_waiting + n_active = 0;

-- name: tasks_unpublished
SELECT job_id, idx FROM task WHERE state = 'accepted' AND published = 0 ORDER BY job_id, idx LIMIT :limit;

-- name: carried_results
-- The files carried by the replica of each task that is published first, unless a loser is to be compared with it.
SELECT r.task, r.number, c.files FROM replica r JOIN carried c ON c.replica_id = r.id JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
WHERE r.job_id = :job AND r.task IN (SELECT value FROM json_each(:tasks)) AND r.validation = 'valid' AND r.execution = 'reported'
  AND r.number = coalesce(json_extract(t.measured, '$.centre'),
    (SELECT min(number) FROM replica v WHERE v.job_id = r.job_id AND v.task = r.task AND v.validation = 'valid' AND v.execution = 'reported'))
  AND NOT EXISTS (SELECT 1 FROM replica l WHERE l.job_id = r.job_id AND l.task = r.task AND l.validation = 'invalid');

-- name: task_published
UPDATE task SET published = 1, published_from = ?, unpublished = '' WHERE job_id = ? AND idx = ? AND state = 'accepted';

-- name: task_unpublished
UPDATE task SET unpublished = :why WHERE job_id = :job AND idx = :task;

-- name: manifest_put
INSERT INTO manifest (job_id, task, packed) VALUES (:job, :task, :packed)
ON CONFLICT (job_id, task) DO UPDATE SET packed = excluded.packed;

-- name: manifest
SELECT packed FROM manifest WHERE job_id = :job AND task = :task;

-- name: replica_uncarried
DELETE FROM carried WHERE replica_id = ?;

-- name: task_uncarried
DELETE FROM carried WHERE replica_id IN (SELECT id FROM replica WHERE job_id = ? AND task = ?);

-- name: replica_cleaned
UPDATE replica SET cleaned = 1 WHERE id = ?;

-- name: replicas_unclean
SELECT r.id, r.job_id, r.task, r.number, r.node_id, r.execution FROM replica r JOIN task t ON t.job_id = r.job_id AND t.idx = r.task
WHERE r.cleaned = 0 AND r.execution IN ('reported', 'errored', 'lost', 'cancelled')
  AND coalesce(r.ended_at, 0) < CASE WHEN t.published = 1 THEN :accepted WHEN t.state IN ('failed', 'inconclusive', 'cancelled') THEN :others END
LIMIT :limit;

-- name: difference_put
INSERT INTO difference (job_id, task, text) VALUES (:job, :task, :text) ON CONFLICT (job_id, task) DO UPDATE SET text = excluded.text;

-- name: difference
SELECT text FROM difference WHERE job_id = :job AND task = :task;

-- name: job_hold
UPDATE job SET held = :held WHERE id = :job AND held <> :held AND n_waiting + n_active > 0;

-- name: replicas_out
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key FROM replica r JOIN launch l ON l.id = r.launch_id
WHERE r.job_id = :job AND (:task IS NULL OR r.task = :task) AND r.execution IN ('created', 'submitted', 'queued', 'running');

-- name: replica
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key, l.reason FROM replica r JOIN launch l ON l.id = r.launch_id WHERE r.id = :id;

-- name: stop_owe
INSERT OR IGNORE INTO stop_owed (replica_id) VALUES (?);

-- name: stops_owed
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key, l.state IN ('intent', 'handed') AS open
FROM stop_owed o JOIN replica r ON r.id = o.replica_id JOIN launch l ON l.id = r.launch_id ORDER BY r.node_id, r.id;

-- name: stop_paid
DELETE FROM stop_owed WHERE replica_id = ?;

-- name: ahead_of
SELECT count(*) AS n FROM replica r JOIN launch l ON l.id = r.launch_id
WHERE r.node_id = :node AND r.execution IN ('created', 'submitted', 'queued', 'running') AND r.id < :id
  AND l.native_id <> '' AND l.native_id = (SELECT native_id FROM launch WHERE id = :launch);

-- name: replica_cancel
UPDATE replica SET execution = 'cancelled', reason = 'cancelled by its submitter', ended_at = ?
WHERE id = ? AND execution IN ('created', 'submitted', 'queued', 'running');

-- name: task_cancel
UPDATE task SET state = 'cancelled', want = 0, news = 0, reason = 'cancelled by its submitter'
WHERE job_id = :job AND (:task IS NULL OR idx = :task) AND state IN ('waiting', 'active');

-- name: task_retry
UPDATE task SET state = 'active', want = :want, reason = 'retry', not_before = 0, basis = NULL, measured = NULL,
  published = 0, doubt = ''
WHERE job_id = :job AND (:task IS NULL OR idx = :task) AND (state IN ('failed', 'inconclusive', 'cancelled') OR doubt <> '');

-- name: replicas_set_aside
UPDATE replica SET validation = 'unneeded'
WHERE job_id = :job AND (:task IS NULL OR task = :task) AND execution IN ('errored', 'lost', 'cancelled')
  AND EXISTS (SELECT 1 FROM task t WHERE t.job_id = replica.job_id AND t.idx = replica.task
    AND (t.state IN ('failed', 'inconclusive', 'cancelled') OR t.doubt <> ''));

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

-- name: replicas_of_job
SELECT * FROM replica WHERE job_id = :job ORDER BY task, number;

-- name: task_states
SELECT idx, state FROM task WHERE job_id = :job ORDER BY idx;

-- name: tasks_of_job
SELECT * FROM task WHERE job_id = :job AND idx > :after ORDER BY idx LIMIT :limit;

-- name: replicas_between
SELECT * FROM replica WHERE job_id = :job AND task BETWEEN :first AND :last ORDER BY task, number;

-- name: coordinator
SELECT key_id FROM coordinator WHERE id = 1;

-- name: coordinator_put
INSERT OR IGNORE INTO coordinator (id, key_id) VALUES (1, :key);

-- name: usage
-- Nodes may sign numbers up to 2^53: added up as real ones they never overflow.
-- What is not measured is left out, from the time that it is compared with as well; only those that ended well give advice.
SELECT count(*) AS n, total(wall_ms) AS wall_ms, max(wall_ms) AS max_wall_ms, total(output_bytes) AS output_bytes,
  count(cpu_ms) AS n_cpu, total(cpu_ms) AS cpu_ms, total(CASE WHEN cpu_ms IS NOT NULL THEN wall_ms END) AS timed_ms,
  max(max_rss_kib) AS max_rss_kib,
  count(CASE WHEN execution = 'reported' THEN 1 END) AS n_well,
  max(CASE WHEN execution = 'reported' THEN wall_ms END) AS max_wall_ms_well,
  total(CASE WHEN execution = 'reported' THEN cpu_ms END) AS cpu_ms_well,
  total(CASE WHEN execution = 'reported' AND cpu_ms IS NOT NULL THEN wall_ms END) AS timed_ms_well,
  max(CASE WHEN execution = 'reported' THEN max_rss_kib END) AS max_rss_kib_well
FROM replica WHERE job_id = :job AND wall_ms IS NOT NULL;

-- name: usage_elsewhere
-- Measured replicas on sites, where a launcher may start ranks beside the runner: by what schedulers call their launches.
SELECT DISTINCT l.native_id FROM replica r JOIN node n ON n.id = r.node_id LEFT JOIN launch l ON l.id = r.launch_id
WHERE r.job_id = :job AND r.wall_ms IS NOT NULL AND n.site <> 'local' LIMIT :limit;

-- name: usage_gpus
SELECT count(*) AS n, total(r.wall_ms) AS wall_ms, sum(json_extract(g.value, '$.time_ms') * 1.0) AS time_ms,
  sum(CASE WHEN json_extract(g.value, '$.time_ms') IS NOT NULL THEN r.wall_ms * 1.0 END) AS timed_ms,
  max(json_extract(g.value, '$.peak_mib')) AS peak_mib, sum(json_extract(g.value, '$.energy_mj') * 1.0) AS energy_mj
FROM replica AS r, json_each(r.gpus) AS g WHERE r.job_id = :job AND r.gpus IS NOT NULL;

-- name: usage_states
SELECT execution, validation, count(*) AS n FROM replica WHERE job_id = :job GROUP BY execution, validation;

-- name: faults
SELECT key, text, told_at FROM fault;

-- name: fault_told
INSERT INTO fault (key, text, told_at, seen_at) VALUES (:key, :text, :now, :now) ON CONFLICT (key) DO UPDATE SET seen_at = excluded.seen_at;

-- name: fault_gone
DELETE FROM fault WHERE key = :key;

-- name: jobs_running_documents
SELECT job_id, body FROM document JOIN job ON job.id = job_id
WHERE n_waiting + n_active > 0 OR job_id IN (SELECT job_id FROM launch WHERE state <> 'forgotten');

-- name: jobs_open_documents
SELECT job_id, body FROM document JOIN job ON job.id = job_id WHERE n_waiting + n_active > 0;
