"""The runner that is brought along: complete, self-contained, refused where it cannot run, never half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.runner import runner_archive
from nexapod_backends.slurm.transport import Done, LocalTransport

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIBC = os.confstr("CS_GNU_LIBC_VERSION") or ""
HERE = f"{os.uname().sysname} {os.uname().machine}"


class Elsewhere(LocalTransport):
    """This machine, under another name, with some faults."""

    def __init__(self, platform: str = "", cut: int | None = None, refuse: str = "") -> None:
        """Say what `uname` says, how much of a copied file arrives, and which command fails."""
        self.platform, self.cut, self.refuse = platform, cut, refuse
        self.puts = 0

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:
        """Run a command, or pretend."""
        if self.platform and "uname" in argv[-1]:
            return Done(0, self.platform, "")
        if self.refuse and argv[0] == self.refuse:
            return Done(1, "", "python3: error while loading shared libraries: libwhatever.so.6\n")
        return super().run(argv, extra, text=text, timeout_s=timeout_s)

    def put(self, source: Path, path: str) -> None:
        """Copy a file, or its beginning."""
        self.puts += 1
        Path(path).write_bytes(source.read_bytes()[: self.cut])


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder into which the runner was brought."""
    made = str(tmp_path_factory.mktemp("far folder"))
    runner_archive.install("far", LocalTransport(), made)
    return made


def test_the_runner_starts_from_it_alone(corner: str) -> None:
    """Interpreter, standard library and packages are those of the copy, whatever the environment says."""
    code = "import sys, nexapod_batch.runner.worker.worker, nacl, orjson, os; print(sys.executable, nacl.__file__, orjson.__file__, os.__file__, nexapod_batch.__file__)"
    env = {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PATH": "/nowhere"}
    done = subprocess.run([*runner_archive.argv(corner), "-c", code], env=env, capture_output=True, text=True, check=True)
    root = runner_archive.place(corner)
    assert done.stdout.count(root) == 5
    usage = subprocess.run([*runner_archive.argv(corner), "-m", "nexapod_batch.runner"], env=env, capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr.startswith("usage: python -I -m nexapod_batch.runner")) == (2, True)
    assert not [path for path in sys.path if path and path in done.stdout]


def test_no_library_of_this_installation_is_used(corner: str) -> None:
    """What is mapped lies in the copy, or belongs to the system."""
    code = "import nexapod_batch.runner.worker.worker, ctypes, hashlib; print(open('/proc/self/maps').read())"
    done = subprocess.run([*runner_archive.argv(corner), "-c", code], env={}, capture_output=True, text=True, check=True)
    files = {line.split(maxsplit=5)[5] for line in done.stdout.splitlines() if len(line.split(maxsplit=5)) == 6}
    mapped = {path for path in files if ".so" in path and not path.startswith(runner_archive.place(corner))}
    assert mapped
    assert [path for path in mapped if not runner_archive._SYSTEM.fullmatch(Path(path).name)] == []


def test_it_is_small_and_holds_no_more_than_a_runner_needs() -> None:
    """No coordinator, no command line, no SSH, no tests."""
    names = [name for name, _ in runner_archive.members()]
    assert any(name.endswith("nexapod_batch/runner/worker/worker.py") for name in names)
    for part in ("nexapod_batch/coordinator", "nexapod_batch/cli", "paramiko", "cryptography", "site-packages", "/test/", "click"):
        assert not [name for name in names if part in name]


def test_only_this_account_can_read_it(corner: str) -> None:
    """Nobody else gets into its folder."""
    assert Path(runner_archive.place(corner)).stat().st_mode & 0o777 == 0o700


def test_it_is_brought_once(corner: str) -> None:
    """A second time nothing is copied; another runner would have another name."""
    again = Elsewhere()
    runner_archive.install("far", again, corner)
    assert again.puts == 0
    assert [path.name for path in Path(corner).iterdir()] == [Path(runner_archive.place(corner)).name]


@pytest.mark.parametrize(
    "said",
    [
        f"{HERE}\n{LIBC}\n",
        f"{HERE}\nglibc 9.1\n",
    ],
)
def test_machines_that_will_do(said: str) -> None:
    """The same libc, or a newer one."""
    runner_archive.check_platform("far", said)


@pytest.mark.parametrize(
    "said",
    [
        "",
        f"Linux riscv128\n{LIBC}",
        f"Darwin {os.uname().machine}\n",
        f"{HERE}\nglibc 2.5\n",
        f"{HERE}\n",
        f"{HERE}\nmusl 1.2\n",
        "\x1b[31mnonsense\n" * 3,
    ],
)
def test_other_machines_are_refused(said: str, tmp_path: Path) -> None:
    """Before anything is copied, with both sides named and the way out."""
    far = Elsewhere(platform=said or "\n")
    with pytest.raises(ConfigError, match=r"(?s)site far: a runner from here cannot run there: got .*wanted .*glibc.*\[runner\] python") as caught:
        runner_archive.install("far", far, str(tmp_path))
    assert far.puts == 0
    assert "\x1b" not in str(caught.value)


def test_a_copy_that_arrives_in_part_is_no_copy(tmp_path: Path) -> None:
    """It has no name, and nothing of it is left."""
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        runner_archive.install("far", Elsewhere(cut=1_000_000), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_runner_that_does_not_start_there_is_refused(tmp_path: Path) -> None:
    """What is missing is said."""
    with pytest.raises(ConfigError, match=r"(?s)does not start there: got .*libwhatever\.so\.6.*\[runner\] python"):
        runner_archive.install("far", Elsewhere(refuse="env"), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_runners_of_earlier_versions_go_when_nothing_can_start_them(tmp_path: Path) -> None:
    """One that a group names stays until the group is gone; the present one, and what is being brought, stay anyhow."""
    corner, groups = str(tmp_path), tmp_path / "node" / "spool" / "groups"
    present = Path(runner_archive.place(corner))
    used, unused, cut, fresh = (tmp_path / name for name in ("runner-1", "runner-2", ".runner-3", ".runner-4"))
    for folder in (present, used, unused, cut, fresh, groups):
        (folder / "bin").mkdir(parents=True)
    os.utime(cut, (1_000_000_000, 1_000_000_000))
    (groups / "g.json").write_text(f'{{"script": "exec {used}/bin/python3"}}')
    (tmp_path / "runner-of-notes").write_text("no folder")
    files = LocalTransport()
    assert runner_archive.sweep(files, corner) == ["runner-1"]
    assert [one.exists() for one in (present, used, unused, cut, fresh)] == [True, True, False, False, True]
    (groups / "g.json").unlink()
    assert runner_archive.sweep(files, corner) == []
    assert [one.exists() for one in (present, used, fresh)] == [True, False, True]
    assert runner_archive.sweep(files, f"{corner}/nowhere") == []
