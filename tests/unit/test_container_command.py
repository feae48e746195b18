"""The command line of a container, and the environment in it: text in, text out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from nexapod_backends import syscalls
from nexapod_backends.apptainer import command
from nexapod_backends.apptainer.machine import Program, Way

from nexapod_batch.errors import PluginError
from nexapod_batch.model.job import Container, Domain, Job, QuorumPolicy, Resources
from nexapod_batch.runtimes import Device, Execution, bind_allowed

PROGRAM = Program(path="/usr/bin/apptainer", name="apptainer", version="1.4.5", setuid=False, helpers="/usr/libexec")
HERE = Path(command.__file__).parent
USER = Way(mode="userns", options=("--userns",), unsquash=False)
ROOT = Way(mode="root", options=("--userns", "--no-privs"), unsquash=False)


def execution(*, container: Container | None = None, env: dict[str, str] | None = None, **more: Any) -> Execution:
    """Return an execution in /w/1_0.1; `more` are fields of it, or of the job."""
    fields = {name: more.pop(name) for name in ("resources",) if name in more}
    job = Job(
        name="j",
        command=("true",),
        container=container or Container(image="docker://x", sha256="0" * 64),
        quorum=QuorumPolicy(distinct=(Domain.RUN,)),
        **{"resources": Resources(), **fields},
    )
    whole = {"PATH": "/bin", "HOME": "/w/1_0.1", "TMPDIR": "/w/1_0.1", "PWD": "/w/1_0.1", **(env or {})}
    given = {"command": ["true"], "root": "/w/1_0.1", "folder": "/w/1_0.1", "path": "/bin", "image": "/i.sif", **more}
    return Execution(job=job, env=whole, **given)


def mounts(argv: list[str]) -> list[list[str]]:
    """Return the fields of every mount, as the program reads them."""
    return [next(csv.reader([argv[at + 1]])) for at, word in enumerate(argv) if word == "--mount"]


def test_nothing_is_there_that_was_not_asked_for() -> None:
    """As little of the host as can be: no home, no network, no environment, no file systems of the host."""
    argv = command.arguments(execution(), PROGRAM, USER, ())
    assert argv == [
        "/usr/bin/apptainer", "--silent", "exec", "--userns", "--containall", "--cleanenv", "--no-home", "--no-eval",
        "--no-mount", "sys,hostfs,cwd,bind-paths", "--net", "--network", "none", "--home", "/nexapod/work",
        "--scratch", "/proc/1", "--mount", "type=bind,source=/w/1_0.1,destination=/nexapod/work",
        "--mount", f"type=bind,source={HERE}/before.sh,destination=/.singularity.d/env/00-nexapod.sh,ro",
        "--mount", f"type=bind,source={HERE}/after.sh,destination=/.singularity.d/env/99-zz-nexapod.sh,ro",
        "--pwd", "/nexapod/work", "/i.sif", "true",
    ]  # fmt: skip


def test_the_filter_is_used_where_the_program_has_one() -> None:
    """The file that is shipped says what the table of calls says."""
    argv = command.arguments(execution(), structs.replace(PROGRAM, seccomp=True), USER, ())
    assert argv[argv.index("--security") + 1] == f"seccomp:{HERE}/seccomp.json"
    assert json.loads((HERE / "seccomp.json").read_text()) == json.loads(json.dumps(syscalls.profile()))


def test_inputs_and_script_are_read_only() -> None:
    """Each is mounted over the work folder; the script goes by the name that it has in there."""
    one = execution(
        inputs=("data/a b,c.txt",), script="/w/x.script",
        command=["/bin/sh", "/w/x.script"], folder="/w/1_0.1/data",
    )  # fmt: skip
    argv = command.arguments(one, PROGRAM, USER, ())
    assert [one for one in mounts(argv)[1:] if "/.singularity.d/" not in one[2]] == [
        ["type=bind", "source=/w/1_0.1/data/a b,c.txt", "destination=/nexapod/work/data/a b,c.txt", "ro"],
        ["type=bind", "source=/w/x.script", "destination=/nexapod/script", "ro"],
    ]
    assert argv[-5:] == ["--pwd", "/nexapod/work/data", "/i.sif", "/bin/sh", "/nexapod/script"]


def test_root_may_not_turn_the_knobs_of_the_kernel() -> None:
    """What root's uid alone could change or read below /proc is covered."""
    argv = command.arguments(execution(), PROGRAM, ROOT, ("/proc/sys", "/proc/kcore"))
    assert ["type=bind", "source=/proc/sys", "destination=/proc/sys", "ro"] in mounts(argv)
    assert ["type=bind", "source=/dev/null", "destination=/proc/kcore", "ro"] in mounts(argv)


