-- The state of one coordinator. Times are whole milliseconds since 1970 (UTC) unless a name ends in _s.
-- Enumerations are CHECKed; counters of a job are kept by triggers, so that they cannot contradict its tasks.

CREATE TABLE node (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  key_id     TEXT NOT NULL UNIQUE,
  public_key BLOB NOT NULL CHECK (length(public_key) = 32),
  site       TEXT NOT NULL,
  owner      TEXT NOT NULL,
  host       TEXT NOT NULL,
  tier       TEXT NOT NULL CHECK (tier IN ('cpu', 'consumer-gpu', 'hpc')),
  backend    TEXT NOT NULL,
  cpus       INTEGER NOT NULL CHECK (cpus > 0),
  mem_mib    INTEGER NOT NULL CHECK (mem_mib > 0),
  gpus       INTEGER NOT NULL DEFAULT 0 CHECK (gpus >= 0),
  gpu_type   TEXT,
  hosts      INTEGER NOT NULL DEFAULT 1 CHECK (hosts > 0), -- machines that it is made of
  classes    TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(classes)),
  max_queued INTEGER NOT NULL CHECK (max_queued > 0),
  active     INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
  blame      INTEGER NOT NULL DEFAULT 0,          -- statements validly signed by the node that no honest node signs
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE job (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid        TEXT NOT NULL UNIQUE,
  name        TEXT NOT NULL,
  user        TEXT NOT NULL,
  digest      TEXT NOT NULL CHECK (length(digest) = 64),
  folder      TEXT NOT NULL,                      -- where it was submitted
  priority    INTEGER NOT NULL DEFAULT 0,
  held        INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
  blocked     TEXT NOT NULL DEFAULT '',           -- why nothing of it is dispatched (dependencies), for people
  max_running INTEGER CHECK (max_running > 0),
  created_at  INTEGER NOT NULL,
  finished_at INTEGER,
  n_tasks     INTEGER NOT NULL CHECK (n_tasks > 0),
  n_waiting   INTEGER NOT NULL CHECK (n_waiting >= 0),
  n_active    INTEGER NOT NULL DEFAULT 0 CHECK (n_active >= 0),
  n_accepted  INTEGER NOT NULL DEFAULT 0 CHECK (n_accepted >= 0),
  n_failed    INTEGER NOT NULL DEFAULT 0 CHECK (n_failed >= 0),
  n_inconclusive INTEGER NOT NULL DEFAULT 0 CHECK (n_inconclusive >= 0),
  n_cancelled INTEGER NOT NULL DEFAULT 0 CHECK (n_cancelled >= 0),
  n_want      INTEGER NOT NULL CHECK (n_want >= 0), -- tasks that want replicas placed
  collected   INTEGER NOT NULL DEFAULT 0 CHECK (collected IN (0, 1)),
  CHECK (n_tasks = n_waiting + n_active + n_accepted + n_failed + n_inconclusive + n_cancelled)
) STRICT;
CREATE TABLE document (                           -- apart from `job`, whose rows change with every task
  job_id INTEGER PRIMARY KEY REFERENCES job (id),
  body   BLOB NOT NULL                            -- canonical JSON, exactly the bytes that the digest covers
) STRICT;

CREATE INDEX job_wants ON job (priority DESC, id) WHERE n_want > 0;
CREATE INDEX job_open ON job (id) WHERE n_waiting + n_active > 0;

