"""What it means when sbatch takes no job: for now or for good, for its size or its words, and the step that helps.

The table goes through the texts of `slurm_errno.c` (22.05 to 26.05) that a submission can meet, the limits that
slurmctld names before them, and what sbatch says itself. What is in none of them was said by the controller or by a
site's job_submit plug-in: it decided, and would decide the same again. Where nothing reached a controller it is tried
again.
"""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from nexapod_batch.plugins import HOPELESS

__all__ = ["Kind", "Refusal", "read_refusal"]

_READ = 10_000  # characters of what sbatch said that are looked at: the last ones
_SAID = 500  # characters of Slurm's words that are kept


class Kind(StrEnum):
    """How a refusal is to be taken."""

    FULL = "full"  # too many jobs for now: some will end, or fewer would be taken
    PASSING = "passing"  # tried again
    SIZE = "size"  # for what is asked: a job that is packed less tightly may be taken
    WORDS = "words"  # for an account, a partition, an option: packing changes nothing


class Refusal(Struct, frozen=True, kw_only=True):
    """Why sbatch did not take a job."""

    kind: Kind
    got: str  # Slurm's words, on one line
    step: str = ""  # what helps, where it is for good


_ASK_LESS = "ask for less in [resources], or for another partition, and submit it again"
_ACCOUNT = (
    "name an account that you may charge: --account, or account in [scheduler] of the site file "
    "(sacctmgr show associations lists yours)"
)
_PARTITION = "name a partition that you may use: --partition, or correct [[partitions]] of the site file"
_QOS = "name a QOS that you may use: qos in the descriptor's table of the site, or in [scheduler] of the site file"
_OPTION = "correct the job's table of the site, or extra_directives and skip_directives in [scheduler] of the site file"
_RESERVATION = "name a reservation that you may use, or none"
_FEATURE = "ask for features that hosts of the partition have: sinfo --format='%P %f'"
_GPUS = "ask for GPUs that the partition has; see gpus, gpu_types and gpu_option in the site file"
_MEMORY = "ask for less memory, or set memory in [scheduler] of the site file to what the site wants"
_PERSON = "ask who runs the cluster"
_SAY = "say in [resources] what the site wants to know"

#: The first that is found counts.
_TABLE: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    (
        Kind.FULL,
        "",
        (
            r"\w{0,30}submitjobs?(?:per(?:user|account))?limit",
            r"maxjobcount limit reached",
        ),
    ),
    # Nobody decided, or something is closed that will be open again.
    (
        Kind.PASSING,
        "",
        (
            r"unable to contact slurm controller|unable to connect to (?:any )?(?:database|slurm)",
            r"communication (?:connection|shutdown) failure|message (?:send|receive) failure",
            r"connection (?:refused|reset|timed out|rejected|forced closed)|no route to host",
            r"socket timed out|zero bytes were transmitted|header lengths are longer|(?:read|write) would block",
            r"unexpected (?:message received|missing socket)|insane message length",
            r"rate limit exceeded|temporarily unable to accept job|resource temporarily unavailable",
            r"unable to resolve|could not establish a configuration source|can't find an address",
            r"munge|protocol authentication error|authentication credential|cannot unpack credential",
            r"standby mode|shutting down|internal error|error generating job credential|duplicate job id",
            r"cannot allocate memory|no space left|i/o error writing script",
            r"required (?:partition|node) not available|partition in down state",
            r"system submissions disabled|operation is presently disabled|requested nodes are busy",
            r"licenses currently unavailable|waiting for burst buffer|powered up nodes",
            r"reservation (?:not usable now|is in use)|maintenance reservation",
            r"qos usage threshold|prologslurmctld is still running|error configuring interconnect",
            r"invalid (?:user|group) id|job locked by another sibling|try again (?:later|momentarily)|please retry",
        ),
    ),
    (
        Kind.WORDS,
        _ACCOUNT,
        (
            r"invalid account|invalid or unknown association",
            r"account.{0,60}not (?:permitted|available|allowed)",
        ),
    ),
    (
        Kind.WORDS,
        _PARTITION,
        (
            r"invalid partition|no partition specified|multiple partition job request",
            r"not permitted to use this partition|partition.{0,60}not (?:permitted|allowed)",
        ),
    ),
    (
        Kind.WORDS,
        _QOS,
        (
            r"invalid (?:relative )?qos|qos.{0,60}not (?:permitted|available|allowed)",
        ),
    ),
    (
        Kind.WORDS,
        _RESERVATION,
        (
            r"access denied to requested reservation|requested reservation is invalid",
        ),
    ),
    (
        Kind.WORDS,
        _FEATURE,
        (
            r"invalid (?:preferred )?feature|--batch option is invalid",
        ),
    ),
    (
        Kind.WORDS,
        _OPTION,
        (
            r"invalid (?:wckey|license|mcs_label|cluster|extra constraints|node name|time specified|--nice)",
            r"burst buffer|dependency problem|circular job|requested nodes not in this partition",
            r"unrecognized option|unknown option|invalid option|invalid (?:script|directive)|invalid job array",
            r"option .{0,60}(?:requires|doesn't allow) an argument|batch script (?:contains|is empty)",
        ),
    ),
    (
        Kind.WORDS,
        _PERSON,
        (
            r"pathname of a file.{0,60}too long|incompatible versions|not supported on this system",
            r"no eligible clusters|plugin initialization failed|only batch jobs",
        ),
    ),
    (
        Kind.SIZE,
        _GPUS,
        (
            r"generic resource|\bgres\b|restrictedcorespergpu|trackable resource",
        ),
    ),
    (
        Kind.SIZE,
        _MEMORY,
        (
            r"memory (?:specification|required)|memory.{0,40}not available",
        ),
    ),
    (
        Kind.SIZE,
        _SAY,
        (
            r"job size specification|time limit specification required",
        ),
    ),
    (
        Kind.SIZE,
        _ASK_LESS,
        (
            r"(?:node|cpu|task|core) count specification invalid|more (?:processors|nodes) requested",
            r"requested (?:node|partition|topology) configuration|requested time limit is invalid",
            r"job violates accounting/qos policy|limit reached|exceeds?\b",
        ),
    ),
    (
        Kind.WORDS,
        _ACCOUNT,
        (
            r"access/permission denied|user.{0,60}not (?:permitted|allowed)",
        ),
    ),
)
_ROWS = tuple((re.compile("|".join(patterns), re.IGNORECASE), kind, step) for kind, step, patterns in _TABLE)
#: That a controller answered, or that sbatch itself would not take the script.
_DECIDED = re.compile(r"batch job submission failed:|^sbatch: (?:error|fatal):", re.IGNORECASE | re.MULTILINE)
_UNKNOWN = "correct what Slurm, or a plug-in of the site, says there, and submit it again; or ask who runs the cluster"


def read_refusal(stderr: str, code: int) -> Refusal:
    """Return what an sbatch that failed means by what it printed on stderr and by its exit code."""
    words = " ".join(stderr[-_READ:].split())
    got = "".join(char if char.isprintable() else "?" for char in words[-_SAID:]) or f"exit code {code}"
    for pattern, kind, step in _ROWS:
        if found := pattern.search(words):
            if kind is Kind.FULL:
                got = found[0]
            return Refusal(kind=kind, got=got, step=f"{step}; {HOPELESS}" if step else "")
    if _DECIDED.search(stderr):
        return Refusal(kind=Kind.SIZE, got=got, step=f"{_UNKNOWN}; {HOPELESS}")
    return Refusal(kind=Kind.PASSING, got=got)
