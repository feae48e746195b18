"""What Slurm's words mean: a total table of job states, and its reasons in plain sentences.

The states are those of Slurm 20.11 to 26.05 (`job_state_string`, `job_state_string_compact` and the flags of
`job_state_string_complete`), the reasons those of `job_state_reason_string` and the free texts that slurmctld puts in
their place. Nothing here raises: a word that is not in the table is kept as it came, does not end a job and blames
nobody.
"""

from __future__ import annotations

import re
import signal
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.limits import limit_in_words, tame
from nexapod_batch.plugins import BackendState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STATES", "Blame", "StateWord", "end_in_words", "read_state", "reason_in_words"]

_NO_LOG = 53  # what Slurm reports, as a signal, for a job whose output file could not be opened
_SHELL = 128  # what shells add to the number of a signal


class Blame(StrEnum):
    """Whose doing an end was, as far as the scheduler knows."""

    TASK = "task"  # over its own time or memory
    INFRASTRUCTURE = "infrastructure"
    PERSON = "person"


class StateWord(Struct, frozen=True, kw_only=True):
    """One state of a job, understood."""

    native: str  # as Slurm wrote it
    state: BackendState  # never UNKNOWN: that would mean "not there, launch again"
    ended: bool  # it will not run again
    blame: Blame | None = None  # of an end; None where the state does not say
    known: bool = True  # False: a word that is not in the table
    stopped: bool = False  # it has its hosts and does not go on for now
    out_of_memory: bool = False  # the kernel killed something of it

    @property
    def at_fault(self) -> bool:
        """Say whether it ended otherwise than well or by a person's wish."""
        return self.ended and self.state is BackendState.FAILED and self.blame is not Blame.PERSON


def _word(state: BackendState, *, ended: bool = False, blame: Blame | None = None) -> StateWord:
    return StateWord(native="", state=state, ended=ended, blame=blame)


_QUEUED = _word(BackendState.QUEUED)
_ACTIVE = _word(BackendState.ACTIVE)
_STOPPED = replace(_ACTIVE, stopped=True)
_LOST = _word(BackendState.FAILED, ended=True, blame=Blame.INFRASTRUCTURE)
_OVER = _word(BackendState.FAILED, ended=True, blame=Blame.TASK)
_OUT_OF_MEMORY = replace(_OVER, out_of_memory=True)
_CANCELLED = _word(BackendState.CANCELED, ended=True, blame=Blame.PERSON)
_COMPLETED = _word(BackendState.COMPLETED, ended=True)
_FAILED = _word(BackendState.FAILED, ended=True)

#: Every word and compact code, upper case.
STATES = {
    # base states
    "PENDING": _QUEUED,
    "PD": _QUEUED,
    "RUNNING": _ACTIVE,
    "R": _ACTIVE,
    "SUSPENDED": _STOPPED,
    "S": _STOPPED,
    "COMPLETED": _COMPLETED,
    "CD": _COMPLETED,
    "CANCELLED": _CANCELLED,
    "CA": _CANCELLED,
    "FAILED": _FAILED,  # the batch script ended with another code than 0: what was not reported is lost
    "F": _FAILED,
    "TIMEOUT": _OVER,
    "TO": _OVER,
    "OUT_OF_MEMORY": _OUT_OF_MEMORY,
    "OOM": _OUT_OF_MEMORY,
    "NODE_FAIL": _LOST,
    "NF": _LOST,
    "PREEMPTED": _LOST,
    "PR": _LOST,
    "BOOT_FAIL": _LOST,
    "BF": _LOST,
    "DEADLINE": _LOST,
    "DL": _LOST,
    # flags that are shown in place of the base state
    "COMPLETING": _ACTIVE,  # its final word is still to come
    "CG": _ACTIVE,
    "STAGE_OUT": _ACTIVE,
    "SO": _ACTIVE,
    "CONFIGURING": _QUEUED,  # it has hosts, but they boot
    "CF": _QUEUED,
    "EXPEDITING": _QUEUED,
    "RESIZING": _ACTIVE,
    "RS": _ACTIVE,
    "REQUEUED": _QUEUED,  # starts again; the runner's claim keeps its replicas from running twice
    "RQ": _QUEUED,
    "REQUEUED_CRON": _QUEUED,
    "RC": _QUEUED,
    "REQUEUE_FED": _QUEUED,
    "RF": _QUEUED,
    "REQUEUE_HOLD": _QUEUED,
    "RH": _QUEUED,
    "SPECIAL_EXIT": _QUEUED,
    "SE": _QUEUED,
    "STOPPED": _STOPPED,
    "ST": _STOPPED,
    "REVOKED": _LOST,  # another cluster of the federation took it
    "RV": _LOST,
    "RESV_DEL_HOLD": _QUEUED,
    "RD": _QUEUED,
    "SIGNALING": _ACTIVE,
    "SI": _ACTIVE,
    # flags that only the complete form shows
    "POWER_UP_NODE": _QUEUED,
    "LAUNCH_FAILED": _LOST,
    "RECONFIG_FAIL": _LOST,
    "UPDATE_DB": _ACTIVE,
}

