-- Notes of what replicas wrote to their logs while they ran.

-- name: trail_of
SELECT number, note FROM trail WHERE replica_id = :replica ORDER BY number;

-- name: trail_note
SELECT note FROM trail WHERE replica_id = :replica AND number = :number;

-- name: trail_newest
SELECT note FROM trail WHERE replica_id = :replica ORDER BY number DESC LIMIT 1;

-- name: trail_insert
INSERT OR IGNORE INTO trail (replica_id, number, note) VALUES (:replica, :number, :note);

-- name: trailed_replica
SELECT r.id, r.node_id, r.nonce, d.trail AS secret FROM replica r LEFT JOIN delegation d ON d.launch_id = r.launch_id
WHERE r.job_id = :job AND r.task = :task AND r.number = :number;
