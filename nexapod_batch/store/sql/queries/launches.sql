-- Launches and the delegations of their keys. Times are milliseconds since 1970, of delegations seconds.

-- name: launch_hosts
SELECT host_set, hosts FROM launch WHERE id = :id;

-- name: launch_ran_on
UPDATE launch SET hosts = :hosts WHERE id = :id AND hosts = '';

-- name: launch_tasks
SELECT DISTINCT job_id, task FROM replica WHERE launch_id = :id;

-- name: launch_insert
INSERT INTO launch (key, node_id, job_id, host_set, envelope, created_at) VALUES (:key, :node, :job, :host_set, :envelope, :now) RETURNING id;

-- name: delegation_insert
INSERT INTO delegation (launch_id, seed, key_id, not_after, payload, signature, trail)
VALUES (:launch, :seed, (SELECT id FROM node_key WHERE key_id = :key), :not_after, :payload, :signature, :trail);

-- name: delegation_signed
-- Until a node that joined takes a launch, there are 64 zero bytes in place of its signature.
UPDATE delegation SET signature = :signature WHERE launch_id = :launch AND signature = zeroblob(64);

-- name: delegation_claimed
-- Who claimed the launch has its key: here nobody needs it any more.
UPDATE delegation SET seed = NULL WHERE launch_id = ? AND seed IS NOT NULL;

-- name: delegation_of
SELECT d.payload, d.signature, k.key_id, k.public_key, k.revoked, k.over FROM delegation d JOIN node_key k ON k.id = d.key_id WHERE d.launch_id = :launch;

-- name: launch_of
SELECT id FROM launch WHERE key = :key;

-- name: launch_newest
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'launch';

-- name: launches_open
SELECT id, key, node_id, job_id, state, native_id, native_state, native_reason, reason, created_at, host_set, hosts,
  EXISTS (SELECT 1 FROM delegation d WHERE d.launch_id = launch.id AND d.seed IS NOT NULL) AS keyed
FROM launch WHERE state IN ('intent', 'handed') ORDER BY node_id, id;

-- name: launch_envelope
SELECT l.key, l.envelope, (SELECT d.seed FROM delegation d WHERE d.launch_id = l.id) AS seed, l.job_id, l.host_set,
  (SELECT count(*) FROM replica r WHERE r.launch_id = l.id) AS replicas
FROM launch l WHERE l.id = :id;

-- name: launch_handed
UPDATE launch SET state = 'handed', native_id = :native_id WHERE key = :key AND state IN ('intent', 'handed');

-- name: launch_ended
UPDATE launch SET state = 'ended', reason = ?, native_state = ?, native_reason = ?, envelope = NULL WHERE id = ? AND state IN ('intent', 'handed');

-- name: launch_waits
UPDATE launch SET reason = ?, native_state = ?, native_reason = ? WHERE id = ? AND state IN ('intent', 'handed');

-- name: launches_ended
SELECT id, key, node_id, EXISTS (SELECT 1 FROM replica r WHERE r.launch_id = launch.id AND r.execution = 'reported') AS reported
FROM launch WHERE state = 'ended' ORDER BY node_id, id LIMIT :limit;

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

-- name: launch_memory_explained
-- Whether a report of the same allocation says itself that the kernel killed something: of it, or nobody knows of whom.
SELECT count(*) AS n FROM launch l JOIN launch o ON o.job_id = l.job_id AND o.node_id = l.node_id AND o.native_id = l.native_id
JOIN replica r ON r.launch_id = o.id WHERE l.id = :launch AND (r.failure = 'memory' OR r.execution = 'lost'
  AND CASE WHEN json_valid(r.reason) THEN json_extract(r.reason, '$.parameters.text') LIKE 'out of memory%' END);

-- name: launch_overruled
-- What was reported as well, and was not so by the scheduler's word. Set aside where the task may still be placed anew.
UPDATE replica SET execution = 'errored', reason = :reason,
  validation = CASE WHEN :aside AND (SELECT t.state FROM task t WHERE t.job_id = replica.job_id AND t.idx = replica.task)
    IN ('waiting', 'active') THEN 'unneeded' ELSE validation END
WHERE launch_id = :launch AND execution = 'reported' RETURNING job_id, task;

-- name: launches_of_key
-- Open ones, of a key of a node.
SELECT l.id FROM delegation d JOIN launch l ON l.id = d.launch_id
WHERE d.key_id = (SELECT id FROM node_key WHERE key_id = :key) AND l.state IN ('intent', 'handed') ORDER BY l.id;

-- name: launches_placed
-- Open ones, placed by entries of the ledger from one to before another.
SELECT DISTINCT l.id FROM launch l JOIN replica r ON r.launch_id = l.id
WHERE l.state IN ('intent', 'handed') AND r.placed >= :since AND r.placed < :until ORDER BY l.id;

-- name: reports_revoked
-- Reports whose entries are from one on, by a key of a node. Set aside where the task may still be placed anew.
UPDATE replica SET execution = 'errored', reason = :reason,
  validation = CASE WHEN (SELECT t.state FROM task t WHERE t.job_id = replica.job_id AND t.idx = replica.task)
    IN ('waiting', 'active') THEN 'unneeded' ELSE validation END
WHERE node_id = :node AND committed >= :since AND execution = 'reported' AND voided = 0
  AND coalesce((SELECT d.key_id FROM delegation d WHERE d.launch_id = replica.launch_id),
    (SELECT min(k.id) FROM node_key k WHERE k.node_id = replica.node_id)) = (SELECT id FROM node_key WHERE key_id = :key)
RETURNING job_id, task;

-- name: failures_revoked
-- The same of errors of tasks that have not ended.
UPDATE replica SET validation = 'unneeded'
WHERE node_id = :node AND committed >= :since AND execution = 'errored' AND voided = 0 AND validation <> 'unneeded'
  AND (SELECT t.state FROM task t WHERE t.job_id = replica.job_id AND t.idx = replica.task) IN ('waiting', 'active')
  AND coalesce((SELECT d.key_id FROM delegation d WHERE d.launch_id = replica.launch_id),
    (SELECT min(k.id) FROM node_key k WHERE k.node_id = replica.node_id)) = (SELECT id FROM node_key WHERE key_id = :key)
RETURNING job_id, task;

-- name: launch_lost_why
-- Where the runner could only say that it was stopped, the backend may know by whom.
UPDATE replica SET reason = CASE reason WHEN '' THEN :reason
  ELSE json_patch(reason, json_object('parameters', json_object('also', json(:reason)))) END
WHERE launch_id = :launch AND execution = 'lost' AND CASE WHEN reason = '' THEN 1 WHEN NOT json_valid(reason) THEN 0
  ELSE instr(coalesce(json_extract(reason, '$.parameters.text'), ''), :text) = 0
    AND coalesce(json_extract(reason, '$.parameters.also.parameters.text'), '') <> :text END;

-- name: launch_out
SELECT id, task FROM replica WHERE launch_id = :launch AND execution IN ('submitted', 'queued', 'running') ORDER BY task;

-- name: launch_taken_back
-- Set aside: an owner's wish, or a scheduler's that wants smaller jobs, counts against no task.
UPDATE replica SET execution = 'lost', validation = 'unneeded', reason = :reason, ended_at = :now
WHERE launch_id = :launch AND execution IN ('submitted', 'queued', 'running') RETURNING job_id, task;

-- name: launch_seen
UPDATE replica SET execution = 'queued' WHERE launch_id = :launch AND execution = 'submitted';
