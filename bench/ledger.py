"""The ledger: appends, what a new process needs for a root and a proof, the audit of a million entries, bytes an event.

Times are the ledger's own share: the interpreter has started, and the database is open.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import header, line

from nexapod_batch.coordinator.ledger_start import begin
from nexapod_batch.ledger.audit import audit
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.store import Store
from nexapod_batch.trust.dsse import Signer

ENTRIES = int(os.environ.get("BENCH_ENTRIES", "1000000"))
TOGETHER = 100  # entries of one transaction

#: What a new process does; it prints what the root and the proof took, in milliseconds.
FRESH = """
import sys, time
from nexapod_batch.store import Store
from nexapod_batch.ledger.tree import inclusion_proof
with Store.open(sys.argv[1], write=False) as store:
    ledger = store.ledger
    start = time.perf_counter()
    size = ledger.size()
    ledger.root(size)
    root = time.perf_counter() - start
    start = time.perf_counter()
    inclusion_proof(size // 3, size, ledger.node)
    print(1000 * root, 1000 * (time.perf_counter() - start))
"""


def entries(first: int, number: int) -> list[bytes]:
    """Return what the reports of a large job append."""
    return [
        event(
            Kind.REPORT, 1_796_000_000_000 + at, id=f"17_{at // 2}.{at % 2 + 1}",
            sha256=encoded_digest(hashlib.sha256(b"%d" % at).digest()),
        )
        for at in range(first, first + number)
    ]  # fmt: skip


def main() -> None:
    """Fill a ledger, then look at it."""
    header()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        with Store.open(path, create=True) as store:
            begin(store, Signer.from_seed(b"\7" * 32), 0)
        before, spent = path.stat().st_size, 0.0
        with Store.open(path) as store:
            for first in range(1, ENTRIES, TOGETHER):
                batch = entries(first, min(TOGETHER, ENTRIES - first))
                start = time.perf_counter()
                store.ledger.append(batch)
                spent += time.perf_counter() - start
        grown = (path.stat().st_size - before) / (ENTRIES - 1)
        argv = [sys.executable, "-c", FRESH, str(path)]
        told = [subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split() for _ in range(7)]
        root_ms, proof_ms = (statistics.median(map(float, column)) for column in zip(*told, strict=True))
        with Store.open(path, write=False) as store:
            ledger = store.ledger
            start = time.perf_counter()
            found = audit(ledger.marked_entries(), ledger.levels(), ledger.nodes, [])
            audited = time.perf_counter() - start
        if found.faults or found.size != ENTRIES:
            raise SystemExit(f"the ledger does not hold together: {found.faults}")
    line(f"append {ENTRIES} entries, {TOGETHER} a transaction", f"{ENTRIES / spent:.0f}/s", "-", 0, "-")
    line("root in a new process", f"{root_ms:.2f} ms", "2 ms", root_ms / 2, "<= 1")
    line("one inclusion proof", f"{proof_ms:.2f} ms", "2 ms", proof_ms / 2, "<= 1")
    line(f"audit of {ENTRIES} entries", f"{audited:.1f} s", "5 s", audited / 5, "<= 1")
    line("growth of the database, an event", f"{grown:.0f} B", "150 B", grown / 150, "<= 1")


if __name__ == "__main__":
    main()
