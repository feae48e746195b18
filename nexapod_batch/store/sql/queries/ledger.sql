-- The ledger: entries, nodes of its tree, signed heads, and where the facts stand in it. Times are milliseconds since 1970.

-- name: ledger_size
SELECT coalesce(max(idx) + 1, 0) AS size FROM ledger_entry;

-- name: entry_insert
INSERT INTO ledger_entry (idx, body, mark) VALUES (?, ?, ?);

-- name: node_insert
INSERT INTO ledger_node (level, idx, hash) VALUES (?, ?, ?);

-- name: entries
SELECT body FROM ledger_entry WHERE idx >= :first AND idx < :last ORDER BY idx;

-- name: entries_marked
SELECT idx, body, mark FROM ledger_entry ORDER BY idx;

-- name: tree_node
SELECT hash FROM ledger_node WHERE level = :level AND idx = :number;

-- name: nodes_of_level
SELECT idx, hash FROM ledger_node WHERE level = :level ORDER BY idx;

-- name: levels
SELECT DISTINCT level FROM ledger_node ORDER BY level;

-- name: checkpoint_put
INSERT OR IGNORE INTO checkpoint (size, note) VALUES (:size, :note);

-- name: checkpoints
SELECT size, note FROM checkpoint ORDER BY size;

-- name: checkpoint_newest
SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1;

-- name: witnessed
SELECT key, note FROM witnessed WHERE origin = :origin;

-- name: witnessed_put
INSERT INTO witnessed (origin, key, note) VALUES (:origin, :key, :note)
ON CONFLICT (origin) DO UPDATE SET key = excluded.key, note = excluded.note;

-- name: job_submitted
UPDATE job SET submitted = ? WHERE id = ?;

-- name: task_decided_at
UPDATE task SET decided = ? WHERE job_id = ? AND idx = ?;

-- name: task_shown
UPDATE task SET shown = ? WHERE job_id = ? AND idx = ?;

-- name: replica_placed
UPDATE replica SET placed = ? WHERE launch_id = ?;

-- name: replica_committed
UPDATE replica SET committed = ? WHERE id = ? AND committed IS NULL;

-- name: position_of_job
SELECT submitted FROM job WHERE id = :job;

-- name: position_of_task
SELECT decided FROM task WHERE job_id = :job AND idx = :task;

-- name: positions_of_tasks
SELECT idx, decided, shown FROM task WHERE job_id = :job ORDER BY idx;

-- name: positions_of_reports
SELECT task, number, committed FROM replica WHERE job_id = :job AND committed IS NOT NULL ORDER BY task, number;

-- name: entry_after
-- Of a statement that was not its replica's first: seldom.
SELECT idx FROM ledger_entry WHERE idx > :after AND instr(body, :digest) > 0 ORDER BY idx LIMIT 1;

-- name: position_of_publication
SELECT shown FROM task WHERE job_id = :job AND idx = :task;

-- name: positions_of_replica
SELECT placed, committed FROM replica WHERE job_id = :job AND task = :task AND number = :number;

-- name: statements_of
-- The first statement of each replica that was published.
SELECT r.task, r.number, p.payload_sha256 FROM replica r JOIN report p ON p.replica_id = r.id
WHERE r.job_id = :job AND r.task IN (SELECT value FROM json_each(:tasks)) ORDER BY p.id DESC;

-- name: known_jobs
SELECT id, uuid, digest, created_at, n_tasks FROM job ORDER BY id;

-- name: known_launches
SELECT l.id, l.job_id, l.key, n.name AS node, l.created_at, count(*) AS replicas
FROM launch l JOIN node n ON n.id = l.node_id JOIN replica r ON r.launch_id = l.id GROUP BY l.id ORDER BY l.id;

-- name: known_reports
SELECT r.id AS replica_id, r.job_id, r.task, r.number, p.payload_sha256, p.received_at
FROM report p JOIN replica r ON r.id = p.replica_id ORDER BY p.id;

-- name: known_verdicts
SELECT t.job_id, t.idx, t.state, t.agree, coalesce(t.basis, '') AS basis, t.published_from, coalesce(j.finished_at, j.created_at) AS since
FROM task t JOIN job j ON j.id = t.job_id WHERE t.state IN ('accepted', 'failed', 'inconclusive') ORDER BY t.job_id, t.idx;

-- name: jobs_with_entries
SELECT j.id, j.uuid, j.n_tasks, j.digest, e.body AS entry FROM job j LEFT JOIN ledger_entry e ON e.idx = j.submitted ORDER BY j.id;

-- name: launches_with_entries
SELECT DISTINCT r.launch_id AS id, l.key, l.job_id, e.body AS entry
FROM replica r LEFT JOIN launch l ON l.id = r.launch_id AND l.node_id = r.node_id LEFT JOIN ledger_entry e ON e.idx = r.placed
WHERE r.launch_id IS NOT NULL;

-- name: verdicts_with_entries
SELECT t.job_id, t.idx, t.state, e.body AS entry FROM task t LEFT JOIN ledger_entry e ON e.idx = t.decided
WHERE t.state IN ('accepted', 'failed', 'inconclusive');

-- name: reports_with_entries
-- The first statement of a replica comes first; its entry is that of the replica.
SELECT r.job_id, r.task, r.number, p.payload_sha256, e.body AS entry
FROM replica r JOIN report p ON p.replica_id = r.id LEFT JOIN ledger_entry e ON e.idx = r.committed ORDER BY r.id, p.id;

-- name: publications_with_entries
SELECT t.job_id, t.idx, t.published_from AS number, (
  SELECT p.payload_sha256 FROM replica r JOIN report p ON p.replica_id = r.id
  WHERE r.job_id = t.job_id AND r.task = t.idx AND r.number = t.published_from ORDER BY p.id LIMIT 1
) AS payload_sha256, e.body AS entry
FROM task t LEFT JOIN ledger_entry e ON e.idx = t.shown WHERE t.published = 1 AND t.published_from IS NOT NULL;

-- name: accepted_of_no_replica
SELECT job_id, idx FROM task WHERE state = 'accepted' AND published_from IS NULL ORDER BY job_id, idx;
