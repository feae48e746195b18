"""A bare job on a real cluster that reads whatever its account can read: what it finds, and what that is worth."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from forging import line_of, said_in
from living_folders import below, contents

from nexapod_batch.errors import KeyFileError
from nexapod_batch.files import keyfile
from nexapod_batch.files.agent_key import AgentSigner
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster
    from real.slurm_homes import SlurmHome


def loot(home: SlurmHome, *folders: Path) -> dict[str, Signer]:
    """Return every key that lies in files of the account: launches' keys in inboxes, and private keys anywhere."""
    found: dict[str, Signer] = {}
    for file, content in contents(one for folder in folders for one in below(folder)).items():
        if file.suffix == ".key":
            found[str(file)] = Signer.from_seed(bytes.fromhex(content.decode()))
            continue
        try:
            signer = keyfile.load(file)
        except KeyFileError:
            continue
        if not isinstance(signer, AgentSigner):  # a public key, whose other half an ssh-agent would have
            found[str(file)] = signer
    for number, row in enumerate(home.rows("SELECT seed FROM delegation WHERE seed IS NOT NULL")):
        found[f"seed {number} of the database"] = Signer.from_seed(row["seed"])
    return found


def test_an_element_takes_all_of_its_keys_before_it_runs_anything(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """A command that looks into the inbox finds no key of a launch that its own Slurm job runs later."""
    home.site(alpha, partition={"hosts": 1, "max_cpus": 1}, pack={"time": "1h"})
    spool, seen = home.path / "spool/alpha", home.folder / "seen"
    look = f"ls {shlex.quote(str(spool))}/inbox >> {shlex.quote(str(seen))}; while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.05; done"
    job = home.start(home.tasks(40, look))
    home.ran(1)
    (elements,) = [one["elements"] for one in home.groups().values()]
    mine = next(element for element in elements if home.claims() & set(element))
    assert len(mine) > 1
    gate.touch()
    home.ended(job)
    first = seen.read_text().split()
    assert any(name.removesuffix(".json") in mine for name in first)
    assert not any(name.removesuffix(".key") in mine for name in first if name.endswith(".key"))


def test_what_a_bare_job_steals_forges_nothing_claimed(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Not a key of the node in what runners see, and no key of the account signs for a launch that runs."""
    home.site(alpha)
    old = home.path / "spool/alpha/key"
    wait = f"while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.05; done"
    old.parent.mkdir(parents=True)
    old.write_text("left by an earlier version\n")
    job = home.start(home.tasks(2, wait))
    home.ran(2)
    home.drive(lambda: not home.rows("SELECT 1 FROM delegation WHERE seed IS NOT NULL"), "both launches to be seen claimed")
    assert not old.exists()
    assert loot(home, home.path / "spool") == {}
    stolen = loot(home, home.path)
    assert {name.rpartition("/")[2] for name in stolen} >= {"coordinator", "node-alpha"}
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    lies = []
    for file in home.path.glob("spool/alpha/reports/*.jsonl"):
        for line in map(json.loads, file.read_bytes().split(b"\n")[:-1]):
            if "payload" in line:
                said = said_in(line)
                lies += [line_of(one, said._replace(wall_ms=said.wall_ms + 1)) for one in stolen.values()]
    assert lies
    (home.path / "spool/alpha/reports/00.jsonl").write_bytes(b"".join(one + b"\n" for one in lies))
    assert home.json("reconcile")["quarantined"] == len(lies)
    assert home.replicas(job, "execution, voided") == [("reported", 0)] * 2
    assert home.rows("SELECT blame FROM node")[0]["blame"] == 0
    assert home.call("verify", job).code == 0


def test_node_and_coordinator_get_new_keys_while_jobs_run(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """What runs and what waits in the queue finishes under the old keys, what comes next under the new ones."""
    home.site(alpha, pack={"tasks": 1}, partition={"hosts": 1, "max_cpus": 8}, limits={"max_jobs": 2})
    job = home.start(home.tasks(6, f"while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.05; done"))
    home.ran(1)
    told = home.json("key", "rotate", "alpha", "coordinator")["rotated"]
    later = home.start(home.tasks(2))
    gate.touch()
    for one in (job, later):
        home.ended(one)
        assert home.call("verify", one).code == 0
    assert home.replicas(job, "number") == [1] * 6
    assert home.replicas(later, "number") == [1] * 2
    settings = (home.path / "spool/alpha/node.json").read_text()
    assert all(one["key"] in settings for one in told)
    assert home.rows("SELECT blame FROM node")[0]["blame"] == 0
