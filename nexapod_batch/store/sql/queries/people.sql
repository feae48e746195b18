-- People who use the coordinator from elsewhere.

-- name: token_insert
INSERT INTO token (hash, person, name, scope, created_at, expires_at)
VALUES (:hash, :person, :name, :scope, :now, :expires);

-- name: token_find
SELECT id, person, name, scope, created_at, expires_at, revoked_at FROM token
WHERE hash = :hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now);

-- name: token_all
SELECT id, person, name, scope, created_at, expires_at, revoked_at FROM token ORDER BY id DESC;

-- name: token_revoke
UPDATE token SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL;

-- name: token_revoke_named
UPDATE token SET revoked_at = :now WHERE person = :person AND name = :name AND revoked_at IS NULL;

-- name: open_of
SELECT count(*) AS jobs, coalesce(sum(n_waiting + n_active), 0) AS tasks FROM job
WHERE user = :user AND n_waiting + n_active > 0;

-- name: sent_find
SELECT digest, job_id FROM sent WHERE person = :person AND key = :key;

-- name: sent_insert
INSERT INTO sent (person, key, digest, job_id, created_at) VALUES (:person, :key, :digest, :job, :now);
