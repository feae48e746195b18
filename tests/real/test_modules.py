"""Modules of a site in batch scripts: the real Environment Modules and Lmod, and the ways of an old one."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from nexapod_backends.dask.managed.cluster import slurm_words
from nexapod_backends.slurm.jobs.directives import SbatchRequest
from nexapod_backends.slurm.jobs.pack import Geometry
from nexapod_backends.slurm.jobs.script import read_template, render

from nexapod_batch.model.site import Environment, Partition, Scheduler, Site

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root puts a module system in place for one process")

#: Which packages of Debian's bring each; they exclude one another.
SYSTEMS = {
    "tcl": ("environment-modules",),
    "lmod": ("lmod", "lua5.3", "lua-posix", "lua-filesystem", "lua-term", "lua-json", "lua-lpeg"),
}
#: Environment Modules 3.2 as a function: errors on stderr, and 0 whatever happened.
OLD = r"""
module() {
  case $1 in
    purge) LOADEDMODULES=; unset GCC_IS ;;
    load) shift; for one; do
      case $one in
        gcc | gcc/12.2) export GCC_IS=here LOADEDMODULES=${LOADEDMODULES:+$LOADEDMODULES:}gcc/12.2 ;;
        gcc/best | compiler) case ":$LOADEDMODULES:" in *:gcc/12.2:*) ;; *) module load gcc ;; esac ;;
        half) module load gcc; echo "half(1):ERROR:151: Module 'half' depends on one of the module(s) 'none'" >&2 ;;
        *) echo "ModuleCmd_Load.c(213):ERROR:105: Unable to locate a modulefile for '$one'" >&2 ;;
      esac
    done ;;
    *) echo "ModuleCmd.c: ERROR: unknown command '$1'" >&2 ;;
  esac
  return 0
}
LOADEDMODULES=
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what unpacks a module system into a folder of its own; nothing is installed."""
    folder = tmp_path_factory.mktemp("packages")

    def unpacked(name: str) -> Path:
        root = folder / name
        if not root.exists():
            root.mkdir()
            done = subprocess.run(["apt-get", "download", *SYSTEMS[name]], cwd=root, capture_output=True, check=False, timeout=120)
            if done.returncode:
                pytest.skip("its packages cannot be had here")
            for file in root.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", file, root], check=True)
        return root

    return unpacked


@pytest.fixture
def modulefiles(tmp_path: Path) -> Path:
    """Return a folder of modulefiles: one that works, names for it, and one that needs what is not there."""
    folder = tmp_path / "modulefiles"
    (folder / "gcc").mkdir(parents=True)
    (folder / "gcc" / "12.2").write_text("#%Module\nsetenv GCC_IS here\nprepend-path PATH /opt/gcc/bin\n")
    (folder / ".modulerc").write_text("#%Module\nmodule-version gcc/12.2 best\nmodule-alias compiler gcc/12.2\n")
    (folder / "half").write_text("#%Module\nmodule load gcc\nprereq none\n")
    return folder


RUNNER = ("/bin/sh", "-c", 'echo "$GCC_IS|$LOADEDMODULES|$PATH"')


def of_slurm(site: Site) -> str:
    """Return a batch script whose runner says what it has."""
    return render(site, SbatchRequest(group="g", log="/log", runner=RUNNER, geometry=Geometry()), read_template())


def of_dask(site: Site) -> str:
    """Return a script as dask-jobqueue writes it, around our prologue, whose worker says what it has."""
    partition = Partition(name="p", max_cpus=1, max_mem_mib=1_024)
    lines = slurm_words(replace(site, partitions=(partition,)), "p")["prologue"]
    return "\n".join(["#!/bin/bash", *lines, shlex.join(RUNNER)])


SCRIPTS = [of_slurm, of_dask]


def run(
    script: Callable[[Site], str], modules: tuple[str, ...], env: dict[str, str], *before: str, first: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a batch script that loads modules and then says what it has."""
    site = Site(name="s", scheduler=Scheduler(type="slurm"), environment=Environment(modules=modules))
    text = script(site).replace("#!/bin/bash\n", f"#!/bin/bash\n{first}", 1)
    return subprocess.run([*before, "bash", "-s"], input=text, env=env, capture_output=True, text=True, check=False, timeout=120)


LOADED = {"name": ("gcc",), "version": ("gcc/12.2",), "symbol": ("gcc/best",), "alias": ("compiler",), "twice": ("gcc", "gcc"), "alias of what is there": ("gcc", "compiler")}
REFUSED = {"missing": ("missing",), "after another": ("gcc", "missing/1.0"), "beginning of a name": ("gc",), "half": ("half",)}


def check(done: subprocess.CompletedProcess[str], modules: tuple[str, ...]) -> None:
    """See that what was loaded is there, and PATH still holds what it held; what was not is named, and nothing runs."""
    if modules in LOADED.values():
        assert done.returncode == 0, done.stderr
        found, loaded, path = done.stdout.strip().split("|")
        assert (found, set(loaded.split(":"))) == ("here", {"gcc/12.2"})
        assert "/own/bin" in path.split(":")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"nexapod-batch: site s: module {modules[-1]} is not loaded" in done.stderr


@pytest.mark.parametrize("modules", [*LOADED.values(), *REFUSED.values()], ids=[*LOADED, *REFUSED])
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_what_counts_is_what_is_loaded(
    system: str, script: Callable[[Site], str], modules: tuple[str, ...], packages: Callable[[str], Path], modulefiles: Path
) -> None:
    """By whatever name a module is asked for; one that is not there, or not whole, ends the script by name."""
    mount = f'mount -t overlay overlay -o lowerdir={packages(system)}/usr:/usr /usr && exec "$@"'
    env = {"PATH": "/own/bin:/usr/bin:/bin", "MODULEPATH": str(modulefiles), "HOME": "/"}
    check(run(script, modules, env, "unshare", "--mount", "sh", "-c", mount, "sh"), modules)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("modules", [*LOADED.values(), *REFUSED.values()], ids=[*LOADED, *REFUSED])
def test_an_old_one_that_always_succeeds_is_not_believed(script: Callable[[Site], str], modules: tuple[str, ...]) -> None:
    """Environment Modules 3.2 prints ERROR and returns 0."""
    check(run(script, modules, {"PATH": "/own/bin:/usr/bin:/bin"}, first=OLD), modules)


@pytest.mark.parametrize("way", ["module() { :; }\n", "module() { return 1; }\n", "module() { eval; }\n", ""])
@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_no_module_system_loads_nothing(script: Callable[[Site], str], way: str) -> None:
    """A stub, a broken one, and none at all."""
    check(run(script, ("missing",), {"PATH": "/own/bin:/usr/bin:/bin"}, first=way), ("missing",))