@pytest.mark.parametrize(
    ("devices", "options"),
    [
        ((), []),
        ((Device("GPU-1", "nvidia"),), ["--nv"]),
        ((Device("x", "amd"), Device("y", "amd")), ["--rocm"]),
        ((Device("GPU-1", "nvidia"), Device("x", "amd")), ["--nv", "--rocm"]),
    ],
)
def test_the_driver_of_a_device_comes_along(devices: tuple[Device, ...], options: list[str]) -> None:
    """By its vendor, once; with a GPU the machine's topology is there to read."""
    argv = command.arguments(execution(devices=devices), PROGRAM, USER, ("/sys/devices", "/sys/devices/system"))
    assert [word for word in argv if word in {"--nv", "--rocm"}] == options
    seen = "/sys/devices" if devices else "/sys/devices/system"
    assert ["type=bind", f"source={seen}", f"destination={seen}", "ro"] in mounts(argv)


HOSTILE = 'a b"c,d\n$(x)`y`;#\u00e9\\'


def test_the_environment_goes_in_by_name() -> None:
    """Every variable of the command under the program's prefix, nothing of the runner's but PATH, and no HOME of a user."""
    found = command.environment(execution(env={"A": HOSTILE, "NEXAPOD_TASK": "7"}), PROGRAM)
    inside = {name[13:]: value for name, value in found.items() if name.startswith("APPTAINERENV_")}
    assert inside == {
        "A": HOSTILE, "NEXAPOD_TASK": "7", "TMPDIR": "/nexapod/work",
        "APPTAINER_CONTAINER": f"sha256:{'0' * 64}", "SINGULARITY_CONTAINER": f"sha256:{'0' * 64}",
    }  # fmt: skip
    assert {name: found[name] for name in found if not name.startswith("APPTAINERENV_")} == {
        "PATH": "/bin", "HOME": "/proc/none", "PWD": "/w/1_0.1", "APPTAINER_CONFIGDIR": "/proc/none", "LANG": "C.UTF-8",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["PREPEND_PATH", "APPEND_PATH"])
def test_a_variable_that_means_something_else_is_refused(name: str) -> None:
    """The program would put it into PATH."""
    with pytest.raises(PluginError, match="is taken: apptainer would put it into PATH"):
        command.environment(execution(env={name: "/x"}), PROGRAM)


def test_ranks_are_as_far_from_the_host_as_one_process() -> None:
    """Their environment is as empty: what a launcher tells a rank goes in by name as well."""
    one = execution(container=Container(image="x", sha256="0" * 64, network="host"), resources=Resources(ntasks=4))
    argv = command.arguments(one, PROGRAM, USER, ())
    assert {"--containall", "--cleanenv"} <= set(argv)
    assert "--net" not in argv
    assert command.before(PROGRAM) == "APPTAINERENV_"


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("/data", True), ("/data/x", True), ("/data:rw", False), ("/database", False), ("/", False),
        ("/scratch:rw", True), ("/scratch/me:rw", True), ("/scratch", True), ("/scratchy:rw", False),
    ],
)  # fmt: skip
def test_what_may_be_bound(asked: str, *, allowed: bool) -> None:
    """A folder that the site names and what is below it, to write only where that is said."""
    assert bind_allowed(asked, ("/data", "/scratch:rw")) is allowed


def test_temporary_files_have_a_folder_with_a_short_path() -> None:
    """It is the node's, at a path of its own; a job's own TMPDIR stays as it says."""
    one = execution(tmp="/scratch/nxtmp-1", env={"TMPDIR": "/scratch/nxtmp-1"})
    assert mounts(command.arguments(one, PROGRAM, USER, ()))[1] == ["type=bind", "source=/scratch/nxtmp-1", "destination=/nexapod/tmp"]
    assert command.environment(one, PROGRAM)["APPTAINERENV_TMPDIR"] == "/nexapod/tmp"
    for own, there in (("/w/1_0.1/mine", "/nexapod/work/mine"), ("/data", "/data")):
        other = execution(tmp="/scratch/nxtmp-1", env={"TMPDIR": own})
        assert command.environment(other, PROGRAM)["APPTAINERENV_TMPDIR"] == there
