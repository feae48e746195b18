"""The node's side: stage, run, limit, digest, sign, report. A program of its own: `python -m nexapod_batch.runner`."""
