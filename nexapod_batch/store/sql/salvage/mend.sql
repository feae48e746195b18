-- Makes a salvaged database agree with itself. Run in this order, without triggers.

-- What is left of a launch that nobody can place any more is nobody's.
DELETE FROM lease;

-- Segments that are still there are read again from their beginnings: a report that is known is no event.
DELETE FROM segment;

-- Where nodes were that are made again, as the ledger has it; their machine as they signed it.
UPDATE node SET (site, owner) = (
  SELECT json_extract(CAST(body AS TEXT), '$.site'), json_extract(CAST(body AS TEXT), '$.owner') FROM ledger_entry
  WHERE json_valid(CAST(body AS TEXT)) AND json_extract(CAST(body AS TEXT), '$.key') = node.key_id
  AND json_extract(CAST(body AS TEXT), '$.owner') IS NOT NULL ORDER BY idx DESC LIMIT 1
) WHERE owner = '(lost)' AND EXISTS (
  SELECT 1 FROM ledger_entry WHERE json_valid(CAST(body AS TEXT)) AND json_extract(CAST(body AS TEXT), '$.key') = node.key_id
  AND json_extract(CAST(body AS TEXT), '$.owner') IS NOT NULL
);
UPDATE node SET host = CASE WHEN site = 'local'
  THEN coalesce((SELECT host FROM replica WHERE node_id = node.id AND host <> '' LIMIT 1), host) ELSE name END
WHERE host = '(lost)';

-- Tasks whose replicas are there, and they are not.
INSERT OR IGNORE INTO task (job_id, idx, state, news) SELECT DISTINCT job_id, task, 'active', 1 FROM replica
WHERE job_id IN (SELECT id FROM job);

-- Tasks whose verdict has lost what it rests on are decided anew; their results stay as they are.
CREATE TEMP TABLE reopened AS SELECT job_id, idx FROM task WHERE state IN ('accepted', 'failed', 'inconclusive') AND (
  EXISTS (SELECT 1 FROM made_again m WHERE m.job_id = task.job_id AND m.task = task.idx)
  OR (basis <> '' AND length(basis) > (SELECT count(*) FROM replica r WHERE r.job_id = task.job_id AND r.task = task.idx))
) OR state = 'accepted' AND (
  NOT EXISTS (SELECT 1 FROM replica r WHERE r.job_id = task.job_id AND r.task = task.idx AND r.validation = 'valid')
  OR EXISTS (
    SELECT 1 FROM replica r WHERE r.job_id = task.job_id AND r.task = task.idx AND r.validation = 'valid'
    AND NOT EXISTS (SELECT 1 FROM report WHERE replica_id = r.id)
  )
);
UPDATE task SET state = 'active', want = 0, news = 1, agree = 0, published = 0, published_from = NULL, basis = NULL,
  measured = NULL, doubt = '', unpublished = '', reason = '{"code":"task.salvaged"}'
WHERE (job_id, idx) IN (SELECT job_id, idx FROM reopened);

-- A replica whose report is lost has no vote; the report may still come, from a segment that is still there.
UPDATE replica SET execution = 'lost', validation = 'pending', reason = '{"code":"replica.salvaged"}'
WHERE execution = 'reported' AND NOT EXISTS (SELECT 1 FROM report WHERE replica_id = replica.id);

-- Replicas of a task that is decided anew wait for that.
UPDATE replica SET validation = 'pending' WHERE validation IN ('valid', 'invalid', 'inconclusive')
AND (job_id, task) IN (SELECT job_id, idx FROM reopened);

DROP TABLE made_again;

-- Counters are those of the tasks that there are.
UPDATE job SET (n_tasks, n_waiting, n_active, n_accepted, n_failed, n_inconclusive, n_cancelled, n_want) = (
  SELECT count(*), coalesce(sum(state = 'waiting'), 0), coalesce(sum(state = 'active'), 0), coalesce(sum(state = 'accepted'), 0), coalesce(sum(state = 'failed'), 0),
    coalesce(sum(state = 'inconclusive'), 0), coalesce(sum(state = 'cancelled'), 0), coalesce(sum(want > 0), 0)
  FROM task WHERE task.job_id = job.id
);
UPDATE job SET finished_at = NULL WHERE n_waiting + n_active > 0;

-- Where in the ledger the facts stand that were made again; of entries that are lost, nowhere.
CREATE TEMP TABLE entry AS SELECT idx, CAST(json_extract(CAST(body AS TEXT), '$.id') AS TEXT) AS id,
  coalesce(json_extract(CAST(body AS TEXT), '$.fact'), json_extract(CAST(body AS TEXT), '$.kind')) AS fact
FROM ledger_entry WHERE json_valid(CAST(body AS TEXT));
CREATE INDEX temp.entry_of ON entry (id, fact);
UPDATE job SET submitted = (SELECT max(e.idx) FROM entry e WHERE e.id = CAST(job.id AS TEXT) AND e.fact = 'submitted')
WHERE submitted IS NULL;
UPDATE replica SET committed = (
  SELECT min(e.idx) FROM entry e WHERE e.id = job_id || '_' || task || '.' || number AND e.fact = 'report'
) WHERE committed IS NULL AND EXISTS (SELECT 1 FROM report WHERE replica_id = replica.id);
UPDATE task SET shown = (SELECT max(e.idx) FROM entry e WHERE e.id = job_id || '_' || task.idx AND e.fact = 'published')
WHERE shown IS NULL AND published_from IS NOT NULL;
CREATE TEMP TABLE placing AS SELECT l.id AS launch_id, p.idx FROM (
  SELECT id, job_id, row_number() OVER (PARTITION BY job_id ORDER BY id) AS n, count(*) OVER (PARTITION BY job_id) AS of FROM launch
) AS l JOIN (
  SELECT id, idx, row_number() OVER (PARTITION BY id ORDER BY idx) AS n, count(*) OVER (PARTITION BY id) AS of FROM entry
  WHERE fact = 'placed'
) AS p ON p.id = CAST(l.job_id AS TEXT) AND p.n = l.n AND p.of = l.of; -- each launch was noted when it was made
CREATE UNIQUE INDEX temp.placing_of ON placing (launch_id);
UPDATE replica SET placed = (SELECT p.idx FROM placing p WHERE p.launch_id = replica.launch_id) WHERE placed IS NULL;
DROP TABLE placing;
DROP TABLE entry;
