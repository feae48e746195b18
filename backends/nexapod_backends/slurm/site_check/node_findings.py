"""What is made of a compute node's answers: pure, text in, findings out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch import __version__, interpreter
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.site import Site

__all__ = ["SKEW_S", "clock", "container", "python_there", "ranks", "temporary"]

#: Seconds that two clocks may differ before somebody is told.
SKEW_S = 5.0


def clock(name: str, min_ahead: float, max_ahead: float) -> Finding:
    """Return what is to be said of a clock that is ahead of ours by so many seconds at least and at most."""
    apart = 0.0
    if min_ahead > 0:
        apart = min_ahead
    elif max_ahead < 0:
        apart = -max_ahead
    if apart > SKEW_S:
        ahead = "ahead of" if min_ahead > 0 else "behind"
        return Finding(
            mark=Mark.WARN, probe=name, text=f"the compute node's is at least {apart:.1f} s {ahead} ours",
            hint="times in its reports are off by that, and deadlines shorter than that do not work: let chrony or NTP"
            " set the clocks of both",
        )  # fmt: skip
    return Finding(mark=Mark.OK, probe=name, text=f"at most {max(abs(min_ahead), abs(max_ahead)):.1f} s apart")


def python_there(site: Site, name: str, answers: Mapping[str, str]) -> Finding:
    """Return what is to be said of the interpreter on the compute node, and of the runner that it finds."""
    brought = site.scheduler.transport != "local" and not site.runner.python
    python = "the interpreter that is brought along" if brought else site.runner.python or interpreter.own()
    installed, version, runner = (answers.get(key, "") for key in ("version", "python", "runner"))
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", version):
        text = f"{python} cannot be run there: {version or 'it said nothing'}"
        hint = "set python in [runner] to one that is there"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
    if not re.fullmatch(r"\d+(\.\d+)*\S*", installed):
        text = f"{python} is {version}, but nexapod-batch cannot be imported there: {runner or 'it said nothing'}"
        hint = "install nexapod-batch there, or set python in [runner]"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)
    has = f"{python} is {version}, with nexapod-batch {installed}"
    same = "install the same version on both"
    if runner != "ready":  # its modules lie elsewhere, or it lacks a package that it needs
        text = f"{has}, whose runner cannot be started: {runner or 'it said nothing'}; here it is {__version__}"
        return Finding(mark=Mark.FAIL, probe=name, text=text, hint=same, stops=True)
    if installed != __version__:
        return Finding(mark=Mark.WARN, probe=name, text=f"{has}; here it is {__version__}", hint=same)
    return Finding(mark=Mark.OK, probe=name, text=has)


def temporary(site: Site, name: str, answer: str) -> Finding:
    """Return what is to be said of folders for temporary files on the compute node."""
    where, _, memory = answer.removeprefix("ok ").partition(", ")
    hint = "set local_scratch in [filesystem] to a folder on the compute node's own disk"
    if not answer.startswith("ok "):
        text = f"no short folder for $TMPDIR: {answer or 'it said nothing'}; programs that make sockets may fail"
        return Finding(mark=Mark.WARN, probe=name, text=text, hint=hint)
    wanted = site.filesystem.local_scratch
    if wanted and where != wanted:
        text = f"$TMPDIR lies in {where}: {wanted} is not there, or others may write it"
        return Finding(mark=Mark.WARN, probe=name, text=text, hint=hint)
    text = f"$TMPDIR lies in {where}, where sockets can be made"
    return Finding(mark=Mark.OK, probe=name, text=f"{text}; {memory}" if memory else text)


def container(name: str, version: str) -> Finding:
    """Return what is to be said of a program for containers, of which the `version` is known, or nothing."""
    if version:
        return Finding(mark=Mark.OK, probe=name, text=version)
    text = "no apptainer and no singularity there"
    return Finding(mark=Mark.WARN, probe=name, text=text, hint="only jobs without [container] can run")


def ranks(name: str, launcher: str, answer: str) -> Finding:
    """Return whether two ranks that the launcher was to start beside each other said who they are."""
    found = dict(re.findall(r"\brank ([01]) (\w*)\.", answer))
    if len(found) == 2:
        kind = found["0"]
        told = f"by {kind}" if kind else "and tells them nothing of each other by PMI or PMIx"
        return Finding(mark=Mark.OK, probe=name, text=f"{launcher} starts two, {told}")
    text = f"{launcher} started {len(found)} of two: {answer or 'it said nothing within 30 s'}"
    hint = "jobs of several tasks would fail there: see launcher in [scheduler], and what srun --mpi=list shows"
    return Finding(mark=Mark.WARN, probe=name, text=text, hint=hint)
