-- What nodes offer of their machines: the DSSE envelope, exactly as it was signed.
CREATE TABLE profile (
  node_id  INTEGER PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
  envelope BLOB NOT NULL CHECK (length(envelope) > 0)
) STRICT;

-- The GPUs that a replica had, and what for: [{uuid, model, time_ms, peak_mib, energy_mj}].
ALTER TABLE replica ADD COLUMN gpus TEXT CHECK (gpus IS NULL OR json_valid(gpus));