_BY_UID = re.compile(r"\s+BY\s+\S+\Z")


def read_state(text: str) -> StateWord:
    """Return the meaning of a state as any Slurm command prints it.

    Understood are `CANCELLED by 1000`, words cut to a column's width (`CANCELLED+`, `OUT_OF_ME+`), compact codes, and
    flags behind the base state (`PENDING,LAUNCH_FAILED`).
    """
    native = tame(text)
    parts = [_look_up(_BY_UID.sub("", part.strip())) for part in native.upper().split(",")]
    base = parts[0]
    if base is None:
        return StateWord(native=native, state=BackendState.ACTIVE, ended=False, known=False)
    if base.ended:
        base = _ended_with(base, [part for part in parts[1:] if part is not None])
    return replace(base, native=native)


def _ended_with(base: StateWord, flags: Sequence[StateWord]) -> StateWord:
    """Return what an end means with flags behind it: they may say that it is still to come, or whose fault it was."""
    going_on = next((flag for flag in flags if not flag.ended), None)
    if going_on is not None:
        return going_on
    at_fault = next((flag for flag in flags if flag.blame), None)
    if at_fault is not None and base.blame is None:
        return replace(base, blame=at_fault.blame)
    return base


def _look_up(word: str) -> StateWord | None:
    if not word.endswith("+"):
        return STATES.get(word)
    cut = word.removesuffix("+")
    if cut in STATES:
        return STATES[cut]
    candidates = {meaning for name, meaning in STATES.items() if len(cut) >= 3 and name.startswith(cut)}
    return candidates.pop() if len(candidates) == 1 else None


def end_in_words(state: str, code: int | None, number: int | None) -> str:
    """Return how a job ended: Slurm's word, with exit code or signal where it told them."""
    if number is None and code is not None and code > _SHELL:  # as a shell tells a signal of its child
        code, number = 0, code - _SHELL
    if number == _NO_LOG:
        return f"{state} (its log could not be opened there: is there room, and does the compute node see the folder?)"
    if number:
        return f"{state} (ended by {_signal_name(number)})"
    return f"{state} (exit code {code})" if code else state


