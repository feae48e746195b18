"""Ingest: read, verify, store and decide small statements, against PyNaCl's bare verification of the same ones.

The machine drifts by a third within seconds, so both are measured in turns: PyNaCl verifies one half of the statements
before each turn of ours and the other half after it, on one core. Each turn of ours is the first work of a new process,
on the same database and segments. The ratio is the median of those of the turns.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import subprocess
import sys
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
from nexapod_batch.trust.dsse import pae

TASKS, TURNS = 2_000, 7


def turn() -> None:
    """Take in and decide everything; print how many reports and tasks that were, and the seconds."""
    with open_coordinator(Paths.from_environment()) as c:
        (node,) = c.nodes()
        c.backend(node)  # loaded once in the life of a process, long before the first report
        start = time.perf_counter()
        took_in = ingest(c, [node], Faults()).reports
        decided = decide_news(c, Faults())
        print(took_in, decided, time.perf_counter() - start)


def statements(reports: Path) -> list[tuple[bytes, bytes]]:
    """Return what libsodium verifies of each report: signature and message, and the key."""
    found = []
    for segment in reports.glob("*.jsonl"):
        for report in map(json.loads, segment.read_bytes().splitlines()):
            if "payload" in report:
                signature = base64.b64decode(report["signatures"][0]["sig"])
                message = pae(report["payloadType"], base64.b64decode(report["payload"]))
                found.append((signature + message, base64.b64decode(report["key"])))
    return found


def bare(signed: list[tuple[bytes, bytes]]) -> float:
    """Return how many seconds PyNaCl takes to verify statements."""
    start = time.perf_counter()
    for message, key in signed:
        crypto_sign_open(message, key)
    return time.perf_counter() - start


def reported(env: dict[str, str], folder: Path) -> Path:
    """Let a worker write 4,000 real reports; return the folder of its segments."""
    job = folder / "job.toml"
    job.write_text(array_of_true(TASKS))
    subprocess.run([PROGRAM, "submit", str(job)], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open_coordinator(Paths.from_environment(env)) as c:
        (node,) = c.nodes()
        reports = c.paths.spool(node.name) / "reports"
    end = time.monotonic() + 120
    while sum(p.read_bytes().count(b'"payload"') for p in reports.glob("*.jsonl")) < 2 * TASKS:
        if time.monotonic() > end:
            raise SystemExit("the worker did not finish within 120 s")
        time.sleep(0.2)
    return reports


def put(database: Path, content: bytes) -> None:
    """Put the database back, durably, so that no turn pays for it."""
    for name in ("-wal", "-shm"):
        Path(f"{database}{name}").unlink(missing_ok=True)
    with database.open("wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())


def main() -> None:
    """Take the same reports in, again and again."""
    header()
    with fresh_home() as env, tempfile.TemporaryDirectory() as folder:
        signed = statements(reported(env, Path(folder)))
        database = Path(env["NEXAPOD_HOME"]) / "state.db"
        before = database.read_bytes()
        ours, theirs = [], []
        for _ in range(TURNS):
            put(database, before)
            first = bare(signed[::2])
            told = subprocess.run([sys.executable, __file__, "turn"], env=env, check=True, capture_output=True, text=True)
            theirs.append(first + bare(signed[1::2]))
            took_in, decided, seconds = told.stdout.split()
            ours.append(float(seconds))
    if int(took_in) != len(signed):
        raise SystemExit(f"{took_in} of {len(signed)} reports were taken in")
    rate, bare_rate = (len(signed) / statistics.median(each) for each in (ours, theirs))
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    line(f"ingest and decide {took_in} reports, {decided} tasks", f"{rate:.0f}/s", f"{bare_rate:.0f}/s (PyNaCl)", ratio, ">= 0.40")


if __name__ == "__main__":
    if sys.argv[1:] == ["turn"]:
        turn()
    else:
        main()
