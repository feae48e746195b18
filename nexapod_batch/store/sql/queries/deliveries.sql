-- Results that are wanted elsewhere. Times are milliseconds since 1970.

-- name: delivery_insert
INSERT INTO delivery (job_id) VALUES (:job);

-- name: delivery
SELECT job_id, made, of_finish, place, digest, tries, next_at, reason FROM delivery WHERE job_id = :job;

-- name: deliveries_due
SELECT d.job_id, d.made, d.of_finish, d.place, d.digest, d.tries, d.next_at, d.reason
FROM delivery d JOIN job j ON j.id = d.job_id
WHERE d.next_at <= :now AND j.n_waiting + j.n_active = 0 AND j.n_accepted > 0 AND d.of_finish IS NOT j.finished_at
  AND NOT EXISTS (
    SELECT 1 FROM task t WHERE t.job_id = d.job_id AND t.state = 'accepted' AND t.published = 0 AND t.unpublished = ''
  )
ORDER BY d.job_id;

-- name: delivery_untried
SELECT 1 AS n FROM delivery d JOIN job j ON j.id = d.job_id
WHERE d.tries = 0 AND j.n_waiting + j.n_active = 0 AND j.n_accepted > 0 AND d.of_finish IS NOT j.finished_at
  AND d.job_id IN (SELECT value FROM json_each(:jobs)) LIMIT 1;

-- name: deliveries_failing
SELECT job_id, reason FROM delivery WHERE reason <> '' ORDER BY job_id;

-- name: delivery_done
UPDATE delivery SET made = made + 1, of_finish = :finished, place = :place, digest = :digest, tries = 0, next_at = 0,
  reason = '' WHERE job_id = :job;

-- name: delivery_failed
UPDATE delivery SET tries = tries + 1, next_at = :next_at, reason = :reason WHERE job_id = :job;

-- name: delivery_at_once
UPDATE delivery SET next_at = 0 WHERE job_id = :job;
