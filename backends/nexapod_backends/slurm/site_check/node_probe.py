"""What a compute node sees, told by a test job: the shared folder in both directions, the time, the interpreter.

Its exit code tells why where nothing of it can be read. Whatever it left is removed, and one that does not end in time
is cancelled.
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.parse import SACCT, SQUEUE, read_sacct, read_squeue
from nexapod_backends.slurm.cli.states import read_state, reason_in_words
from nexapod_backends.slurm.site_check.job_probe import folder_of, partition_of, script_of
from nexapod_backends.slurm.site_check.node_findings import SKEW_S, clock, container, python_there, ranks, temporary
from nexapod_backends.slurm.site_check.probe_text import VALUE, name_of, one_line
from nexapod_batch.errors import NexapodError, SchedulerError
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.cli.parse import JobRow
    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.model.site import Partition, Site
    from nexapod_batch.plugins import NodeContext, Probing

__all__ = ["PROGRAM", "from_inside"]

#: Seconds after which a file that was written on one side should be seen on the other.
_DELAY_S = 30
_LOOK_S = 0.2
#: Seconds between two looks at the queue while a test job is waited for.
_QUEUE_S = 5.0
_BOOT = "/proc/sys/kernel/random/boot_id"
#: Exit codes of the test job where it cannot answer.
_EXITS = {
    71: "the compute node does not see the folder",
    72: "the compute node does not see what the login node wrote there",
    73: "the compute node cannot write there",
}
#: What the script of a job says before it breaks off, of a module and of anything else.
_NO_MODULE, _BROKE_OFF = " is not loaded after: module load", re.compile(r" with exit code \d+: ")
#: What Slurm reports (as a signal) for a job whose output file could not be opened.
_IO_FAILED = 53

#: What the compute node runs: $1 is the folder of the probe, $2 that of the work folders, the rest the interpreter.
#: Every command in it is in any POSIX system; `answer` and `seen` are complete when they are there.
PROGRAM = r"""
here=$1; work=$2; shift 2
[ -r "$here/asked" ] || exit 72
tell() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ' | cut -c1-300)"; }
ranks() {
  set -- timeout -k 5 30
  while IFS= read -r word; do set -- "$@" "$word"; done < "$here/launcher"
  "$@" --overcommit --ntasks=2 sh -c 'echo "rank $SLURM_PROCID ${PMIX_RANK:+pmix}${PMI_RANK:+pmi}."' < /dev/null 2>&1
}
{
  tell token "$(cat "$here/asked")"
  tell host "${SLURMD_NODENAME:-$(hostname)}"
  tell boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
  tell system "$(uname -sm)"
  tell free "$(df -Pk "$work" 2>/dev/null | tail -n 1)"
  tell python "$("$@" -c 'import sys; print(sys.version.split()[0])' 2>&1)"
  load='import nexapod_batch; print("nexapod-batch", nexapod_batch.__version__, flush=True)'
  load="$load; import nexapod_batch.runner.worker.worker; print('ready')"
  loaded="$(cd / && "$@" -c "$load" 2>&1)"
  tell version "$(printf '%s\n' "$loaded" | sed -n 's/^nexapod-batch //p' | head -n 1)"
  tell runner "$(printf '%s\n' "$loaded" | tail -n 1)"
  try='import os, sys; from nexapod_batch import birth; birth.given.update(os.environ)'
  try="$try; from nexapod_batch.runner.execution.folders import temporary"
  try="$try; print('ok', temporary.describe(*sys.argv[1:]))"
  tell temporary "$(cd / && "$@" -c "$try" $(cat "$here/scratch") 2>&1 | tail -n 1)"
  [ -s "$here/launcher" ] && tell ranks "$(ranks)"
  tell container "$( (apptainer --version || singularity --version) 2>/dev/null)"
  (umask 077; echo ok > "$work/probe.$$" && rm "$work/probe.$$") 2>/dev/null && tell work ok
  tell time "$(date +%s.%N)"
} > "$here/answer.part" || exit 73
mv "$here/answer.part" "$here/answer" || exit 73
waited=0
while [ ! -e "$here/ack" ] && [ "$waited" -lt 300 ]; do sleep 0.2; waited=$((waited + 1)); done
[ -e "$here/ack" ] && { date +%s.%N > "$here/seen.part" && mv "$here/seen.part" "$here/seen"; }
exit 0
"""


class _Heard(Struct, frozen=True, kw_only=True):
    """What came back of a test job."""

    answer: dict[str, str]  # nothing: it could not answer
    waited_s: float  # until it did
    skew: tuple[float, float] | None  # at least and at most so many seconds is the compute node's clock ahead
    delay_s: float | None  # until a file written here was seen there; None: it never was
    end: str = ""  # why it could not answer
    late: bool = False  # because it did not start, or not end, in time


def from_inside(
    site: Site, slurm: Slurm, files: Transport, context: NodeContext, how: Probing, contexts: Sequence[NodeContext]
) -> Iterator[Finding]:
    """Run a test job of a node and yield what it saw."""
    name = name_of(context, "compute node", contexts)
    partition = partition_of(site, context, how)
    if partition is None:
        yield Finding(mark=Mark.SKIP, probe=name, text="none of its partitions is asked for")
        return
    try:
        heard = _run(site, slurm, files, context, how, partition)
    except (NexapodError, OSError) as error:
        yield Finding(mark=Mark.FAIL, probe=name, text=f"the test job failed: {one_line(error)}", stops=True)
        return
    if not heard.answer:
        yield _unanswered(name, heard, str(context.remote_spool))
        return
    said = heard.answer
    same = _boot_here(files) == said.get("boot", "-")
    where = ", which is this very machine" if same else ""
    yield Finding(
        mark=Mark.OK, probe=name,
        text=f"{said.get('host', '?')} ({said.get('system', '?')}, boot {said.get('boot', '?')[:8]}) answered after"
        f" {heard.waited_s:.1f} s{where}",
    )  # fmt: skip
    yield _sharing(name_of(context, "shared folder", contexts), heard)
    if heard.skew is not None:
        yield clock(name_of(context, "clock", contexts), *heard.skew)
    yield python_there(site, name_of(context, "python", contexts), said)
    yield temporary(site, name_of(context, "temporary files", contexts), said.get("temporary", ""))
    if "ranks" in said:
        yield ranks(name_of(context, "ranks", contexts), " ".join(site.scheduler.launcher), said["ranks"])
    yield container(name_of(context, "container", contexts), said.get("container", ""))


def _unanswered(name: str, heard: _Heard, spool: str) -> Finding:
    """Return what is to be said of a test job that told nothing: whether it was late, broke off, or saw no folder."""
    text, hint = f"{spool}: {heard.end}", "set work_dir in [filesystem] to a folder that login and compute nodes share"
    if heard.late:
        text, hint = heard.end, "wait longer: --timeout, or name an idle partition: --partition"
    elif _NO_MODULE in heard.end:
        text = heard.end.partition("; correct")[0]
        hint = "correct modules in [environment]; module avail lists what there is"
    elif _BROKE_OFF.search(heard.end):
        text, hint = heard.end, "the script broke off by itself: see modules, setup and env in [environment]"
    return Finding(mark=Mark.FAIL, probe=name, text=text, hint=hint, stops=True)


def _sharing(name: str, heard: _Heard) -> Finding:
    if heard.answer.get("work") != "ok":
        return Finding(
            mark=Mark.FAIL, probe=name, text="the compute node cannot write the work folder",
            hint="is it mounted read-only there? See scratch in [filesystem]", stops=True,
        )  # fmt: skip
    if heard.delay_s is None:
        return Finding(
            mark=Mark.WARN, probe=name, text=f"what is written here is not seen there within {_DELAY_S} s",
            hint="cancelling will be slow; ask for a file system without long caches",
        )  # fmt: skip
    text = f"seen in both directions; a file of ours was seen there after {heard.delay_s:.1f} s"
    return Finding(mark=Mark.OK, probe=name, text=text)


def _run(
    site: Site, slurm: Slurm, files: Transport, context: NodeContext, how: Probing, partition: Partition
) -> _Heard:
    """Run the test job, hear it, and remove what it left."""
    here, token = folder_of(context), secrets.token_hex(8)
    group = f"probe.{token}"
    files.remove_tree(here)
    files.make([here, str(context.remote_work)])
    files.write(f"{here}/probe.sh", PROGRAM.encode())
    files.write(f"{here}/asked", token.encode())
    files.write(f"{here}/scratch", site.filesystem.local_scratch.encode())
    # Only srun can start two ranks in the room of one; others ask for slots that the test job does not have.
    words = site.scheduler.launcher if site.scheduler.launcher[:1] == ("srun",) else ()
    files.write(f"{here}/launcher", "".join(f"{word}\n" for word in words).encode())
    script = script_of(site, context, how, partition, mem_mib=None, group=group)
    job = ""
    try:
        begun = time.time()
        job = slurm.submit(script)
        how.tell(f"waiting for test job {job} in partition {partition.name}")
        answer, end, late = _await(slurm, files, here, job, how)
        if not answer or answer.get("token") != token:
            return _Heard(answer={}, waited_s=0, skew=None, delay_s=None, end=end or _EXITS[72], late=late)
        heard = _Heard(answer=answer, waited_s=time.time() - begun, skew=None, delay_s=None)
        return _acknowledge(files, here, heard)
    finally:
        if not job:  # sbatch may have taken it without telling us
            job = _find(slurm, f"nexapod-{group}")
        if job:
            with suppress(SchedulerError):
                slurm.cancel([job])
        files.remove_tree(here)


def _find(slurm: Slurm, name: str) -> str:
    with suppress(SchedulerError):
        for row in read_squeue(slurm.call([*SQUEUE, f"--name={name}"]).stdout).rows:
            if row.name == name:
                return str(row.job)
    return ""


def _await(slurm: Slurm, files: Transport, here: str, job: str, how: Probing) -> tuple[dict[str, str], str, bool]:
    """Return what the job answered, or why it did not, and whether that is because the time was over."""
    end = time.monotonic() + how.timeout_s
    watch = _Watch(slurm, job, how)
    while time.monotonic() < end:
        if "answer" in files.sizes(here):
            return _answer(files.read(f"{here}/answer")), "", False
        if watch.over:
            break
        watch.look()
        time.sleep(_LOOK_S)
    if watch.ended is not None:
        return {}, _why(watch.ended, _log(files, here)), False
    text = f"no answer of test job {job} within {how.timeout_s:.0f} s" + (f"; it is {watch.said}" if watch.said else "")
    return {}, text, True


class _Watch:
    """What the queue says of a test job whose answer is waited for."""

    def __init__(self, slurm: Slurm, job: str, how: Probing) -> None:
        """Ask nothing yet."""
        self._slurm, self._job, self._how = slurm, job, how
        self._asked = time.monotonic()
        self._grace = 0.0  # until when its files may still get here
        self.ended: JobRow | None = None
        self.said = ""  # what people were last told of it

    @property
    def over(self) -> bool:
        """Say whether it has ended, and its files had time to get here."""
        return self.ended is not None and time.monotonic() > self._grace

    def look(self) -> None:
        """Ask Slurm when it is time, until it has ended; what is new is told."""
        if self.ended is not None or time.monotonic() - self._asked <= min(_QUEUE_S, self._how.timeout_s / 4):
            return
        self._asked = time.monotonic()
        row = _look(self._slurm, self._job)
        if row is None:
            return
        if read_state(row.state).ended:
            wait = 0 if row.exit_signal == _IO_FAILED or row.exit_code in _EXITS else _DELAY_S
            self.ended, self._grace = row, time.monotonic() + min(wait, self._how.timeout_s / 4)
            return
        said = _standing(row)
        if said != self.said:
            self._how.tell(f"test job {self._job} is {said}")
            self.said = said


def _standing(row: JobRow) -> str:
    """Return what the queue says of a job that has not ended."""
    said = row.state + (f": {reason_in_words(row.reason)}" if row.reason else "")
    if row.start_s:
        said += time.strftime("; start estimated for %Y-%m-%d %H:%M", time.localtime(row.start_s))
    return said


def _look(slurm: Slurm, job: str) -> JobRow | None:
    """Return what Slurm knows of the job, the accounting first where it ended: only that tells exit codes."""
    with suppress(SchedulerError):
        done = slurm.call([*SQUEUE, f"--jobs={job}"], check=False)
        rows = [row for row in read_squeue(done.stdout).rows if row.job == int(job)]
        if rows and not read_state(rows[-1].state).ended:
            return rows[-1]
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 86_400))
        done = slurm.call([*SACCT, f"--jobs={job}", f"--starttime={start}"], check=False)
        told = [row for row in read_sacct(done.stdout).rows if row.job == int(job)]
        if told and read_state(told[-1].state).ended:
            return told[-1]
        return rows[-1] if rows else None
    return None


def _why(ended: JobRow, log: str) -> str:
    """Say why a job that ended left no answer."""
    code = ended.exit_code or 0
    if code in _EXITS:
        return _EXITS[code]
    if ended.exit_signal == _IO_FAILED or (code == 0 and not log):
        return f"{_EXITS[71]}, or cannot write there (the test job is {ended.state} and left nothing)"
    said = f": {log}" if log else ""
    return f"the test job is {ended.state} with exit code {code}{said}"


def _log(files: Transport, here: str) -> str:
    try:
        lines = files.read(f"{here}/log")[-2000:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return re.sub(r"[^ -~]", "?", lines[-1])[:VALUE] if lines else ""


def _answer(data: bytes) -> dict[str, str]:
    """Return the values of `key=value` lines."""
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines()[:100])
    return {key: "".join(c if c.isprintable() else "?" for c in value.strip())[:VALUE] for key, _, value in pairs}


def _acknowledge(files: Transport, here: str, heard: _Heard) -> _Heard:
    """Let the job see a file of ours, and find out how long that took and how its clock stands."""
    sent = time.time()
    files.write(f"{here}/ack", b"ack\n")
    end = time.monotonic() + _DELAY_S + 2 * SKEW_S
    while "seen" not in files.sizes(here):
        if time.monotonic() > end:
            return heard
        time.sleep(_LOOK_S)
    got = time.time()
    there = _seconds(files.read(f"{here}/seen").decode("utf-8", "replace"))
    skew = None if there is None else (there - got, there - sent)
    return replace(heard, skew=skew, delay_s=got - sent)


def _seconds(text: str) -> float | None:
    found = re.match(r"\d{9,11}(\.\d{1,9})?", text.strip(), re.ASCII)
    return float(found[0]) if found else None


def _boot_here(files: Transport) -> str:
    try:
        return files.read(_BOOT, 0, 100).decode("ascii", "replace").strip()
    except OSError:
        return ""