CREATE TABLE dependency (
  job_id    INTEGER NOT NULL REFERENCES job (id),
  on_job    INTEGER NOT NULL REFERENCES job (id),
  condition TEXT NOT NULL CHECK (condition IN ('accepted', 'ended', 'failed')),
  PRIMARY KEY (job_id, on_job)
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
  job_id    INTEGER NOT NULL REFERENCES job (id),
  idx       INTEGER NOT NULL CHECK (idx >= 0),
  state     TEXT NOT NULL DEFAULT 'waiting'
            CHECK (state IN ('waiting', 'active', 'accepted', 'failed', 'inconclusive', 'cancelled')),
  reason    TEXT NOT NULL DEFAULT '',
  want      INTEGER NOT NULL DEFAULT 0 CHECK (want >= 0),   -- replicas to place now
  news      INTEGER NOT NULL DEFAULT 0 CHECK (news IN (0, 1)), -- something changed since the last decision
  agree     INTEGER NOT NULL DEFAULT 0 CHECK (agree >= 0),  -- size of the leading group, in distinct domains
  class     TEXT,                                           -- numeric class, fixed at the first dispatch
  not_before INTEGER NOT NULL DEFAULT 0,                    -- back-off after losses
  extra     INTEGER NOT NULL DEFAULT 0 CHECK (extra >= 0),  -- replicas beyond max_replicas that retries allowed
  published INTEGER NOT NULL DEFAULT 0 CHECK (published IN (0, 1)),
  PRIMARY KEY (job_id, idx),
  CHECK (want = 0 OR state IN ('waiting', 'active')),
  CHECK (published = 0 OR state = 'accepted')
) STRICT, WITHOUT ROWID;
CREATE INDEX task_want ON task (job_id, idx) WHERE want > 0;
CREATE INDEX task_news ON task (job_id, idx) WHERE news = 1;
CREATE INDEX task_unpublished ON task (job_id, idx) WHERE state = 'accepted' AND published = 0;