def _signal_name(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def reason_in_words(reason: str) -> str:
    """Return Slurm's reason as a plain sentence that says what to do where something can be done.

    An unknown reason comes back as it is; `None` and an empty one say nothing and give "".
    """
    raw = tame(reason.strip().removeprefix("(").removesuffix(")"))
    if raw in {"", "None", "null"}:
        return ""
    word, _, rest = raw.partition(",")
    key = word.strip().lower()
    if key == "reqnodenotavail":
        return _not_available(rest.strip(" _"))
    if raw.lower() in _REASONS:
        return _REASONS[raw.lower()]
    limit = limit_in_words(raw)
    if limit:
        return limit
    several = raw.lower().split(",")  # squeue prints the pending elements of an array as one
    if len(several) > 1 and _REASONS.keys() >= set(several):
        return "its array waits for several reasons: " + "; or ".join(_REASONS[one] for one in several)
    text = raw.replace("_", " ")
    for pattern, sentence in _TEXTS:
        found = pattern.match(text)
        if found:
            return sentence.format(*found.groups())
    return raw


def _not_available(rest: str) -> str:
    detail = rest.replace("_", " ")
    _, marker, nodes = rest.partition("UnavailableNodes:")
    if marker and nodes:
        return f"nodes that it needs are down, drained or reserved ({nodes}); waits until they are back"
    if "maintenance" in detail.lower():
        return "nodes that it needs are reserved for maintenance; a shorter time limit may let it start before"
    if "reserved" in detail.lower():
        return "nodes that it needs may be reserved for others; a shorter time limit may let it start before"
    return "nodes that it needs are down, drained or reserved; a shorter time limit may let it start before maintenance"


_ASK_LESS = "ask for less, or for another partition"
_REASONS = {
    "priority": "jobs of higher priority go first; wait",
    "resources": "waits for free resources; it is near the front of the queue",
    "dependency": "waits for another job to end",
    "dependencyneversatisfied": "waits for a job whose end can no longer be as asked; cancel it",
    "jobhelduser": "held by its user; release it with scontrol release",
    "jobheldadmin": "held by an administrator; ask the site",
    "jobholdmaxrequeue": "held because it was requeued too often; ask the site, or cancel it",
    "begintime": "its earliest start time has not come",
    "licenses": "waits for a licence",
    "reservation": "waits for its reservation to begin or to have room",
    "reservationdeleted": "its reservation was deleted; cancel it and submit without --reservation",
    "reservationinvalid": "its reservation cannot be used; check the name and who may use it",
    "partitiondown": "the partition is down; waits until the site brings it up, or use another partition",
    "partitioninactive": "the partition starts no jobs; use another partition",
    "partitiontimelimit": "asks for more time than the partition allows; ask for less time, or another partition",
    "partitionnodelimit": "asks for more or fewer nodes than the partition allows, or they are down; " + _ASK_LESS,
    "partitionconfig": "breaks a limit of the partition; " + _ASK_LESS,
    "accountnotallowed": "the account may not use this partition; use another account or partition",
    "accountingpolicy": "a limit of the account or QOS keeps it back; ask the site which",
    "invalidaccount": "the account is unknown or not yours; set another account",
    "invalidqos": "the QOS is unknown or not allowed; set another QOS",
    "qosnotallowed": "the QOS is not allowed for this account or partition; set another QOS",
    "qosusagethreshold": "the usage threshold of the QOS is passed; wait, or use another QOS",
    "qosjoblimit": "the QOS has reached its number of jobs; wait until some end",
    "qosresourcelimit": "the QOS has reached one of its resource limits; wait until jobs end",
    "qostimelimit": "asks for more time than the QOS allows; ask for less time, or another QOS",
    "associationjoblimit": "the account has reached its number of jobs; wait until some end",
    "associationresourcelimit": "the account has reached one of its resource limits; wait until jobs end",
    "associationtimelimit": "the account has reached its time limit; ask for less time, or ask the site",
    "badconstraints": "no node can ever satisfy what it asks for; cancel it and ask for features that exist",
    "constraints": "no node satisfies what it asks for at this time",
    "maxmemperlimit": "asks for more memory for each CPU or node than the site allows; ask for less memory",
    "nodedown": "a node that it needs is down; waits until it is back",
    "frontenddown": "no front-end node is up; waits until the site brings one up",
    "jobarraytasklimit": "the array has as many elements running as it may; wait",
    "cleaning": "is still cleaned up after its last run",
    "prolog": "the site's prolog is still running",
    "scheddefer": "is looked at in the next scheduling round",
    "fedjoblock": "waits for the clusters of the federation to agree on who starts it",
    "burstbufferresources": "waits for room in the burst buffer",
    "burstbufferstagein": "its data are being staged in",
    "burstbufferoperation": "a burst buffer operation failed; cancel it and ask the site",
    "mpiportsbusy": "waits for free MPI ports",
    "nvidiaimexchannels": "waits for free NVIDIA IMEX channels",
    "maxpoweredupnodes": "the site has as many nodes powered up as it allows; wait",
    "powernotavail": "waits for electrical power under the site's cap",
    "powerreserved": "waits for electrical power that is reserved for others",
    "blockmaxerror": "the block of nodes has too many errors; ask the site",
    "blockfreeaction": "the block of nodes is being freed; wait",
    "deadline": "could not end before its deadline",
    "inactivelimit": "reached the site's limit for inactive jobs",
    "timelimit": "reached its time limit; ask for more time",
    "outofmemory": "used more memory than it asked for; ask for more memory",
    "nonzeroexitcode": "the batch script ended with an error; see its log",
    "joblaunchfailure": "Slurm could not start it on the node; see the log, or ask the site",
    "raisedsignal": "ended by a signal",
    "systemfailure": "Slurm or a node failed",
}

_HELD = "held after {}; release it with scontrol release, or cancel it and let it be launched again"
#: Sentences in place of a word; blanks may have come as underscores.
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        (r"launch failure limit exceeded requeued held", _HELD.format("it failed to start too often")),
        (r"launch failed requeued held", _HELD.format("it failed to start")),
        (r"user env retrieval failed requeued held", _HELD.format("the user's environment could not be read")),
        (r"job requeued in held state", _HELD.format("it was requeued")),
        (r"job requeued in special exit state", _HELD.format("it was requeued with a special exit code")),
        (
            r"Nodes required for job are DOWN, ?DRAINED",
            "nodes that it needs are down, drained or reserved for partitions of higher priority; wait",
        ),
        (r"Reservation (\S+) was deleted", "its reservation {0} was deleted; cancel it and submit without it"),
        (r"Reservation (\S+) is invalid", "its reservation {0} cannot be used; check the name and who may use it"),
        (r"Reservation (\S+?),? which this job was running under,? has ended", "its reservation {0} has ended"),
        (
            r"uid \d+ not in group permitted to use this partition \((\S+?)\)",
            "you may not use the partition {0}; use another partition, or ask the site",
        ),
        (
            r"Job is at or exceeds QOS (\S+?)'s (?:group )?max TRES\((\S+?)\) minutes",
            "the QOS {0} has used up its {1} minutes; use another QOS, or ask the site for more",
        ),
        (
            r"Job is at or exceeds association \(acc=([^/\s]*)\S*\) (?:group )?max TRES\((\S+?)\) minutes",
            "the account {0} has used up its {1} minutes; use another account, or ask the site for more",
        ),
        (r"Job is at or exceeds QOS (\S+?)'s group wall limit", "the QOS {0} has used up its wall time; ask the site"),
        (
            r"Job is at or exceeds association \(acc=([^/\s]*)\S*\) group wall limit",
            "the account {0} has used up its wall time; ask the site",
        ),
        (r"RaisedSignal:(\d+)", "ended by signal {0}"),
    )
)
