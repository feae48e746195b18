-- Nodes, their keys, and what they signed of their machines. Times are milliseconds since 1970.

-- name: node_put
INSERT INTO node (name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, gpus, gpu_type, hosts, classes, max_queued, made_by, created_at)
VALUES (:name, :key_id, :public_key, :site, :owner, :host, :tier, :backend, :cpus, :mem_mib, :gpus, :gpu_type, :hosts, :classes, :max_queued, :made_by, :now)
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

-- name: nodes_known
SELECT id, name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, gpus, gpu_type, hosts, classes, max_queued,
  active, blame, created_at, (SELECT k.key_id FROM node_key k WHERE k.node_id = n.id ORDER BY k.id LIMIT 1) AS first_key,
  made_by, cluster, cluster_at, networks, coalesce((SELECT o.state FROM owner o WHERE o.name = n.owner), 'approved') AS owner_state
FROM node n WHERE n.name = :name OR n.key_id = :key;

-- name: nodes
SELECT id, name, key_id, public_key, site, owner, host, tier, backend, cpus, mem_mib, gpus, gpu_type, hosts, classes, max_queued,
  active, blame, created_at, (SELECT k.key_id FROM node_key k WHERE k.node_id = n.id ORDER BY k.id LIMIT 1) AS first_key,
  made_by, cluster, cluster_at, networks, coalesce((SELECT o.state FROM owner o WHERE o.name = n.owner), 'approved') AS owner_state
FROM node n ORDER BY n.id;

-- name: node_networks
UPDATE node SET networks = :networks WHERE id = :node;

-- name: node_cluster
UPDATE node SET cluster = :cluster, cluster_at = :now WHERE id = :node;

-- name: node_activate
UPDATE node SET active = :active WHERE name = :name;

-- name: node_rename
UPDATE node SET name = :name, site = :site, owner = :owner WHERE name = :old;

-- name: node_delete
DELETE FROM node WHERE name = :name;

-- name: node_used
SELECT EXISTS (SELECT 1 FROM replica WHERE node_id = :id) AS used;

-- name: node_blame
UPDATE node SET blame = blame + 1 WHERE id = :id;

-- name: node_out
SELECT node_id, count(*) AS n FROM replica WHERE ended_at IS NULL GROUP BY node_id;

-- name: node_key_over
UPDATE node_key SET until = :now, over = :entry WHERE node_id = :node AND until IS NULL;

-- name: node_key_insert
INSERT INTO node_key (node_id, key_id, public_key, since, entry, rotation) VALUES (:node, :key, :public_key, :now, :entry, :rotation);

-- name: node_key_given
UPDATE node_key SET entry = :entry WHERE key_id = :key AND entry IS NULL;

-- name: node_key_revoked
UPDATE node_key SET revoked = min(coalesce(revoked, :since), :since) WHERE key_id = :key;

-- name: node_rekeyed
UPDATE node SET key_id = :key, public_key = :public_key WHERE id = :node;

-- name: node_keys
SELECT key_id, public_key, since, until, entry, over, revoked, rotation FROM node_key WHERE node_id = :node ORDER BY id;

-- name: nodes_at_work
SELECT DISTINCT node_id FROM launch WHERE state IN ('intent', 'handed');

-- name: start_failed
INSERT INTO start_failure (node_id, alike, pattern, why, at)
SELECT node_id, 1, :pattern, :why, :now FROM launch WHERE id = :launch
ON CONFLICT (node_id) DO UPDATE SET alike = CASE WHEN pattern = excluded.pattern THEN alike + 1 ELSE 1 END,
  pattern = excluded.pattern, why = excluded.why, at = excluded.at;

-- name: node_starts
DELETE FROM start_failure WHERE node_id = (SELECT node_id FROM launch WHERE id = :launch);

-- name: start_failures
SELECT node_id, alike, why, at FROM start_failure ORDER BY node_id;

-- name: start_failures_over
DELETE FROM start_failure;