CREATE TABLE launch (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  key        TEXT NOT NULL UNIQUE CHECK (length(key) = 32),
  node_id    INTEGER NOT NULL REFERENCES node (id),
  job_id     INTEGER NOT NULL REFERENCES job (id),
  state      TEXT NOT NULL DEFAULT 'intent' CHECK (state IN ('intent', 'handed', 'ended', 'forgotten')),
  native_id  TEXT NOT NULL DEFAULT '',
  reason     TEXT NOT NULL DEFAULT '',
  host_set   INTEGER NOT NULL DEFAULT -1,         -- which of the node's disjoint sets of hosts it is bound to; -1: any
  hosts      TEXT NOT NULL DEFAULT '',            -- where it ran by the scheduler's word: names with commas, ? when it never said
  envelope   BLOB,                                -- the signed bundle, until the launch ended
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX launch_open ON launch (node_id, id) WHERE state IN ('intent', 'handed');
CREATE INDEX launch_ended ON launch (node_id, id) WHERE state = 'ended';

CREATE TABLE replica (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id     INTEGER NOT NULL,
  task       INTEGER NOT NULL,
  number     INTEGER NOT NULL CHECK (number > 0),
  node_id    INTEGER NOT NULL REFERENCES node (id),
  launch_id  INTEGER REFERENCES launch (id),
  nonce      TEXT NOT NULL UNIQUE CHECK (length(nonce) = 32),
  host       TEXT NOT NULL DEFAULT '',            -- as the node said
  class      TEXT NOT NULL DEFAULT '',            -- as the node said, of the job's numeric class
  isolation  TEXT NOT NULL DEFAULT '',
  execution  TEXT NOT NULL DEFAULT 'submitted'
             CHECK (execution IN ('created', 'submitted', 'queued', 'running', 'reported', 'errored', 'lost', 'cancelled')),
  validation TEXT NOT NULL DEFAULT 'pending'
             CHECK (validation IN ('pending', 'valid', 'invalid', 'inconclusive', 'unneeded')),
  voided     INTEGER NOT NULL DEFAULT 0 CHECK (voided IN (0, 1)), -- two different valid statements
  vote       BLOB,                                -- 32 bytes: digest of the (normalised) outputs
  reason     TEXT NOT NULL DEFAULT '',
  exit_code  INTEGER,
  wall_ms    INTEGER, cpu_ms INTEGER, max_rss_kib INTEGER, output_bytes INTEGER,
  created_at INTEGER NOT NULL,
  deadline   INTEGER NOT NULL,
  ended_at   INTEGER,
  cleaned    INTEGER NOT NULL DEFAULT 0 CHECK (cleaned IN (0, 1)), -- its work folder is gone
  UNIQUE (job_id, task, number),
  FOREIGN KEY (job_id, task) REFERENCES task (job_id, idx),
  CHECK (execution <> 'reported' OR vote IS NOT NULL)
) STRICT;
CREATE INDEX replica_out ON replica (node_id, job_id, deadline) WHERE execution IN ('created', 'submitted', 'queued', 'running');
CREATE INDEX replica_launch ON replica (launch_id);
CREATE INDEX replica_unclean ON replica (job_id) WHERE cleaned = 0;

CREATE TABLE dictionary (                         -- the first payload of a job: the others are deflated with it
  job_id  INTEGER PRIMARY KEY REFERENCES job (id),
  payload BLOB NOT NULL
) STRICT;

CREATE TABLE report (                             -- what was signed, deflated: exactly the bytes that came
  id         INTEGER PRIMARY KEY,
  replica_id INTEGER NOT NULL REFERENCES replica (id),
  payload_sha256 BLOB NOT NULL CHECK (length(payload_sha256) = 32),
  received_at INTEGER NOT NULL,
  packed     BLOB NOT NULL,
  signature  BLOB NOT NULL CHECK (length(signature) = 64),
  UNIQUE (replica_id, payload_sha256)
) STRICT;

CREATE TABLE carried (                            -- small files that came with a report, until they are published
  replica_id INTEGER PRIMARY KEY REFERENCES replica (id),
  files      BLOB NOT NULL                        -- JSON: name -> base64
) STRICT;

CREATE TABLE segment (                            -- how far each report segment was read
  node_id INTEGER NOT NULL REFERENCES node (id),
  name    TEXT NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  PRIMARY KEY (node_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
  id         INTEGER PRIMARY KEY,
  node_id    INTEGER REFERENCES node (id),
  segment    TEXT NOT NULL,
  position   INTEGER NOT NULL,
  reason     TEXT NOT NULL,
  line       BLOB NOT NULL,                       -- the first 4 KiB
  created_at INTEGER NOT NULL,
  UNIQUE (node_id, segment, position)
) STRICT;

CREATE TABLE difference (                         -- what the losers of a task did differently, for people
  job_id INTEGER NOT NULL, task INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (job_id, task), FOREIGN KEY (job_id, task) REFERENCES task (job_id, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE fault (                              -- told once, until it is gone
  key TEXT PRIMARY KEY, text TEXT NOT NULL, told_at INTEGER NOT NULL, seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (                              -- who coordinates: one row
  id INTEGER PRIMARY KEY CHECK (id = 1),
  host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL, taken_at INTEGER NOT NULL, released INTEGER NOT NULL
) STRICT;

CREATE TRIGGER task_counted AFTER UPDATE OF state ON task WHEN OLD.state <> NEW.state BEGIN
  UPDATE job SET
    n_waiting = n_waiting + (NEW.state = 'waiting') - (OLD.state = 'waiting'),
    n_active = n_active + (NEW.state = 'active') - (OLD.state = 'active'),
    n_accepted = n_accepted + (NEW.state = 'accepted') - (OLD.state = 'accepted'),
    n_failed = n_failed + (NEW.state = 'failed') - (OLD.state = 'failed'),
    n_inconclusive = n_inconclusive + (NEW.state = 'inconclusive') - (OLD.state = 'inconclusive'),
    n_cancelled = n_cancelled + (NEW.state = 'cancelled') - (OLD.state = 'cancelled')
  WHERE id = NEW.job_id;
END;

CREATE TRIGGER task_wanting AFTER UPDATE OF want ON task WHEN (OLD.want > 0) <> (NEW.want > 0) BEGIN
  UPDATE job SET n_want = n_want + (NEW.want > 0) - (OLD.want > 0) WHERE id = NEW.job_id;
END;
