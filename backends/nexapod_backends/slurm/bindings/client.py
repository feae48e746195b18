"""pyslurm, where it is of use: answers without a command, and silence whenever there is any doubt.

`PyslurmClient` asks through a child process, since loading pyslurm may end or break the process that does it; the child
is kept for as long as this process asks. It answers with what the commands print, or what is read from that, or with
None: then the command is to be asked, and nothing is ever raised. Where pyslurm does not know a job of the queue, it is
None as well, so that no job is called gone on its word. Before it is used for the first time its version, as it was
installed, is compared with Slurm's. A pyslurm that fails is left alone for a day, or until it or the configuration
changes, which is kept in a file; each reason is told once.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_backends.slurm.bindings.child import NO_ANSWER, UNFIT
from nexapod_backends.slurm.bindings.kept_child import ChildEndedError, ChildHangsError, KeptChild
from nexapod_backends.slurm.bindings.rows import release
from nexapod_backends.slurm.cli.parse import read_sacct, read_squeue
from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.cli.parse import JobRow, Listing
    from nexapod_batch.model.site import Site

__all__ = ["PyslurmClient"]

#: Where Slurm's configuration is when nobody says.
_CONF = "/etc/slurm/slurm.conf"
_CHILD = "nexapod_backends.slurm.bindings.child"
#: Seconds for which a pyslurm that broke or does not fit is left alone.
_BROKEN_S = 86_400.0
#: Seconds for which it is left alone when the controller did not answer it: that takes 10 s, and squeue asks as well.
_SILENT_S = 900.0
#: The folder that pip, or setup.py, leaves beside it.
_METADATA = re.compile(r"pyslurm-([0-9][0-9a-z.+!]*?)(?:-.*)?\.(?:dist|egg)-info", re.ASCII | re.IGNORECASE)
_SAID = 300  # characters of its last words that are kept


class _Failure(Struct, frozen=True):
    """Why pyslurm is left alone."""

    why: str
    at: float  # seconds since 1970
    pause_s: float


class _FailedError(Exception):
    """pyslurm gave no answer, and why."""

    def __init__(self, why: str, pause_s: float = _BROKEN_S) -> None:
        """Remember for how long it is left alone."""
        super().__init__(why)
        self.pause_s = pause_s


def _changed(file: str) -> int:
    """Return when a file was changed, in ns; 0 where there is none. What failed because of it is tried again then."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def _identity(conf: str) -> list[str | int]:
    """Return what tells the pyslurm that is installed, with a configuration, from any other; nothing without one."""
    with suppress(OSError, ValueError):
        spec = find_spec("pyslurm")  # looks for it, and does not load it
        if interpreter.own() and spec is not None and spec.origin:
            return [spec.origin, os.stat(spec.origin).st_mtime_ns, conf, _changed(conf or _CONF)]
    return []


