"""The steps of a pass: ingest, decide, dispatch, publish, and what follows from launches that ended."""
