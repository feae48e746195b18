"""A cluster that is reached over SSH: its commands by channels, its files by SFTP, both through one connection.

The connection is made when it is first needed and made again when it was lost; what was under way then is done again
where that cannot do harm. A command whose end was not seen is never repeated here: TimedOutError says that it may have
done its work. Nothing half sent is ever executed: what a command reads is complete on the other side before it starts.
While a host cannot be reached it is asked less and less often.
"""

from __future__ import annotations

import os
import secrets
import stat
import struct
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import paramiko  # type: ignore[import-untyped]

from nexapod_backends.slurm.cli.commands import TimedOutError
from nexapod_backends.slurm.ssh import login, packed_files, packed_results, paramiko_internals, sftp_folders
from nexapod_backends.slurm.ssh.channel import NotBegunError, Talk, close, command_line, send
from nexapod_backends.slurm.ssh.sftp import Files
from nexapod_backends.slurm.transport import Done
from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.ssh.paramiko_internals import Attributes
    from nexapod_backends.slurm.ssh.sftp import Tree
    from nexapod_batch.model.site import Site, Ssh
    from nexapod_batch.plugins import Sending

__all__ = ["SshTransport"]

T = TypeVar("T")

#: Seconds without a try after a failed one, at most.
_LONGEST_PAUSE_S = 60.0
#: Seconds for the removal of folders.
_FILES_S = 120
_BLOCK = 1 << 18
_TIMED_OUT = 124  # as timeout(1) says it

#: What paramiko raises of a connection or a server that misbehaves.
_FOREIGN = (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError, ValueError, struct.error)
#: Bytes that a start-up file may print before each command without being told of.
_LOUD = 1 << 16
_FOR_PEOPLE = (
    "let start-up files there (~/.bashrc, ~/.profile and what they read) do that for people only: with "
    "`case $- in *i*) ;; *) return;; esac` as their first line"
)


