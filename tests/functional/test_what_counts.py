"""Outputs of which a part, or nothing, has to agree: from the descriptor to the verified result."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from pathlib import Path

#: Every run writes another date, another log, and one of two files that may be missing.
JOB = """[job]
name = "dated"
command = ["sh", "-c", '''
n=$(mkdir {flag}/1 2>/dev/null && echo 1 || echo 2)
echo "# made in run $n"; echo "E 1.5"
echo '{{{{"made": '$n', "E": [1, 2]}}}}' > a.json
echo "run $n" > run.log
[ $n = 1 ] || echo late > late.log
''']
[quorum]
distinct = "run"
max_replicas = 2
"""
OUTPUTS = """[[outputs]]
path = "a.json"
ignore = [".made"]
[[outputs]]
path = "*.log"
compare = "none"
[[outputs]]
path = "extra/*.csv"
optional = true
"""


@pytest.mark.parametrize("tolerant", [False, True])
def test_what_does_not_count_is_published_and_signed(tmp_path: Path, tolerant: bool) -> None:
    """Two runs that differ in a date, in a log and in which files there are: accepted, verified, and proved elsewhere."""
    (tmp_path / "flag").mkdir()
    rule = 'compare = "allclose"\nrtol = 1e-9\n' if tolerant else ""
    outputs = OUTPUTS.replace('ignore = [".made"]\n', rule + 'ignore = [".made"]\n')
    with ended(Home(tmp_path), "mine") as home:
        done = home.submit(JOB.format(flag=tmp_path / "flag") + outputs, "--wait=90s")
        assert done.code == 0, done.out + done.err
        results = home.path / "results/1/0"
        assert json.loads((results / "a.json").read_text())["E"] == [1, 2]
        assert (results / "run.log").read_text().startswith("run ")
        assert home.call("verify", "1").code == 0
        assert home.proof_code(1) == 0
        if not tolerant:
            assert _checked_by_hand(home) == 0


def _checked_by_hand(home: Home) -> int:
    """Return how the program ends that comes with an export, and that knows nothing of ours."""
    folder = home.folder / "export"
    assert home.call("attestations", 1, "--out", folder).code == 0
    keys = [word for key in sorted(folder.glob("**/*.pem")) for word in ("--key", str(key))]
    return subprocess.run([sys.executable, "-I", folder / "check.py", *keys], check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ('[[outputs]]\npath = "a"\ncompare = "none"\n', "none of them has to agree"),
        ('[[outputs]]\npath = "a"\noptional = true\n', "none of them has to agree"),
        ('[[outputs]]\npath = "a.txt"\nignore = ["("]\n', "missing )"),
        ('[[outputs]]\npath = "a.txt"\nignore = ["(a)\\\\1"]\n', "invalid escape"),
        ('[[outputs]]\npath = "a.json"\nignore = ["date"]\n', "no path in JSON"),
        ('[[outputs]]\npath = "b"\n[[outputs]]\npath = "a"\ncompare = "none"\nignore = ["x"]\n', "not used by none"),
    ],
)
def test_what_cannot_be_is_told_at_submit(tmp_path: Path, outputs: str, fault: str) -> None:
    """Exit code 65, and the reason."""
    with ended(Home(tmp_path), "mine") as home:
        done = home.submit('[job]\ncommand = ["true"]\n' + outputs)
        assert done.code == 65
        assert fault in done.err


#: Two runs that write the same values with another layout, another date, and noise in the last digits.
ARRAYS = """import os, sys, h5py, numpy as np
run = 1
try:
    os.mkdir(sys.argv[1] + "/1")
except FileExistsError:
    run = 2
with h5py.File("a.h5", "w") as file:
    file.attrs["history"] = f"run {run}"
    file.create_dataset("T", data=np.linspace(1, 2, 600).reshape(20, 30) * (1 + run * 1e-14), chunks=(run, 30))
np.savez_compressed("b.npz", x=np.arange(5) + run * 1e-13) if run == 1 else np.savez("b.npz", x=np.arange(5) + run * 1e-13)
"""


@pytest.mark.parametrize("rule", ['compare = "significant"\ndigits = 8', 'compare = "allclose"\nrtol = 1e-9\natol = 1e-9'])
def test_arrays_of_two_runs_agree_by_their_values(tmp_path: Path, rule: str) -> None:
    """HDF5 and .npz, read on the node or here, by a process of its own: accepted, verified, proved."""
    (tmp_path / "flag").mkdir()
    (tmp_path / "make.py").write_text(ARRAYS)
    command = [sys.executable, "make.py", str(tmp_path / "flag")]
    job = f'[job]\nname = "arrays"\ncommand = {json.dumps(command)}\n[quorum]\ndistinct = "run"\nmax_replicas = 2\n'
    inputs = '[[inputs]]\nsource = "make.py"\n'
    outputs = f'[[outputs]]\npath = "a.h5"\n{rule}\nignore = ["history"]\n[[outputs]]\npath = "b.npz"\n{rule}\n'
    if "significant" in rule:
        outputs = outputs.replace('path = "b.npz"\ncompare = "significant"\ndigits = 8', 'path = "b.npz"\ncompare = "round"\ndigits = 6')
    with ended(Home(tmp_path), "mine") as home:
        done = home.submit(job + inputs + outputs, "--wait=120s")
        assert done.code == 0, done.out + done.err + home.call("explain", 1).out
        assert home.call("verify", "1").code == 0
        assert home.proof_code(1) == 0


def test_what_cannot_be_read_here_ends_soon(tmp_path: Path) -> None:
    """A file that is not of the format that its name promises fails its replica, and two of them the task, with the reason."""
    (tmp_path / "flag").mkdir()
    command = f"n=$(mkdir {tmp_path}/flag/1 2>/dev/null && echo 1 || echo 2); echo no array $n > a.npy"
    job = f'[job]\nname = "broken"\ncommand = {json.dumps(["sh", "-c", command])}\n[quorum]\ndistinct = "run"\nmax_replicas = 2\n'
    with ended(Home(tmp_path), "mine") as home:
        assert home.submit(job + '[[outputs]]\npath = "a.npy"\ncompare = "significant"\ndigits = 8\n', "--wait=90s").code == 1
        assert "output 'a.npy' cannot be compared" in home.call("explain", 1).out
        assert home.call("verify", "1").code == 0


@pytest.mark.parametrize(
    ("path", "rule", "warned"),
    [
        ("a.nc", "", True), ("a.csv.gz", "", True), ("a.npz", "", True), ("a.nc", 'compare = "content"', False),
        ("a.csv", "", False), ("a.nc", 'compare = "none"', False),
    ],
)  # fmt: skip
def test_bytes_that_never_agree_are_told_at_submit(tmp_path: Path, path: str, rule: str, warned: bool) -> None:
    """A warning, which names the comparison that would do."""
    with ended(Home(tmp_path), "mine") as home:
        outputs = f'[[outputs]]\npath = "{path}"\n{rule}\n[[outputs]]\npath = "b.txt"\n'
        done = home.submit('[job]\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n' + outputs, "--dry-run")
        assert done.code == 0, done.err
        assert ("seldom have the same bytes" in done.err) is warned
