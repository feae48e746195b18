"""Which program a command is: found by PATH, digested, noted at submit and by the runner, and compared."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.coordinator.commands.submitted_program import with_program
from nexapod_batch.coordinator.queries.programs import differences
from nexapod_batch.files.programs import Digests, first_in
from nexapod_batch.model.document import canonical, from_document, to_document
from nexapod_batch.model.job import Container, Input, Job, Program
from nexapod_batch.runner.execution.started_program import Programs
from nexapod_batch.runtimes import Execution

if TYPE_CHECKING:
    from pathlib import Path

A, B = "a" * 64, "b" * 64
BOX = Container(image="docker://a:1", sha256=A, network="none")


def tool(folder: Path, text: str = "#!/bin/sh\n", name: str = "tool") -> str:
    """Write a program into a folder; return its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return hashlib.sha256(text.encode()).hexdigest()


def job(*command: str, **fields: object) -> Job:
    """Return a job with a command."""
    return Job(name="a", command=command, **fields)  # type: ignore[arg-type]


def test_a_digest_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    """Of another file in its place, of one that was written over, and of the same again."""
    digests, file = Digests(), str(tmp_path / "tool")
    for text in ("one\n", "two\n", "2wo\n", "one\n"):
        wanted = tool(tmp_path, text)
        assert wanted == digests.of(file)
        assert wanted == digests.of(file)
    os.rename(file, f"{file}.old")
    assert digests.of(file) == ""
    wanted = tool(tmp_path, "new")
    assert wanted == digests.of(file)


@pytest.mark.parametrize("kind", ["folder", "fifo", "nothing", "link to nothing", "device"])
def test_what_is_no_plain_file_has_no_digest(tmp_path: Path, kind: str) -> None:
    """Nothing is waited for, and nothing is read without end."""
    file = tmp_path / "tool"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file, 0o755)
    elif kind == "link to nothing":
        file.symlink_to("nowhere")
    elif kind == "device":
        file.symlink_to("/dev/zero")
    assert Digests().of(str(file)) == ""


def test_the_first_folder_that_has_it_wins(tmp_path: Path) -> None:
    """Folders of that name and files that nobody may run are passed over."""
    (tmp_path / "a/tool").mkdir(parents=True)
    tool(tmp_path / "b")
    (tmp_path / "b/tool").chmod(0o644)
    tool(tmp_path / "c")
    path = ":".join(str(tmp_path / name) for name in "abc")
    assert first_in(path, "tool") == str(tmp_path / "c/tool")
    assert first_in(path, "other") is None


@pytest.mark.parametrize(
    ("made", "file", "digest"),
    [
        (job("tool", "x"), "{bin}/tool", "tool"),
        (job("{bin}/tool"), "{bin}/tool", "tool"),
        (job("nowhere"), "nowhere", ""),
        (job("./run.sh", inputs=(Input("/x/run.sh", "run.sh", A),)), "run.sh", A),
        (job("./run.sh", workdir="sub", inputs=(Input("/x/run.sh", "sub/run.sh", B),)), "sub/run.sh", B),
        (job("./missing"), "missing", ""),
        (job("{program}"), "{program}", ""),
        (job("tool", container=BOX), "tool", ""),
        (job("/bin/sh", container=BOX), "/bin/sh", ""),
        (job("./run.sh", container=BOX, inputs=(Input("/x/run.sh", "run.sh", A),)), "run.sh", A),
        (Job(name="a", script="#!/bin/sh\ntrue\n"), "script", hashlib.sha256(b"#!/bin/sh\ntrue\n").hexdigest()),
    ],
)
def test_the_program_is_noted_at_submit(tmp_path: Path, made: Job, file: str, digest: str) -> None:
    """As PATH finds it here, as the job brings it, or by its name."""
    content = tool(tmp_path)
    made = Job(**{**{name: getattr(made, name) for name in made.__struct_fields__}, "command": tuple(
        word.replace("{bin}", str(tmp_path)) for word in made.command)})  # fmt: skip
    found = with_program(made, f"{tmp_path}:/usr/bin").program
    assert found is not None
    assert found.file == file.replace("{bin}", str(tmp_path))
    assert found.sha256 == (content if digest == "tool" else digest)


