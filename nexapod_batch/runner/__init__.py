"""The node's side: stage, run, limit, digest, sign, report. A program of its own, `-m nexapod_batch.runner`."""
