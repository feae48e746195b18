"""Whatever a job calls its variables, none is in the environment of a program around its command."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from nexapod_backends.apptainer import command
from nexapod_backends.apptainer.machine import Program
from nexapod_backends.bare import BareRuntime

from nexapod_batch.model.job import Container, Domain, Job, QuorumPolicy, Resources
from nexapod_batch.runner.execution.launcher import ranks
from nexapod_batch.runner.execution.stage import CommandError
from nexapod_batch.runtimes import Execution, Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Names by which programs are told what to load, to bind, to run or to read.
HOSTILE = (
    "LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_BIND_NOW", "GLIBC_TUNABLES", "GCONV_PATH", "MALLOC_CHECK_",
    "LOCPATH", "NLSPATH", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES", "TMPDIR", "TZDIR",
    "APPTAINER_BIND", "APPTAINER_BINDPATH", "APPTAINER_MOUNT", "APPTAINER_SECURITY", "APPTAINER_CONFIGDIR",
    "APPTAINER_ADD_CAPS", "SINGULARITY_BIND", "SINGULARITY_MOUNT", "APPTAINERENV_LD_PRELOAD", "SINGULARITYENV_PATH",
    "SLURM_TASK_PROLOG", "SLURM_TASK_EPILOG", "SLURM_CONF", "SRUN_DEBUG", "SLURM_HINT", "SLURM_PROCID",
    "OMPI_MCA_plm_rsh_agent", "HYDRA_LAUNCHER_EXEC", "I_MPI_HYDRA_BOOTSTRAP_EXEC", "PMIX_MCA_x", "PMI_RANK",
    "BASH_ENV", "ENV", "IFS", "PS4", "SHELLOPTS", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PERL5OPT", "PERL5LIB",
    "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "HOME", "XDG_RUNTIME_DIR", "KRB5CCNAME", "USER", "anything",
)  # fmt: skip
VALUE = "/of/the/job"
PROGRAM = Program(path="/usr/bin/apptainer", name="apptainer", version="1.4.5", setuid=False, helpers="/usr/libexec")
SINGULARITY = Program(path="/usr/bin/x", name="singularity", version="4.1", setuid=True, helpers="/usr/libexec")


def execution(name: str, ntasks: int, **more: Any) -> Execution:
    """Return an execution of `true` with one more variable."""
    job = Job(
        name="j",
        command=("true",),
        quorum=QuorumPolicy(distinct=(Domain.RUN,)),
        resources=Resources(ntasks=ntasks),
        container=Container(image="docker://x", sha256="0" * 64),
    )
    env = {"PATH": "/bin", "HOME": "/w/1_0.1", "PWD": "/w/1_0.1", name: VALUE}
    return Execution(job=job, command=["true"], root="/w/1_0.1", folder="/w/1_0.1", env=env, path="/usr/bin", **more)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("program", "ntasks"), list(itertools.product((PROGRAM, SINGULARITY), (1, 3))))
def test_a_container_program_is_told_data_alone(name: str, program: Program, ntasks: int) -> None:
    """Each variable begins with the word that makes it one of the container; none has the job's value otherwise."""
    found = command.environment(execution(name, ntasks), program)
    before = f"{program.name.upper()}ENV_"
    if name != "HOME":  # goes in as an argument
        assert found[before + name] == VALUE
    assert VALUE not in {found[one] for one in found if not one.startswith(before)}
    assert set(found) - {one for one in found if one.startswith(before)} == {
        "PATH", "HOME", "PWD", f"{program.name.upper()}_CONFIGDIR", "LANG",
    }  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_launcher_is_told_what_its_site_says(name: str) -> None:
    """It gets the runner's own variables by allow-list; it is not even asked which the job has."""
    mine = {"SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf", "LD_PRELOAD": "/mine.so", "PYTHONPATH": "/x"}
    given = execution(name, 2)
    found = ranks.launcher_environment(given.job, given.path, given.root, mine)
    assert VALUE not in found.values()
    assert found == {
        "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf", "PATH": "/usr/bin", "LANG": "C.UTF-8",
        "NEXAPOD_ROOT": "/w/1_0.1/",
    }  # fmt: skip


