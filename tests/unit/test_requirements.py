"""What is missing of other people's packages, and the line that installs it."""

from __future__ import annotations

import ast
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from nexapod_batch.requirements import absent, install_command

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Packages whose module is called otherwise.
MODULES = {"google-re2": "re2", "pynacl": "nacl", "nvidia-ml-py": "pynvml"}


@pytest.mark.parametrize(
    ("modules", "packages"),
    [
        (["jinja2"], ["jinja2>=3.1"]),
        (["dask", "distributed"], ["dask>=2025.5", "distributed>=2025.5"]),
        (["dask_jobqueue"], ["dask-jobqueue>=0.9"]),
        (["nacl"], ["pynacl>=1.6.2"]),
        (["pynvml"], ["nvidia-ml-py>=12.535"]),
        (["sqlite_utils"], ["sqlite-utils>=4"]),
        (["nobody_requires_it"], ["nobody-requires-it"]),
        (["jinja2", "jinja2"], ["jinja2>=3.1"]),
    ],
)
def test_the_command_installs_what_fits_beside_this_program(modules: list[str], packages: list[str]) -> None:
    """It names this interpreter, packages instead of modules, and the versions that are required; a shell takes it."""
    assert shlex.split(install_command(modules)) == [sys.executable, "-m", "pip", "install", *packages]


def test_only_what_cannot_be_found_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order asked for; a module that somebody barred counts as absent."""
    monkeypatch.setitem(sys.modules, "colorsys", None)
    assert absent(["json", "no_such_module_at_all", "colorsys", "msgspec"]) == ["no_such_module_at_all", "colorsys"]
    assert absent([]) == []


def test_one_plain_installation_serves_this_machine_slurm_and_ssh() -> None:
    """Whatever the core and the backends of this machine and of Slurm import is installed without an extra."""
    plain = {name for line in PROJECT["dependencies"] if (name := line.split(">")[0].strip())}
    brought = {MODULES.get(name, name.replace("-", "_")) for name in plain}
    files = [
        *(ROOT / "nexapod_batch").rglob("*.py"),
        *(ROOT / "backends/nexapod_backends").glob("*.py"),
        *(ROOT / "backends/nexapod_backends/slurm").rglob("*.py"),
        *(ROOT / "backends/nexapod_backends/apptainer").rglob("*.py"),
    ]
    extras = {"testing", "server"}
    plain_files = [file for file in files if extras.isdisjoint(file.relative_to(ROOT).parts)]
    wanted = {module for file in plain_files for module in imported(file)}
    ours = {"nexapod_batch", "nexapod_backends", "nexapod_client"}
    # Each is looked for, and done without.
    optional = {"pyslurm", "spython", "numpy", "_sha2", "zstandard", "h5py", "pyarrow", "zarr", "PIL", "tuf", "securesystemslib", "obstore"}
    optional.add("typing_extensions")  # for types alone
    assert wanted - set(sys.stdlib_module_names) - ours - optional <= brought


def imported(file: Path) -> set[str]:
    """Return the top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found
