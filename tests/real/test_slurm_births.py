"""What a runner in a Slurm job is born with: nothing of whoever submitted but PATH; of the site what it passes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clusters.slurm import Cluster
    from real.slurm_homes import SlurmHome

#: What the batch script itself has, noted by a setup line of the site, and what the command has.
NOTED = "env -0 > {file}; pwd > {file}.pwd"
LOOK = '[job]\nname = "look"\ncommand = ["sh", "-c", "pwd; env; echo $TMPDIR"]\n[quorum]\nagree = 1\ndistinct = "run"\n'
HOSTILE = "import os\nopen({mark!r}, 'a').close()\nos.kill(os.getpid(), 9)\n"
SHELL = {
    "AWS_SECRET_ACCESS_KEY": "nexapod-word", "BASH_ENV": "/nexapod/none", "PYTHONPATH": ".", "SBATCH_PARTITION": "none",
    "SLURM_JOB_ID": "77", "TMPDIR": "/nexapod/none", "LOADEDMODULES": "gcc/12.2", "OMP_NUM_THREADS": "3",
}  # fmt: skip


def internal(home: SlurmHome) -> dict[str, Any]:
    """Return what the only statement of the last job says of how it ran."""
    out = home.folder / "statements"
    assert home.call("attestations", "last", "--out", out).code == 0
    (file,) = out.glob("*.dsse.json")
    said: dict[str, Any] = json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))
    return said["predicate"]["buildDefinition"]["internalParameters"]


@pytest.mark.parametrize("own", [False, True], ids=["ours", "named"])
def test_a_job_is_submitted_from_a_strangers_folder(home: SlurmHome, alpha: Cluster, tmp_path: Path, own: bool) -> None:
    """Modules in the submitter's folder run neither here nor there; variables of the shell stay; the script works in `/`."""
    mark, noted = tmp_path / "mark", tmp_path / "noted"
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name in ("nexapod_batch", "msgspec", "orjson", "random", "ctypes", "encodings_", "jinja2", "shlex"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(HOSTILE.format(mark=str(mark)))
        (folder / f"{name}.py").write_text(HOSTILE.format(mark=str(mark)))
    python = tmp_path / "python3"  # another name than ours, and so another interpreter
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    more: dict[str, Any] = {"runner": {"python": str(python)}} if own else {}
    home.site(alpha, environment={"setup": [NOTED.format(file=noted)]}, **more)
    path = home.descriptor(LOOK)
    home.folder, before = folder, home.folder
    done = home.call("submit", path, "--wait", "--site", "alpha", env={**SHELL, "PYTHONPATH": ""})
    home.folder = before
    assert done.code == 0, done.err
    assert not mark.exists()
    script = dict(line.split("=", 1) for line in noted.read_text().split("\0") if "=" in line)
    assert Path(f"{noted}.pwd").read_text() == "/\n"
    assert not {"AWS_SECRET_ACCESS_KEY", "BASH_ENV", "SBATCH_PARTITION", "LOADEDMODULES", "OMP_NUM_THREADS"} & script.keys()
    assert script["SLURM_JOB_ID"] != "77"
    assert script["PATH"] == os.environ["PATH"]


def test_what_the_site_passes_on_reaches_commands_and_is_signed(home: SlurmHome, alpha: Cluster) -> None:
    """Named variables of setup, `env` and modules do, by value; others do not; the statement has their digests."""
    words = "a 'b' \"c\" $(d)"
    own = {
        "setup": ["export LD_LIBRARY_PATH=/opt/lib:/opt/lib64 FROM_SETUP=yes KEPT=no"],
        "pass": ["LD_LIBRARY_PATH", "FROM_SETUP", "FROM_ENV", "NOT_THERE"],
    }
    home.site(alpha, **{"environment": own, "environment.env": {"FROM_ENV": words}})
    assert home.call("submit", home.descriptor(LOOK), "--wait", "--site", "alpha").code == 0
    lines = home.call("logs", "last").out.splitlines()
    assert {"LD_LIBRARY_PATH=/opt/lib:/opt/lib64", "FROM_SETUP=yes", f"FROM_ENV={words}"} <= set(lines)
    assert not [line for line in lines if line.startswith(("KEPT=", "NOT_THERE=", "SLURM_"))]
    wanted = {"LD_LIBRARY_PATH": "/opt/lib:/opt/lib64", "FROM_SETUP": "yes", "FROM_ENV": words}
    assert internal(home)["environment"] == {name: hashlib.sha256(value.encode()).hexdigest() for name, value in wanted.items()}


def test_temporary_files_lie_where_the_site_says(home: SlurmHome, alpha: Cluster) -> None:
    """On its local scratch; `site check` tells where, and that sockets can be made, or that the site's folder is no good."""
    scratch = Path(f"/var/tmp/nx{os.urandom(4).hex()}")  # noqa: S108 - made exclusively
    scratch.mkdir()
    try:
        home.site(alpha, filesystem={"local_scratch": str(scratch)})
        assert home.call("submit", home.descriptor(LOOK), "--wait", "--site", "alpha").code == 0
        assert home.call("logs", "last").out.splitlines()[-1].startswith(f"{scratch}/nxtmp-")
        assert list(scratch.iterdir()) == []
        assert f"$TMPDIR lies in {scratch}, where sockets can be made" in home.call("site", "check", "alpha").out
        scratch.chmod(0o777)
        assert f"{scratch} is not there, or others may write it" in home.call("site", "check", "alpha").out
    finally:
        scratch.rmdir()


@pytest.mark.parametrize("kib", [400_000, 1_000_000])
def test_little_memory_is_enough_for_a_cluster(home: SlurmHome, alpha: Cluster, kib: int) -> None:
    """A login node with `ulimit -v`, which Slurm hands on to the job: small files need little memory on either side."""
    home.site(alpha)
    text = LOOK + '[[outputs]]\npath = "raw"\n'
    path = home.descriptor(text.replace("echo $TMPDIR", "head -c 1000 /dev/zero > raw"))
    limited = ("sh", "-c", f'ulimit -v {kib} && exec "$@"', "sh")
    done = home.call("submit", path, "--wait", "--site", "alpha", before=limited)
    assert done.code == 0, done.err
    assert (home.path / "results" / "1" / "0" / "raw").stat().st_size == 1000