def become(tmp_path: Path, wrapped: Wrapped, told: Mapping[str, str]) -> bytes:
    """Start one rank as a launcher does that tells it this; return what it writes."""
    file = str(tmp_path / "1_0.1.start")
    with ranks.started_by_file(file, wrapped, str(tmp_path)) as argv:
        assert os.stat(file).st_mode & 0o777 == 0o600
        done = subprocess.run(argv, env=dict(told), cwd="/", capture_output=True, check=True)
    assert not os.path.exists(file)
    return done.stdout


@pytest.mark.parametrize("name", HOSTILE)
def test_a_rank_gets_the_variables_of_the_job_and_its_own_number(tmp_path: Path, name: str) -> None:
    """All of the job's go to the command; who a rank is, its launcher says."""
    wrapped = BareRuntime().wrap(execution(name, 2)._replace(command=["/usr/bin/env", "-0"]))
    told = {"SLURM_PROCID": "1", "PMI_RANK": "1", "PATH": "/usr/bin", "OTHER": "of the site", "LC_ALL": "C"}
    if name.startswith("LD_"):
        wrapped = wrapped._replace(env={**wrapped.env, name: ""})  # the loader would complain
    words = become(tmp_path, wrapped, told).split(b"\0")
    found = dict(word.decode().split("=", 1) for word in words if word)
    assert found == {**wrapped.env, "SLURM_PROCID": "1", "PMI_RANK": "1"}


def test_what_a_launcher_says_goes_into_a_container_by_name(tmp_path: Path) -> None:
    """With the word before it that the wrapper wants; the wrapper's own environment stays what it was."""
    wrapped = Wrapped(argv=["/usr/bin/env", "-0"], env={"PATH": "/bin"}, isolation="container", before="APPTAINERENV_")
    words = become(tmp_path, wrapped, {"SLURM_PROCID": "1", "APPTAINER_BIND": "/", "LD_BIND_NOW": "1"}).split(b"\0")
    assert sorted(words) == [b"", b"APPTAINERENV_SLURM_PROCID=1", b"PATH=/bin"]


def test_hostile_text_is_data(tmp_path: Path) -> None:
    """Quotes, newlines, braces and bytes that are no UTF-8 come through as they are."""
    text = "a'b\"c\\d\n{x}%s$(y)`z`\udcff\u00e9"
    code = "import os; os.write(1, os.environb[b'A'] + b'|' + os.fsencode(__import__('sys').argv[1]))"
    wrapped = Wrapped(argv=[sys.executable, "-c", code, text], env={"A": text, "PATH": "/bin"})
    assert become(tmp_path, wrapped, {}) == os.fsencode(text) + b"|" + os.fsencode(text)


@pytest.mark.parametrize(("argv", "env"), [(["a\0b"], {}), (["a"], {"A": "\0"}), (["a"], {"A\0": ""})])
def test_a_nul_is_the_commands_fault(tmp_path: Path, argv: list[str], env: dict[str, str]) -> None:
    """No argument can hold one; nothing is left behind."""
    with (
        pytest.raises(CommandError, match="cannot be started: embedded null byte"),
        ranks.started_by_file(str(tmp_path / "x"), Wrapped(argv=argv, env=env), "/"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_command_that_is_not_there_ends_as_a_shell_would_say(tmp_path: Path) -> None:
    """127, and 126 for what cannot be executed, with its name."""
    for program, code in (("nowhere", 127), (str(tmp_path), 126)):
        with ranks.started_by_file(str(tmp_path / "x"), Wrapped(argv=[program], env={"PATH": "/bin"}), "/") as argv:
            done = subprocess.run(argv, env={}, capture_output=True, check=False)
        assert (done.returncode, program.encode() in done.stderr) == (code, True)
