"""The examples whose last digits depend on the machine, on two nodes that differ in them."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Kernels of OpenBLAS that add up in another order: NumPy brings it, and takes the ones that are asked for.
KERNELS = {"old": "Prescott", "new": "Haswell"}


def site(home: Home, name: str) -> None:
    """Write the file of a site of this machine."""
    folder = home.path / "sites.d"
    folder.mkdir(parents=True, exist_ok=True)
    home.path.chmod(0o700)
    partition = '[[partitions]]\nname = "p"\ntier = "cpu"\nmax_cpus = 1\n'
    (folder / f"{name}.toml").write_text(f'schema = 1\n[site]\nname = "{name}"\n[scheduler]\ntype = "local"\n{partition}')


def python3(folder: Path) -> Path:
    """Write the interpreter that nodes have: its BLAS is the one of the site on which it is started."""
    cases = "".join(f"*/work/{name}/*) export OPENBLAS_CORETYPE={kernels} ;;\n" for name, kernels in KERNELS.items())
    program = folder / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase $PWD in\n{cases}*) exit 9 ;;\nesac\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program.parent


def digests(home: Home, node: str) -> Mapping[str, str]:
    """Return the digest of each output that a node signed, as it left it."""
    (line,) = home.lines(node)
    statement = json.loads(base64.b64decode(line["payload"]))
    return {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}


@pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"), reason="the newer kernels need it")
@pytest.mark.parametrize("example", ["netcdf-ensemble", "relaxation", "vqe-amplitudes"])
def test_nodes_that_differ_in_the_last_digits_agree_by_the_rule(tmp_path: Path, example: str) -> None:
    """No output has the same bytes on both, all are accepted, and whoever checks comes to the same."""
    home = Home(tmp_path)
    home.env["PATH"] = f"{python3(tmp_path)}:{home.env['PATH']}"
    for name in KERNELS:
        site(home, name)
    with ended(home):
        done = home.call("submit", EXAMPLES / example / "job.toml", "--set", "quorum.distinct=site", "--wait=150s")
        assert done.code == 0, done.out + done.err + home.call("explain", "last").out
        old, new = (digests(home, name) for name in KERNELS)
        assert old.keys() == new.keys()
        assert [name for name in old if old[name] == new[name]] == []
        assert home.call("verify", "1").code == 0
