"""What `bare` starts for a command that is to be confined: arguments alone, nothing is run."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import pytest
from nexapod_backends import syscalls
from nexapod_backends.bare import BareRuntime
from nexapod_backends.bubblewrap import PLACE, View, arguments, command, outermost

from nexapod_batch.errors import PluginError
from nexapod_batch.model.job import Domain, Job, QuorumPolicy, Resources
from nexapod_batch.runtimes import FEED, Execution, RuntimeSettings

if TYPE_CHECKING:
    from pathlib import Path

PLACE_TMP = f"{PLACE}/" + "tmp"
HOSTILE = ("LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "GLIBC_TUNABLES", "PYTHONPATH", "BWRAP_X", "HOME", "TMPDIR", "PATH")


def execution(path: str = "/usr/bin", root: str = "/w/1_0.1", *, foreign: bool = False, **resources: Any) -> Execution:
    """Return an execution of `true`."""
    job = Job(
        name="j", command=("true",), quorum=QuorumPolicy(distinct=(Domain.RUN,)), resources=Resources(**resources)
    )
    env = {"PATH": path, "SECRET": "s3"}
    return Execution(job=job, command=["true"], root=root, folder=root, env=env, path=path, foreign=foreign)


def bare(*private: Path, confine: str = "all") -> BareRuntime:
    """Return a runtime that was told what is private."""
    found = BareRuntime()
    found.settle(RuntimeSettings(private=tuple(map(str, private)), confine=confine))
    return found


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Return a folder for PATH in which bwrap lies."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bwrap").write_text("#!/bin/sh\necho bubblewrap 0.8.0\n")
    (tmp_path / "bin/bwrap").chmod(0o755)
    return str(tmp_path / "bin")


def mounts(argv: list[str]) -> list[tuple[str, ...]]:
    """Return each mount that bubblewrap makes, in order."""
    sizes = {"--tmpfs": 1, "--remount-ro": 1, "--ro-bind": 2, "--bind": 2, "--dev-bind": 2}
    return [tuple(argv[at : at + 1 + sizes[word]]) for at, word in enumerate(argv) if word in sizes]


@pytest.mark.parametrize(
    ("confine", "foreign", "confined"),
    [
        ("foreign", True, True), ("foreign", False, False), ("all", True, True), ("all", False, True),
        ("never", True, False), ("never", False, False),
    ],
)  # fmt: skip
def test_who_is_confined(program: str, confine: str, *, foreign: bool, confined: bool) -> None:
    """By default what is somebody else's; everything or nothing where the node says so."""
    found = bare(confine=confine).wrap(execution(program, foreign=foreign))
    assert (found.isolation, found.argv[0]) == (("files", f"{program}/bwrap") if confined else ("none", "true"))


def test_the_machine_is_read_only_and_the_work_folder_is_not(tmp_path: Path) -> None:
    """Everything that is covered comes before what is seen all the same, and that before what is private."""
    view = View(
        scratch=("/memory", "/var/memory"), empty=("/run", "/home/me"), private=("/home/me/nexapod", "/data/corner", "/opt/env/x"),
        binds=(("/home/me/env", "/home/me/env", False), ("/opt/env", "/opt/env", False), ("/scratch", "/scratch", True)),
        tmp="/disk/t",
    )  # fmt: skip
    one = execution(root="/data/corner/n/work/1_0.1")._replace(script="/data/corner/n/work/k.script", tmp="/memory/t")
    assert mounts(arguments(one, view, new=True, network=True, around=())) == [
        ("--ro-bind", "/", "/"),
        ("--tmpfs", "/home/me"), ("--tmpfs", "/memory"), ("--tmpfs", "/run"), ("--tmpfs", "/var/memory"),
        ("--ro-bind", "/home/me/env", "/home/me/env"), ("--ro-bind", "/opt/env", "/opt/env"),
        ("--bind", "/scratch", "/scratch"),
        ("--tmpfs", "/data/corner"), ("--tmpfs", "/opt/env/x"),
        ("--bind", "/data/corner/n/work/1_0.1", "/data/corner/n/work/1_0.1"), ("--bind", "/disk/t", "/memory/t"),
        ("--ro-bind", "/data/corner/n/work/k.script", "/data/corner/n/work/k.script"),
        ("--remount-ro", "/home/me"), ("--remount-ro", "/run"),
        ("--remount-ro", "/data/corner"), ("--remount-ro", "/opt/env/x"),
    ]  # fmt: skip


def test_all_replicas_find_their_own_in_one_place() -> None:
    """Work folder, folder of temporary files and script have other paths on the host, and the same in there."""
    view = View(tmp="/disk/t", place=PLACE)
    for name in ("1_0.1", "7_3.2"):
        root = f"/data/n/work/{name}"
        env = {"HOME": root, "PWD": f"{root}/sub", "TMPDIR": "/memory/t", "NEXAPOD_TASK": "0", "MINE": root}
        one = execution(root=root)._replace(
            script=f"/k/{name}", tmp="/memory/t", env=env, folder=f"{root}/sub", command=["/bin/sh", f"/k/{name}", root]
        )
        words = arguments(one, view, new=True, network=True, around=())
        found = [(there, source) for kind, source, there in (m for m in mounts(words) if len(m) == 3) if "nexapod" in there]
        assert found == [(f"{PLACE}/work", root), (PLACE_TMP, "/disk/t"), (f"{PLACE}/script", f"/k/{name}")]
        assert words[words.index("--chdir") + 1] == f"{PLACE}/work/sub"
        given = {words[at + 1]: words[at + 2] for at, word in enumerate(words) if word == "--setenv"}
        assert (given["HOME"], given["PWD"], given["TMPDIR"]) == (f"{PLACE}/work", f"{PLACE}/work/sub", PLACE_TMP)
        assert given["MINE"] == root  # what the job says is data
        assert command(one, view) == ["/bin/sh", f"{PLACE}/script", root]


