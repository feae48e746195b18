"""The use cases: submit, dispatch, ingest, decide, publish, and what people ask about them.

A verdict depends on the policy and the replicas' outcomes alone; every effect outside the database has an intent row
first; whatever is interrupted is picked up by the next pass, by whichever process runs it.
"""

from nexapod_batch.coordinator.context import Coordinator, open_coordinator

__all__ = ["Coordinator", "open_coordinator"]