class PyslurmClient:
    """The queue of one cluster, as pyslurm tells it."""

    def __init__(self, site: Site, slurm: Slurm, file: Path, tell: Callable[[str], None]) -> None:
        """Remember how the child is called, where a failure is kept, and who is told of it."""
        self._site, self._slurm, self._file, self._tell = site, slurm, file, tell
        self._child: tuple[list[str | int], KeptChild] | None = None  # and which pyslurm it has loaded

    def queue(self, ids: Sequence[str], now: float) -> Listing[JobRow] | None:
        """Return what the queue holds of these jobs; None when squeue is to be asked."""
        text = self._answer({"ask": "queue", "jobs": [int(one) for one in ids]}, now)
        listing = None if text is None else read_squeue(text)
        if listing is None or self._unreadable(listing, now):
            return None
        return listing if {str(row.job) for row in listing.rows}.issuperset(ids) else None

    def ended(self, ids: Sequence[str], since_s: int, now: float) -> Listing[JobRow] | None:
        """Return what the accounting holds of these jobs since a time (seconds since 1970); None to ask sacct."""
        text = self._answer({"ask": "ended", "jobs": [int(job) for job in ids], "start": since_s}, now)
        listing = None if text is None else read_sacct(text)
        return None if listing is None or self._unreadable(listing, now) else listing

    def hosts(self, now: float) -> str | None:
        """Return what `SCONTROL_NODES` prints, with the values that are read; None when scontrol is to be asked."""
        return self._answer({"ask": "hosts"}, now)

    def _answer(self, question: dict[str, object], now: float) -> str | None:
        """Return the text that answers a question; None when there is none, and why is kept."""
        which = self._which()
        if isinstance(which, str) or self._left(which, now):
            return None
        used = self._document().get("used") == which
        try:
            text = self._use(which, question, first=not used)
        except _FailedError as error:
            if question["ask"] == "queue" or error.pause_s == _BROKEN_S:  # else only the accounting is silent
                self._leave(which, str(error), now, error.pause_s)
            return None
        if not used:
            self._write({"used": which})
        return text

    def _unreadable(self, listing: Listing[JobRow], now: float) -> bool:
        """Say whether an answer cannot be read in full: then pyslurm is left alone."""
        which = self._which()
        if listing.unreadable and not isinstance(which, str):
            self._leave(which, f"it answered what cannot be read: {listing.samples[0]}", now, _BROKEN_S)
        return bool(listing.unreadable)

    def _use(self, which: list[str | int], question: dict[str, object], *, first: bool) -> str:
        """Return what it says; where it is used first, versions are compared before it is even loaded."""
        folder = os.path.dirname(os.path.dirname(str(which[0])))
        if first and (unfit := self._unfit(_installed(folder))):
            raise _FailedError(unfit)
        if self._child is None or self._child[0] != which:
            self.end()
            self._child = which, KeptChild(_CHILD, [folder], self._slurm.start)
        try:
            answer = self._child[1].ask(question, self._site.scheduler.cmd_timeout_s)
        except ChildHangsError as error:
            raise _FailedError(f"it did not answer in {self._site.scheduler.cmd_timeout_s} s") from error
        except ChildEndedError as error:
            raise self._failed(error) from error
        except (OSError, SchedulerError) as error:
            raise _FailedError(str(error)) from error
        return _text_of(answer)

    def end(self) -> None:
        """End the child that is kept, if there is one; the next question starts another one."""
        if self._child is not None:
            self._child[1].end()
            self._child = None

    def _failed(self, ended: ChildEndedError) -> _FailedError:
        """Return why the child ended, by its exit code and its last words."""
        last = ended.last_words[-_SAID:] or f"exit code {ended.returncode}"
        said = "".join(char if char.isprintable() else "?" for char in last)
        if ended.returncode == NO_ANSWER:  # which is also what a pyslurm of another release makes of every answer
            match = re.match(r"pyslurm (\S+):", said)
            unfit = self._unfit(match[1] if match else "")
            return _FailedError(unfit or said, _BROKEN_S if unfit else _SILENT_S)
        return _FailedError(said if ended.returncode == UNFIT else f"it broke: {said}")

    def _unfit(self, version: str) -> str:
        """Return that a pyslurm of this version is not of the release of Slurm's commands; "" where nobody knows."""
        if not version:
            return ""
        with suppress(SchedulerError):
            slurm = self._slurm.call(["sinfo", "--version"]).stdout.strip().rpartition(" ")[2]
            if release(slurm) and release(version) != release(slurm):
                return f"pyslurm {version} is not made for Slurm {slurm}"
        return ""

    def finding(self, now: float) -> Finding:
        """Ask pyslurm once, and say what came: whether it is used, and why not."""
        which = self._which()
        if isinstance(which, str):
            return Finding(mark=Mark.SKIP, probe="pyslurm", text=f"{which}; Slurm's commands are used")
        failure = self._left(which, now)
        if failure is None:
            try:
                self._use(which, {"ask": "queue", "jobs": [0]}, first=True)
            except _FailedError as error:
                failure = _Failure(str(error), now, error.pause_s)
            else:
                return Finding(mark=Mark.OK, probe="pyslurm", text="it answers, and is used for queue, ends and hosts")
        hint = "build pyslurm for the Slurm of this cluster, or remove it" if failure.pause_s == _BROKEN_S else ""
        text = f"Slurm's commands are used: {failure.why}"
        return Finding(mark=Mark.WARN, probe="pyslurm", text=text, hint=hint)

    def _which(self) -> list[str | int] | str:
        """Return what a failure is remembered of: this pyslurm with this configuration. Or why none is to be used."""
        scheduler = self._site.scheduler
        conf = scheduler.conf or os.environ.get("SLURM_CONF", "")
        if scheduler.transport != "local" or scheduler.cluster:
            return "not for a cluster that is reached over SSH or by --clusters"
        if scheduler.bin and not scheduler.conf:  # its commands may have another configuration in mind
            return "not used where [scheduler] bin is set without conf"
        if conf and not os.path.isfile(conf):  # libslurm would try to find it for a minute
            return f"not used where the configuration is missing ({conf})"
        return _identity(conf) or "not installed"

    def _left(self, which: list[str | int], now: float) -> _Failure | None:
        """Return why it is left alone at this time; None when it is not."""
        failure = self._kept(which)
        return failure if failure and 0 <= now - failure.at < failure.pause_s else None

    def _leave(self, which: list[str | int], why: str, now: float, pause_s: float) -> None:
        """Leave it alone for a while; tell why, unless that was told, or only the controller is silent."""
        kept = self._kept(which)
        self._write({"which": which, "why": why, "at": now, "pause_s": pause_s})
        if pause_s == _BROKEN_S and not (kept and kept.why == why):
            self._tell(f"site {self._site.name}: pyslurm is not used, Slurm's commands are: {why}")

    def _kept(self, which: list[str | int]) -> _Failure | None:
        """Return the last failure of this very pyslurm."""
        kept = self._document()
        try:
            failure = _Failure(str(kept["why"]), float(kept["at"]), float(kept["pause_s"]))
            return failure if kept["which"] == which else None
        except (ValueError, TypeError, KeyError):
            return None

    def _document(self) -> dict[str, Any]:
        """Return what is kept between processes: of a pyslurm that failed why, of one that answered that it did."""
        try:
            kept = careful.load(self._file)
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _write(self, document: dict[str, Any]) -> None:
        """Keep it; where that cannot be, it is tried again at the next look."""
        with suppress(OSError):
            own_folder(self._file.parent, below=self._file.parents[1])
            atomic.write(self._file, json.dumps(document).encode(), mode=0o600, durable=False)


def _text_of(answer: object) -> str:
    """Return the text of an answer; _FailedError where Slurm was silent, or it is no answer."""
    match answer:
        case {"text": str(text)}:
            return text
        case {"silent": str(why)}:
            raise _FailedError(why, _SILENT_S)
        case _:
            raise _FailedError("it answered what was not asked")


def _installed(folder: str) -> str:
    """Return the version of the pyslurm in a folder, by the name of its metadata; "" where that is not clear."""
    with suppress(OSError):
        found = {one[1] for name in os.listdir(folder) if (one := _METADATA.fullmatch(name))}
        return found.pop() if len(found) == 1 else ""
    return ""
