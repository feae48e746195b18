"""How a cluster is reached: its commands, and the files that its compute nodes see.

`LocalTransport` is for a login node, where both are at hand; `ssh.SshTransport` does the same through a connection.
File errors are OSError; a way that is cut is a SchedulerError, and everything may be tried again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from msgspec import Struct

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import answers, atomic, careful
from nexapod_batch.files.least_used import note_use
from nexapod_batch.files.own import base_of, own_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from nexapod_batch.plugins import Sending

__all__ = ["Done", "LocalTransport", "Transport", "environment"]

#: Which cluster is meant and who asks, and where a site's own module system lies: what a script needs to load modules.
_KEEP = frozenset({
    "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "KRB5CCNAME",
    "MODULEPATH", "MODULESHOME", "MODULES_CMD", "LMOD_CMD", "LMOD_DIR", "LMOD_PKG", "LMOD_ROOT",
})  # fmt: skip


class Done(Struct, frozen=True):
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """Commands and files of the cluster's side. Paths are absolute, on that side."""

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:
        """Run a command with `extra` in its environment and `text` as its input; TimeoutError when it takes longer."""
        ...

    def make(self, folders: Iterable[str]) -> None:
        """Make folders that only this account can read, where they are missing."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file in a folder, by name; nothing where there is no folder."""
        ...

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return size and time of change of files and folders, in one round trip; zeros for what is not there."""
        ...

    def read(self, path: str, start: int = 0, max_bytes: int = 1 << 30) -> bytes:
        """Return bytes of a file, from its end for a negative start."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file in place, durably, readable for this account only."""
        ...

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put many small files in place as `write` does; after an error some of them may be there."""
        ...

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Give many files other names, on the same file system; one that is not there (any more) is no error."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        ...

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove many files, in this order."""
        ...

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all that is in it, as far as possible."""
        ...

    def remove_trees(self, paths: Sequence[str]) -> None:
        """Remove many folders and all that is in them, as far as possible."""
        ...

    def put(self, source: Path, path: str) -> None:
        """Copy a file there, in place as a whole."""
        ...

    def put_by_digest(
        self, folder: str, sources: Mapping[str, Path], python: Callable[[], Sequence[str]],
        sending: Sending | None = None,
    ) -> None:  # fmt: skip
        """Copy files into a folder under their SHA-256, those that it has not got.

        `python` returns the words that start an interpreter there which has this package; it is asked when one is of
        use, and sees to it that it is there. `sending` hears how far that is.
        """
        ...

    def get(self, path: str, target: Path) -> None:
        """Copy a file here, in place as a whole; nothing is done where there is one of this size."""
        ...

    def get_tree(
        self, path: str, target: Path, python: Callable[[], Sequence[str]] | None = None,
        *, names: Collection[str] | None = None, max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Copy a folder here, or those of its files that have some names; links and what is no file are left out.

        `python` is as of `put_by_digest`; UnsafeOutputError when the files have more than `max_bytes` together.
        """
        ...


class LocalTransport:
    """This machine is a login node."""

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:
        """Run a command in a folder of nobody's, with nothing of a shell or a Slurm job around us.

        Raises:
            TimeoutError: It takes longer.
            SchedulerError: It answers without end.

        """
        try:
            done = answers.ask(
                argv, text=text.encode(), timeout_s=timeout_s, env={**environment(os.environ), **extra},
                cwd=interpreter.FOLDER,
            )  # fmt: skip
        except answers.EndlessError as error:
            raise SchedulerError("a command answers without end", got=str(error)) from error
        return Done(done.status, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def start(self, argv: Sequence[str], extra: Mapping[str, str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program in the same surroundings, with pipes as its stdin and stdout; OSError when it cannot be."""
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            env={**environment(os.environ), **extra}, cwd=interpreter.FOLDER,
        )  # fmt: skip

    def make(self, folders: Iterable[str]) -> None:
        """Make folders."""
        for folder in folders:
            own_folder(Path(folder), below=base_of(Path(folder)))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return sizes by name."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # gone meanwhile
                    if entry.is_file(follow_symlinks=False):
                        found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return sizes and times."""
        found = []
        for path in paths:
            try:
                status = os.lstat(path)
                found.append((status.st_size, int(status.st_mtime)))
            except FileNotFoundError:
                found.append((0, 0))
        return found

    def read(self, path: str, start: int = 0, max_bytes: int = 1 << 30) -> bytes:
        """Return bytes of a file."""
        with careful.stream(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            first = stream.seek(max(0, size + start) if start < 0 else start)
            return stream.read(min(max_bytes, max(0, size - first)))  # memory is taken for all that is asked for

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place."""
        atomic.write(Path(path), data, mode=0o600)

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put files in place, and make them durable together."""
        for path, data in contents.items():
            atomic.write(Path(path), data, mode=0o600, durable=False)
        atomic.sync_files([Path(path) for path in contents])

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Rename files."""
        for old, new in names.items():
            with suppress(FileNotFoundError):
                os.rename(old, new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove files."""
        for path in paths:
            self.remove(path)

    def remove_tree(self, path: str) -> None:
        """Remove a folder."""
        shutil.rmtree(path, ignore_errors=True)

    def remove_trees(self, paths: Sequence[str]) -> None:
        """Remove folders."""
        for path in paths:
            self.remove_tree(path)

    def put(self, source: Path, path: str) -> None:
        """Copy a file."""
        partial = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with careful.stream(source) as reader, os.fdopen(fd, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)
            raise

    def put_by_digest(
        self, folder: str, sources: Mapping[str, Path],
        python: Callable[[], Sequence[str]],  # noqa: ARG002 - this interpreter is one
        sending: Sending | None = None,
    ) -> None:  # fmt: skip
        """Copy files."""
        there = self.sizes(folder)
        sizes = {digest: path.stat().st_size for digest, path in sources.items()}
        absent = [digest for digest, size in sizes.items() if there.get(digest) != size]
        if sending is not None:
            sending.begin(len(absent), sum(sizes[digest] for digest in absent))
        for digest in sources.keys() - set(absent):
            note_use(f"{folder}/{digest}")
        for digest in absent:
            self.put(sources[digest], f"{folder}/{digest}")
            if sending is not None:
                sending.sent(sizes[digest])

    def get(self, path: str, target: Path) -> None:
        """Do nothing: it lies where it is read."""

    def get_tree(
        self, path: str, target: Path, python: Callable[[], Sequence[str]] | None = None,
        *, names: Collection[str] | None = None, max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Do nothing: it lies where it is read."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of Slurm's commands: nothing that changes their answers, or that jobs should not have.

    No module counts as loaded: what one set is not passed on.
    """
    return interpreter.environment(environ) | {name: environ[name] for name in _KEEP & environ.keys()}