def test_a_shell_runs_a_script_without_an_interpreter_line() -> None:
    """It is the program then."""
    found = with_program(Job(name="a", script="true\n"), "/usr/bin").program
    assert found is not None
    assert (found.file, len(found.sha256)) == ("/bin/sh", 64)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/usr/bin:/bin", "/usr/bin:/bin"),
        (":/usr/bin::.:bin", "/usr/bin"),
        ("~/bin:/bin", "/bin"),
        ("", ""),
        ("/a\nb:/bin", ""),
        ("/a:" * 5000, ""),
    ],
)
def test_path_is_kept_as_far_as_it_means_the_same_everywhere(given: str, kept: str) -> None:
    """Relative entries go; what no statement could hold is not kept at all."""
    assert with_program(job("true"), given).path == kept


def test_a_job_of_before_keeps_its_digest() -> None:
    """A document without a program has none, and one with it comes back equal."""
    old = job("true")
    assert "program" not in to_document(old)
    assert "path" not in to_document(old)
    new = with_program(old, "/usr/bin:/bin")
    assert new == from_document(to_document(new))
    assert canonical(to_document(new)) != canonical(to_document(old))


@pytest.mark.parametrize(
    ("made", "env", "file", "path", "digested"),
    [
        (job("tool"), "{bin}", "{bin}/tool", "{bin}", True),
        (job("./tool"), "/bin", "tool", "/bin", True),
        (job("nowhere"), "/bin", "nowhere", "/bin", False),
        (job("tool", container=BOX), "/node", "tool", "", False),
        (job("tool", container=BOX), "/own", "tool", "/own", False),
        (job("./tool", container=BOX), "/node", "tool", "", True),
        (Job(name="a", script="#!/bin/sh"), "/bin", "script", "/bin", True),
    ],
)
def test_the_runner_says_what_it_starts(
    tmp_path: Path, made: Job, env: str, file: str, path: str, *, digested: bool
) -> None:
    """Files of a replica are named without its folder, so that replicas can be compared."""
    root, bin_ = tmp_path / "work/1_0.1", str(tmp_path / "bin")
    content = tool(root)
    tool(tmp_path / "bin")
    script = str(root / "tool") if made.script else None
    said = Programs().of(
        Execution(
            job=made, command=[script] if script else list(made.command), root=str(root), folder=str(root),
            env={"PATH": env.replace("{bin}", bin_)}, path="/node", script=script,
        )
    )
    assert said == Program(
        file.replace("{bin}", bin_), path.replace("{bin}", bin_), content if digested else ""
    )


SAME = Program("/usr/bin/x", "/usr/bin", A)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (SAME, []),
        (SAME._replace(sha256=B), ["the program", "at submit, replica 1", "aaaaaaaaaaaa", "replica 2", "bbbbbbbbbbbb"]),
        (SAME._replace(sha256=""), ["the program", "unknown"]),
        (SAME._replace(file="/opt/x"), ["the program", "replica 2: /opt/x"]),
        (SAME._replace(path="/opt"), ["PATH is not", "at submit, replica 1: /usr/bin; replica 2: /opt"]),
        (SAME._replace(path=""), ["PATH is not", "replica 2: that of the image"]),
    ],
)
def test_what_differs_is_named(other: Program, said: list[str]) -> None:
    """With who has what, each value once; nothing where all have the same."""
    text = "\n".join(differences({"at submit": SAME, "replica 1": SAME, "replica 2": other}))
    assert (text == "") == (said == [])
    assert [part for part in said if part not in text] == []