def test_where_the_site_binds_the_place_nothing_moves(program: str, tmp_path: Path) -> None:
    """A folder made in what is bound would be made on the host."""
    one = execution(program, root=str(tmp_path / "1_0.1"))
    (tmp_path / "1_0.1").mkdir()
    for binds, place in (((), f"{PLACE}/work"), (("/tmp:rw",), one.root), (("/tmp",), one.root)):  # noqa: S108
        found = BareRuntime()
        found.settle(RuntimeSettings(confine="all", binds=binds))
        words = found.wrap(one).feeds[0].decode().split("\0")
        assert words[words.index("--chdir") + 1] == place


def test_a_private_folder_in_a_covered_one_is_covered_again_where_something_of_it_is_seen() -> None:
    """A home that is bound by the site shows what is private in it no more than before."""
    view = View(empty=("/home/me",), private=("/home/me/.local/state",), binds=(("/home/me", "/home/me", False),))
    assert ("--tmpfs", "/home/me/.local/state") in mounts(arguments(execution(), view, new=True, network=True, around=()))


@pytest.mark.parametrize("name", HOSTILE)
def test_bubblewrap_sees_no_variable_of_the_jobs(program: str, name: str) -> None:
    """They go in by a descriptor: not by its environment, and not by its argv, which every account can read."""
    one = execution(program)
    found = bare().wrap(one._replace(env={**one.env, name: "/of/the/job"}))
    assert found.env == {"PATH": program, "LANG": "C.UTF-8", "PWD": one.root}
    assert found.argv == [f"{program}/bwrap", "--args", str(FEED), "--", "true"]
    words = found.feeds[0].decode().split("\0")
    assert words[words.index(name, words.index("--setenv")) + 1] == "/of/the/job"
    assert {words[at + 1] for at, word in enumerate(words) if word == "--unsetenv"} == set(found.env)


def test_somebody_elses_command_has_no_network_and_no_namespaces_of_its_own(program: str) -> None:
    """Its own command keeps the network; neither has capabilities or sees processes outside."""
    for foreign in (True, False):
        words = bare().wrap(execution(program, foreign=foreign)).feeds[0].decode().split("\0")
        assert ("--unshare-net" in words) is foreign
        given = {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--disable-userns", "--die-with-parent"}
        assert given <= set(words)
        assert words[words.index("--cap-drop") + 1] == "ALL"
        assert words[words.index("--seccomp") + 1] == str(FEED + 1)


def test_ranks_are_not_confined_and_those_of_others_do_not_run(program: str) -> None:
    """A launcher starts them, perhaps elsewhere, and they share memory."""
    assert bare().wrap(execution(program, ntasks=2)).isolation == "none"
    with pytest.raises(PluginError, match="ranks of somebody else's job cannot be confined"):
        bare(confine="foreign").wrap(execution(program, ntasks=2, foreign=True))


def test_what_cannot_be_confined_does_not_run() -> None:
    """There is no way around a program that is not there."""
    with pytest.raises(PluginError, match="there is no bwrap"):
        bare(confine="foreign").wrap(execution("/nowhere", foreign=True))


def test_its_last_words_are_told_from_the_commands() -> None:
    """A program that is not there is the command's fault, no namespace is the machine's."""
    assert bare().judge(1, b"x\nbwrap: execvp nope: No such file or directory\n") == (
        "the command cannot be started: nope: No such file or directory"
    )
    with pytest.raises(PluginError, match="could not be confined: got No permissions to create new namespace"):
        bare().judge(1, b"bwrap: No permissions to create new namespace\n")
    assert bare().judge(1, b"bwrap: it failed\nand more\n") is None


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (("/a", "/a/b", "/ab"), ["/a", "/ab"]), (("/b", "/a", "/b"), ["/a", "/b"]), ((), []),
        (("/a-b", "/a", "/a/c"), ["/a", "/a-b"]),
    ],
)  # fmt: skip
def test_the_outermost_of_some_paths(paths: tuple[str, ...], found: list[str]) -> None:
    """Names that begin alike are not within each other."""
    assert outermost(paths) == found


def test_a_filter_knows_two_machines() -> None:
    """Each instruction has eight bytes; a machine whose numbers are not known has none, and is not guessed."""
    assert syscalls.compiled("riscv64") is None
    for machine in ("x86_64", "aarch64"):
        code = syscalls.compiled(machine)
        assert code is not None
        assert len(code) % 8 == 0
        assert len(code) // 8 < 4096
    assert (syscalls.compiled(platform.machine()) is None) is (os.uname().machine not in {"x86_64", "aarch64"})