class SshTransport:
    """The login node of one site."""

    def __init__(self, site: Site, ssh: Ssh, tell: Callable[[str], None] = lambda _: None) -> None:
        """Connect to nothing yet; `tell` hears what is strange there, once."""
        paramiko_internals.check()
        self._site, self._ssh, self._tell = site, ssh, tell
        self._loud = False
        self._links: list[paramiko.Transport] = []
        self._files: Files | None = None
        self._session: Any = None
        self._mark = f"nexapod-{secrets.token_hex(8)}"
        self._failures, self._pause_until = 0, 0.0
        self._error: NexapodError | None = None
        self._end = weakref.finalize(self, _end, self._links, os.getpid())

    # ---- the port

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:
        """Run a command to its end; TimedOutError when the connection was cut after it was sent."""
        words = ["env", *(f"{name}={value}" for name, value in extra.items()), *argv]
        return self._command(words, text.encode(), timeout_s, argv[0], clean=True)

    def pour(self, argv: Sequence[str], blocks: Iterable[bytes], *, timeout_s: float) -> Done:
        """Run a command that reads what comes as it comes; TimedOutError when the connection was cut meanwhile."""
        return self._command(argv, blocks, timeout_s, "a transfer of files", clean=True)

    def draw(self, argv: Sequence[str], data: bytes, take: Callable[[bytes], None], *, timeout_s: float) -> Done:
        """Run a command of which the answer is taken as it comes; TimedOutError when the connection was cut meanwhile.

        StoppedError when `take` raises it.
        """
        return self._command(argv, data, timeout_s, "a transfer of files", clean=True, take=take)

    def make(self, folders: Iterable[str]) -> None:
        """Make folders that only this account can read, where they are missing."""
        wanted = list(folders)
        self._through(lambda files: sftp_folders.make(files, wanted))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file in a folder, by name; nothing where there is no folder."""
        try:
            return self._through(
                lambda files: {
                    os.fsdecode(name): found.size
                    for name, found in files.entries(folder)
                    if stat.S_ISREG(found.mode or 0)
                }
            )
        except FileNotFoundError:
            return {}

    def stamps(self, paths: Sequence[str]) -> list[tuple[int, int]]:
        """Return size and time of change of files and folders, in one round trip; zeros for what is not there."""
        return self._through(lambda files: files.stamps(paths))

    def read(self, path: str, start: int = 0, max_bytes: int = 1 << 30) -> bytes:
        """Return bytes of a file, from its end for a negative start."""
        return self._through(lambda files: files.read(path, start, max_bytes))

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file in place."""
        self._through(lambda files: files.write(path, [data], len(data)))

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put many files in place, with few round trips."""
        self._through(lambda files: files.write_all(contents))

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Give many files other names, with few round trips."""
        self._through(lambda files: files.rename_all(names))

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        self._through(lambda files: files.remove_all([path]))

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove many files, with few round trips."""
        self._through(lambda files: files.remove_all(paths))

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all that is in it, as far as possible."""
        self.remove_trees([path])

    def remove_trees(self, paths: Sequence[str]) -> None:
        """Remove folders and all that is in them, as far as possible, by one command.

        Raises:
            SchedulerError: The login node did not answer in time.

        """
        if not paths:
            return
        listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
        what = "the removal of folders"
        for last in (False, True):
            try:
                self._command(["xargs", "-0", "rm", "-rf", "--"], listed, _FILES_S, what, clean=False)
            except TimedOutError:
                if last:
                    raise
            except TimeoutError as error:
                raise SchedulerError(f"site {self._site.name}: {error}", hint="it is tried again") from error
            else:
                return

    def put(self, source: Path, path: str, sending: Sending | None = None) -> None:
        """Copy a file there; of what goes there twice it is heard twice."""

        def copy(files: Files) -> None:
            with source.open("rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                blocks = iter(lambda: stream.read(_BLOCK), b"")
                files.write(path, packed_files.heard(blocks, sending) if sending else blocks, size)

        self._through(copy)

    def put_by_digest(
        self, folder: str, sources: Mapping[str, Path], python: Callable[[], Sequence[str]],
        sending: Sending | None = None,
    ) -> None:  # fmt: skip
        """Copy files under their digest, many small ones in one stream."""
        packed_files.put(self, folder, sources, python, sending)

    def get(self, path: str, target: Path) -> None:
        """Copy a file here, going on where an earlier attempt ended."""
        self._through(lambda files: files.get(path, target))

    def get_tree(
        self, path: str, target: Path, python: Callable[[], Sequence[str]] | None = None,
        *, names: Collection[str] | None = None, max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Copy a folder here, many small files in one stream. What came before a cut is not brought again."""
        packed_results.bring(self, path, target, python, names=names, max_bytes=max_bytes)

    def found(self, path: str, names: Collection[str] | None) -> Tree:
        """Return what a folder holds, or which of some names; OSError when it is too deep or holds too much."""
        return self._through(lambda files: files.tree(path, names))

    def get_all(self, path: str, target: Path, files: Mapping[str, Attributes]) -> None:
        """Copy files of a folder here, as they were found."""
        if files:
            self._through(lambda session: session.get_all(path, target, files))

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        self._files, self._session = None, None
        links = list(self._links)
        self._links.clear()
        login.close(links)

    # ---- the connection

    @property
    def _alive(self) -> bool:
        return bool(self._links) and all(link.is_active() for link in self._links)

    def _connect(self) -> bool:
        """See to a connection; say whether it is an old one, which may turn out to be dead."""
        if self._error is not None and time.monotonic() < self._pause_until:
            raise _again(self._error)
        if self._alive:
            return True
        self.close()
        began = time.monotonic()
        try:
            self._links += login.log_in(self._site.name, self._ssh)
        except NexapodError as error:
            now = time.monotonic()
            self._failures += 1
            self._pause_until = now + min(_LONGEST_PAUSE_S, max(2.0**self._failures, 3 * (now - began)))
            self._error = _again(error)
            raise
        if isinstance(self._error, UnreachableError):  # else it is not known yet whether it is of use
            self._failures, self._error = 0, None
        return False

    def _through(self, act: Callable[[Files], T]) -> T:
        """Do something with files, once more where an old connection turned out to be dead."""
        while True:
            old = self._connect()
            try:
                return act(self._sftp())
            except _FOREIGN as error:
                if not self._cut(error):
                    raise
                self.close()
                if not old:  # the second time the connection is always a new one
                    raise self._lost(error) from error

    def _sftp(self) -> Files:
        if self._files is None or self._session is None or self._session.get_channel().closed:
            channel = self._links[-1].open_session(timeout=self._ssh.connect_timeout_s)
            channel.settimeout(self._ssh.connect_timeout_s)
            offered = False
            try:
                channel.invoke_subsystem("sftp")
                offered = True
                self._session = paramiko.SFTPClient(channel)
            except Exception as error:
                channel.close()
                if not self._answers():
                    raise
                raise self._no_sftp(error, offered=offered) from error
            channel.settimeout(self._site.scheduler.cmd_timeout_s)
            self._files = Files(self._session)
        return self._files

    def _no_sftp(self, error: Exception, *, offered: bool) -> ConfigError:
        """Return what is to be said of a server that we are in, and that gives us no files."""
        what, step = "offers no SFTP", "its administrator must allow it (Subsystem sftp in sshd_config)"
        if offered:
            what, step = "offers no SFTP that works", f"a start-up file that prints or exits breaks it: {_FOR_PEOPLE}"
        found = ConfigError(
            f"site {self._site.name}: {self._ssh.host} {what}", got=login.said(error),
            hint=f"{step}; it is tried again",
        )  # fmt: skip
        return self._shut(found)

    def _cut(self, error: Exception) -> bool:
        """Say whether an error is one of the connection, and not of a file on either side."""
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return not self._alive or self._session is None or self._session.get_channel().closed
        return True

    def _lost(self, error: BaseException) -> UnreachableError:
        return UnreachableError(
            f"site {self._site.name}: the connection to {self._ssh.host} was lost",
            got=login.said(error), hint="it is tried again",
        )  # fmt: skip

    # ---- commands

    def _command(
        self, argv: Sequence[str], data: bytes | Iterable[bytes], timeout_s: float, what: str, *, clean: bool,
        take: Callable[[bytes], None] | None = None,
    ) -> Done:  # fmt: skip
        """Run a command; SchedulerError before it was sent, TimedOutError when its end was not seen.

        Its input is checked to be whole before it starts, unless that comes in blocks.
        """
        end = time.monotonic() + timeout_s
        size = len(data) if isinstance(data, bytes) else None
        line = command_line(argv, self._mark, timeout_s, size, clean=clean)
        channel = self._channel()
        begun = False
        try:
            channel.settimeout(timeout_s)
            channel.exec_command(line)
            if size == 0:
                channel.shutdown_write()
            talk = Talk(channel, self._mark, take)
            talk.begin(min(timeout_s, self._ssh.connect_timeout_s), waiting=size != 0)
            begun = True
            if size != 0:
                send(channel, data)
            status = talk.finish(end)
        except NotBegunError as error:
            if not self._answers():
                raise self._unseen(what, error.seen) from error
            raise self._not_begun(error) from error
        except TimeoutError as error:
            raise TimeoutError(f"{what} did not answer in {timeout_s} s") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not begun and self._answers():
                raise self._not_begun(NotBegunError("runs no commands", login.said(error))) from error
            raise self._unseen(what, login.said(error)) from error
        finally:
            close(channel)
        if status == _TIMED_OUT and time.monotonic() > end - 1:
            raise TimeoutError(f"{what} did not answer in {timeout_s} s")
        self._well(talk)
        return Done(status, talk.out.text(), talk.err.text())

    def _not_begun(self, error: NotBegunError) -> ConfigError:
        """Return what is to be said of a shell that never came to our command; it is not asked again at once."""
        found = ConfigError(
            f"site {self._site.name}: a start-up file of the shell at {self._ssh.host} {error.why}: "
            "no command can be run there",
            got=error.seen or "it said nothing", hint=f"{_FOR_PEOPLE}; it is tried again",
        )  # fmt: skip
        return self._shut(found)

    def _shut(self, error: ConfigError) -> ConfigError:
        """Remember what keeps a server that lets us in from use: each of the calls to come would wait for it."""
        self._failures += 1
        self._pause_until = time.monotonic() + min(_LONGEST_PAUSE_S, 2.0**self._failures)
        self._error = _again(error)
        return error

    def _answers(self) -> bool:
        """Say whether the connection is alive, by asking for another channel: its end may not have been noticed yet."""
        try:
            self._links[-1].open_session(timeout=self._ssh.connect_timeout_s).close()
        except (paramiko.SSHException, EOFError, OSError, IndexError):
            return False
        return True

    def _well(self, talk: Talk) -> None:
        """Note that commands run there; tell once of a start-up file that says a lot."""
        self._failures, self._error = 0, None
        loud = talk.out.skipped + talk.err.skipped
        if loud > _LOUD and not self._loud:
            self._loud = True
            self._tell(
                f"site {self._site.name}: start-up files at {self._ssh.host} print {loud >> 10} KiB before each "
                f"command, which takes time: {_FOR_PEOPLE}"
            )

    def _channel(self) -> paramiko.Channel:
        """Return a channel for one command, of a new connection where the old one turned out to be dead."""
        for _ in range(2):
            old = self._connect()
            try:
                return self._links[-1].open_session(timeout=self._ssh.connect_timeout_s)
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                if not old:
                    raise self._lost(error) from error
        raise self._lost(EOFError("lost twice"))

    def _unseen(self, what: str, got: str) -> TimedOutError:
        if not self._alive:
            self.close()
        return TimedOutError(
            f"site {self._site.name}: the connection to {self._ssh.host} was cut while {what} ran",
            got=got, hint="it may have done its work; that is found out before it is tried again",
        )  # fmt: skip


def _again(error: NexapodError) -> NexapodError:
    """Return a new error that says the same."""
    kind = ConfigError if isinstance(error, ConfigError) else UnreachableError
    return kind(error.what, got=error.got, wanted=error.wanted, hint=error.hint)


def _end(links: list[paramiko.Transport], owner: int) -> None:
    """Close what is open when the program ends; not in a child that inherited it."""
    if os.getpid() == owner:
        with suppress(Exception):
            login.close(list(links))
