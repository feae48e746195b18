"""Ingest: verify, store and decide small statements in one process, against PyNaCl's bare verification of as many."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import PROGRAM, array_of_true, fresh_home, header, line
from nacl.bindings import crypto_sign_open

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.steps.decide import decide_news
from nexapod_batch.coordinator.steps.ingest import ingest
from nexapod_batch.trust.dsse import Signer

TASKS = 2_000


def main() -> None:
    """Let a worker write 4,000 real reports, then take them in at once."""
    header()
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        os.environ["NEXAPOD_HOME"] = env["NEXAPOD_HOME"]
        job = Path(folder) / "job.toml"
        job.write_text(array_of_true(TASKS))
        subprocess.run([PROGRAM, "submit", str(job)], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open_coordinator(Paths.from_environment()) as c:
            (node,) = c.nodes()
            reports = c.paths.spool(node.name) / "reports"
            end = time.monotonic() + 120
            while sum(p.read_bytes().count(b'"payload"') for p in reports.glob("*.jsonl")) < 2 * TASKS:
                if time.monotonic() > end:
                    raise SystemExit("the worker did not finish within 120 s")
                time.sleep(0.2)
            c.backend(node)  # loaded once in the life of a process, long before the first report
            start = time.perf_counter()
            took_in = ingest(c, [node], Faults()).reports
            decided = decide_news(c, Faults())
            ours = time.perf_counter() - start
        signer = Signer.from_seed(b"\7" * 32)
        message = b"x" * 1200
        signed = signer.sign(message) + message
        start = time.perf_counter()
        for _ in range(took_in):
            crypto_sign_open(signed, signer.public)
        bare = time.perf_counter() - start
    line(f"ingest and decide {took_in} reports, {decided} tasks", f"{took_in / ours:.0f}/s", f"{took_in / bare:.0f}/s (PyNaCl)", bare / ours, ">= 0.40")


if __name__ == "__main__":
    main()
