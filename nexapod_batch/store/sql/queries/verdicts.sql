-- Verdicts as they were signed, and the statements that they are reached from.

-- name: verdict_insert
INSERT INTO verdict (entry, job_id, task, packed, signature, again) VALUES (?, ?, ?, ?, ?, ?);

-- name: verdict_first
SELECT entry, packed FROM verdict WHERE job_id = :job ORDER BY entry LIMIT 1;

-- name: verdicts_of
SELECT entry, packed, signature, confirmed FROM verdict WHERE job_id = :job AND task = :task AND again = :again ORDER BY entry;

-- name: verdicts_between
SELECT entry, job_id, task FROM verdict WHERE entry >= :since AND entry < :until ORDER BY entry;

-- name: verdicts_again
SELECT v.entry, v.job_id, v.task, e.body FROM verdict v LEFT JOIN ledger_entry e ON e.idx = v.entry WHERE v.again = 1 ORDER BY v.entry;

-- name: verdict_confirmed
UPDATE verdict SET confirmed = :by, signature = :signature WHERE entry = :entry;

-- name: statements_of_tasks
SELECT r.task, r.number, p.payload_sha256 FROM replica r JOIN report p ON p.replica_id = r.id
WHERE r.job_id = :job AND r.task IN (SELECT value FROM json_each(:tasks)) ORDER BY r.task, r.number, p.id;
