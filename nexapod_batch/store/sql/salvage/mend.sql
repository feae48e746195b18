-- Makes a salvaged database agree with itself. Run in this order, without triggers.

-- What is left of a launch that nobody can place any more is nobody's.
DELETE FROM lease;

-- Segments that are still there are read again from their beginnings: a report that is known is no event.
DELETE FROM segment;

-- Tasks whose replicas are there, and they are not.
INSERT OR IGNORE INTO task (job_id, idx, state, news) SELECT DISTINCT job_id, task, 'active', 1 FROM replica
WHERE job_id IN (SELECT id FROM job);

-- Tasks whose verdict has lost what it rests on are decided anew; their results stay as they are.
CREATE TEMP TABLE reopened AS SELECT job_id, idx FROM task WHERE state = 'accepted' AND (
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
DROP TABLE entry;
