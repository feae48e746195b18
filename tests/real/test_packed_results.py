"""Folders with hundreds of small files on their way back from another machine, which may lie about them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from real.ssh_sites import connected

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError, UnsafeOutputError
from nexapod_batch.files import gathered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clusters.sshd import Sshd
    from nexapod_backends.slurm.ssh.transport import SshTransport

#: Interpreters there, of which only the first can make a stream.
PYTHONS = {
    "has the package": interpreter.start_words(),
    "is none": ("/nowhere/python3",),
    "has not the package": (sys.executable, "-I", "-S"),
}
#: Stands in for an interpreter: makes half of a stream, and when some of it has arrived, ends its own connection.
CUTS = """
import os, signal, subprocess, sys, time
from pathlib import Path
target, argv = Path(sys.argv[1]), sys.argv[2:]
stream = subprocess.run(argv, stdin=sys.stdin, capture_output=True, check=True).stdout
sys.stdout.buffer.write(stream[: len(stream) // 2])
sys.stdout.buffer.flush()
end = time.monotonic() + 60
while not any(path.is_file() for path in target.iterdir()) and time.monotonic() < end:
    pass
process = os.getppid()
while not Path(f"/proc/{process}/comm").read_text().startswith("sshd"):
    process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
os.kill(process, signal.SIGKILL)
"""


@pytest.fixture
def transport(server: Sshd) -> Iterator[SshTransport]:
    """Yield a transport that is patient with a machine which has much else to do."""
    with connected(server, connect_timeout_s=60) as made:
        yield made


def made(folder: Path, number: int) -> None:
    """Write so many small files, and others in folders, of which one is large."""
    folder.mkdir()
    for one in range(number):
        (folder / str(one)).write_bytes(b"%d" % one * 100)
    (folder / "in" / "it").mkdir(parents=True)
    (folder / "in" / "it" / "large").write_bytes(b"large" * gathered.SMALL)
    (folder / "in" / "it" / "two\nlines").write_bytes(b"")
    (folder / "none").mkdir()


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [5, 300])
@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_a_folder_comes_as_it_is(transport: SshTransport, tmp_path: Path, python: Sequence[str], number: int) -> None:
    """Few and many, small and large, whatever interpreter is there; those that are here stay the same files."""
    there, here = tmp_path / "there", tmp_path / "here"
    made(there, number)
    (there / "link").symlink_to("/etc/passwd")
    transport.get_tree(str(there), here, lambda: python)
    (there / "link").unlink()
    assert contents(here) == contents(there)
    assert (here / "none").is_dir()
    before = {path.name: path.stat().st_ino for path in here.iterdir()}
    (here / "0").unlink()
    (here / "1").write_bytes(b"")
    transport.get_tree(str(there), here, lambda: python)
    assert contents(here) == contents(there)
    after = {path.name: path.stat().st_ino for path in here.iterdir()}
    assert {name for name in before if after[name] != before[name]} <= {"0", "1"}


def test_many_files_are_one_command(transport: SshTransport, tmp_path: Path) -> None:
    """And of a folder of which all is here there is none."""
    there, here, log = tmp_path / "there", tmp_path / "here", tmp_path / "log"
    made(there, 300)
    script = tmp_path / "counts"
    script.write_text(f'echo one >>{log}; exec "$@"\n')
    python = ["/bin/sh", str(script), *interpreter.start_words()]
    transport.get_tree(str(there), here, lambda: python)
    transport.get_tree(str(there), here, lambda: python)
    assert log.read_text() == "one\n"
    assert contents(here) == contents(there)


#: What writes a stream in the place of an interpreter, and whether what it brings in it is what lies there.
LIES = {
    "nothing": ("exit 0", True),
    "a greeting": ("echo Welcome to this cluster", True),
    "that all is gone": ("head -c 42 /dev/zero", True),
    "zeros without end": ("exec cat /dev/zero", True),
    "words without end": ("exec yes", True),
    "errors without end": ("exec yes >&2", None),
    "files of other bytes, without end": (r"printf '\001'; yes ''", False),
    "half of it": ('"$@" | head -c 9000', True),
    "half of it, and a failure": ('"$@" | head -c 9000; exit 3', True),
    "more than there is": ('"$@"; echo more', True),
    "something before it": ('echo ../../escape; "$@"', True),
    "an archive": ("tar -cf - /etc/passwd", True),
}


@pytest.mark.parametrize(("lie", "true"), LIES.values(), ids=LIES)
def test_a_far_side_that_lies_puts_nothing_elsewhere(transport: SshTransport, tmp_path: Path, lie: str, true: bool | None) -> None:
    """What does not come as it was asked for comes by SFTP; in a stream there can be wrong bytes, and nothing else."""
    there, here, script = tmp_path / "there", tmp_path / "here", tmp_path / "lies"
    made(there, 40)
    script.write_text(f"{lie}\n")
    python = ["/bin/sh", str(script), *interpreter.start_words()]
    if true is None:
        with pytest.raises(SchedulerError, match="answers without end"):
            transport.get_tree(str(there), here, lambda: python)
        return
    transport.get_tree(str(there), here, lambda: python)
    assert set(tmp_path.iterdir()) == {there, here, script, tmp_path / "sshd"}
    come, wanted = contents(here), contents(there)
    assert {name: len(data) for name, data in come.items()} == {name: len(data) for name, data in wanted.items()}
    assert (come == wanted) is true


def test_what_came_before_a_cut_is_not_brought_again(transport: SshTransport, tmp_path: Path) -> None:
    """The connection ends while a stream is under way; the next one brings the rest."""
    there, here, script = tmp_path / "there", tmp_path / "here", tmp_path / "cuts.py"
    made(there, 300)
    script.write_text(CUTS)
    cuts = [sys.executable, "-I", str(script), str(here), *interpreter.start_words()]
    with pytest.raises(SchedulerError):
        transport.get_tree(str(there), here, lambda: cuts)
    came = {path.name: path.stat().st_ino for path in here.iterdir() if path.is_file()}
    assert 0 < len(came) < 300
    transport.get_tree(str(there), here, interpreter.start_words)
    assert contents(here) == contents(there)
    assert {name: (here / name).stat().st_ino for name in came} == came


def test_what_is_in_the_way_here_is_told(transport: SshTransport, tmp_path: Path) -> None:
    """As an error of this file system, not of the connection."""
    there, here = tmp_path / "there", tmp_path / "here"
    made(there, 40)
    (here / "7").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        transport.get_tree(str(there), here, interpreter.start_words)


def test_only_the_named_files_come(transport: SshTransport, tmp_path: Path) -> None:
    """Whatever else a command left there, as large as it likes; of the named ones no more than they may have."""
    there, here = tmp_path / "there", tmp_path / "here"
    made(there, 300)
    names = ["in/it/two\nlines", "7", "not there", "../there/8", "none", *map(str, range(100, 200))]
    size = sum((there / name).stat().st_size for name in names if (there / name).is_file() and ".." not in name)
    with pytest.raises(UnsafeOutputError, match="more than it may have"):
        transport.get_tree(str(there), here, interpreter.start_words, names=names, max_bytes=size - 1)
    assert not here.exists()
    transport.get_tree(str(there), here, interpreter.start_words, names=names, max_bytes=size)
    assert contents(here).keys() == {"in/it/two\nlines", "7", *map(str, range(100, 200))}
