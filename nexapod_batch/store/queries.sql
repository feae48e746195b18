-- The coordinator's statements, one below each "name" header; called as store.one("..."), .all, .each, .run and .many.

-- name: replica
SELECT r.id, r.job_id, r.task, r.number, r.node_id, l.key FROM replica r JOIN launch l ON l.id = r.launch_id WHERE r.id = :id;
