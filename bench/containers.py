"""A replica in a container, beside `apptainer exec` of the same command: 50 of each, in turns of ten; and a confined one.

A node of one CPU runs its replicas one after the other. Of each counts the time from its start to the start of the
next one: staging, wrapping, running, digesting and signing. Apptainer alone is run as considerately as the node is.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from apptainer.trees import build_sif, make_tree
from common import PROGRAM, fresh_home, header, line, seconds

RUNS, TURN = 50, 10
_JOB = """schema = 1
[job]
command = ["/bin/true"]
[container]
image = "{image}"
[array]
ids = "0-{last}"
[quorum]
agree = 1
"""


def cycles(env: dict[str, str], job: Path, out: Path, *options: str) -> list[float]:
    """Run a turn of replicas; return the seconds from the start of each to that of the next."""
    subprocess.run([PROGRAM, "submit", str(job), "--wait", *options], env=env, check=True, capture_output=True)
    subprocess.run([PROGRAM, "attestations", "last", "--out", str(out)], env=env, check=True, capture_output=True)
    starts = sorted(started(one) for one in out.glob("*.dsse.json"))
    return [(after - before).total_seconds() for before, after in pairwise(starts)]


def started(envelope: Path) -> datetime:
    """Return when a replica was started, as its signed statement says."""
    statement = json.loads(base64.b64decode(json.loads(envelope.read_bytes())["payload"]))
    return datetime.fromisoformat(statement["predicate"]["runDetails"]["metadata"]["startedOn"])


def confined(env: dict[str, str], folder: Path) -> None:
    """Print what it costs to confine a command without a container."""
    job = folder / "bare.toml"
    job.write_text(_JOB.format(image="", last=RUNS).replace('[container]\nimage = ""\n', ""))
    found: dict[str, list[float]] = {"": [], "--foreign": []}
    for turn in range(2 * len(found)):
        option = list(found)[turn % len(found)]
        found[option] += cycles(env, job, folder / f"bare-{turn}", *filter(None, [option]))
    bare, mine = (statistics.median(one) for one in found.values())
    line("a replica that is confined", f"{mine * 1000:.0f} ms", f"{bare * 1000:.0f} ms, bare", mine / bare, "told")


def main() -> None:
    """Take turns on one node of one CPU."""
    with tempfile.TemporaryDirectory(prefix="nxb", dir="/var/tmp") as name, fresh_home() as env:
        folder = Path(name)
        image = build_sif(make_tree(folder / "tree"), folder / "box.sif")
        job = folder / "job.toml"
        job.write_text(_JOB.format(image=image, last=TURN))  # one more: the last has none after it
        subprocess.run([PROGRAM, "node", "init", "--cpus", "1"], env=env, check=True, capture_output=True)
        theirs_argv = ["nice", "-n", "5", "ionice", "-c", "3", "apptainer", "exec", *(["--userns"] if os.geteuid() == 0 else []), str(image), "/bin/true"]
        ours, theirs = [], []
        for turn in range(RUNS // TURN):
            ours += cycles(env, job, folder / str(turn))
            theirs += [seconds(theirs_argv) for _ in range(TURN)]
        header()
        confined(env, folder)
    mine, bare = statistics.median(ours), statistics.median(theirs)
    line("a replica in a container", f"{mine * 1000:.0f} ms", f"{bare * 1000:.0f} ms, `apptainer exec`", mine / bare, "<= 1.15")


if __name__ == "__main__":
    main()
