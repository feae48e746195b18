-- Replicas that are to stop, and of which their backend has not heard yet: a debt, until it has, or their launch ended.
CREATE TABLE stop_owed (
  replica_id INTEGER PRIMARY KEY REFERENCES replica (id)
) STRICT;
