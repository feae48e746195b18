"""What `bare` starts where a node is told to confine: argv alone, nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from nexapod_backends.bare import BareRuntime

from nexapod_batch.errors import PluginError
from nexapod_batch.model.job import Domain, Job, QuorumPolicy, Resources
from nexapod_batch.runtimes import Execution, RuntimeSettings


def execution(path: str, root: str = "/w/1_0.1", **resources: int) -> Execution:
    """Return an execution of `true`."""
    job = Job(
        name="j", command=("true",), quorum=QuorumPolicy(distinct=(Domain.RUN,)), resources=Resources(**resources)
    )
    return Execution(job=job, command=["true"], root=root, folder=root, env={"PATH": path}, path=path)


def bare(*private: Path, confine: bool = True) -> BareRuntime:
    """Return a runtime that was told what is private."""
    found = BareRuntime()
    found.settle(RuntimeSettings(private=tuple(map(str, private)), confine=confine))
    return found


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Return a folder for PATH in which bwrap lies."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bwrap").write_text("")
    (tmp_path / "bin/bwrap").chmod(0o755)
    return str(tmp_path / "bin")


def test_private_folders_and_files_are_covered(tmp_path: Path, program: str) -> None:
    """The outermost of those that are there, each once; the command is its own."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/node").touch()
    (tmp_path / "state.db").touch()
    wrapped = bare(*(tmp_path / one for one in ("keys/node", "keys", "state.db", "gone"))).wrap(execution(program))
    assert wrapped.argv == [
        f"{program}/bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--chdir", "/w/1_0.1",
        "--tmpfs", f"{tmp_path}/keys", "--ro-bind", "/dev/null", f"{tmp_path}/state.db", "--", "true",
    ]  # fmt: skip
    assert wrapped.isolation == "files"


def test_without_being_told_nothing_is_done(tmp_path: Path, program: str) -> None:
    """Nor for ranks that a launcher starts."""
    for one in (bare(tmp_path, confine=False).wrap(execution(program)), bare(tmp_path).wrap(execution(program, ntasks=2))):
        assert (one.argv, one.isolation) == (["true"], "none")


def test_what_cannot_be_confined_does_not_run(tmp_path: Path, program: str) -> None:
    """No program, or a work folder that would be hidden."""
    with pytest.raises(PluginError, match="there is no bwrap"):
        bare(tmp_path).wrap(execution("/nowhere"))
    with pytest.raises(PluginError, match="lies in what is to be hidden"):
        bare(tmp_path).wrap(execution(program, f"{tmp_path}/work"))


def test_its_last_words_are_told_from_the_commands() -> None:
    """A program that is not there is the command's fault, no namespace is the machine's."""
    assert bare().judge(1, b"x\nbwrap: execvp nope: No such file or directory\n") == (
        "the command cannot be started: nope: No such file or directory"
    )
    with pytest.raises(PluginError, match="could not be confined: got No permissions to create new namespace"):
        bare().judge(1, b"bwrap: No permissions to create new namespace\n")
    assert bare().judge(1, b"bwrap: it failed\nand more\n") is None
    assert bare(confine=False).judge(1, b"bwrap: execvp nope: x\n") is None
