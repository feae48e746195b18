"""What an sbatch that fails means: the texts of slurm_errno.c (22.05 to 26.05), the limits that slurmctld names, others."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.cli.commands import FullError, NoIdError, RefusedError, Slurm, TooLargeError
from nexapod_backends.slurm.cli.refusals import Kind, read_refusal
from nexapod_backends.slurm.transport import Done

from nexapod_batch.errors import SchedulerError
from nexapod_batch.model.site import Scheduler, Site
from nexapod_batch.plugins import HOPELESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
#: Texts of slurm_errno.c that a submission can meet.
PASSING = [
    "Required partition not available (inactive or drain)", "Required node not available (down, drained or reserved)", "Partition in DOWN state",
    "System submissions disabled", "Requested operation is presently disabled", "Requested nodes are busy", "Licenses currently unavailable",
    "Requested reservation not usable now", "Requested reservation is in use", "Job can not start due to maintenance reservation.",
    "Requested account has breached requested QOS usage threshold", "PrologSlurmctld is still running", "Error configuring interconnect",
    "Unable to contact slurm controller (connect failure)", "Unable to contact slurm controller (receive failure)", "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received", "Header lengths are longer than data received", "Communication connection failure", "Message send failure",
    "Message receive failure", "Unexpected message received", "Insane message length", "Protocol authentication error", "Invalid authentication credential",
    "Authentication credential expired", "Cannot unpack credential", "Rate limit exceeded, please retry momentarily", "Rate limit exceeded, please retry later",
    "Slurm backup controller in standby mode", "Controller is in standby mode, try a different controller", "Slurm internal error, contact system administrator",
    "Error generating job credential", "Duplicate job id", "I/O error writing script/environment to file", "Unable to connect to database", "Invalid user id",
    "Invalid group id", "Job locked by another sibling", "Waiting for burst buffer", "Max powered up nodes reached", "Connection timed out establishing",
    "Process is shutting down and closing all communications", "Can't find an address, check slurm.conf",
]  # fmt: skip
WORDS = [
    "Invalid partition name specified", "No partition specified or system default partition", "User's group not permitted to use this partition",
    "Invalid account or account/partition combination specified", "Invalid or unknown association", "Invalid qos specification", "Invalid wckey specification",
    "Access/permission denied", "Access denied to requested reservation", "Requested reservation is invalid", "Invalid feature specification",
    "Invalid license specification", "Job dependency problem", "Invalid job array specification", "Invalid node name specified",
    "Multiple partition job request not supported when a partition is set in the association", "Burst Buffer permission denied", "Invalid --nice value",
    "Incompatible versions of client and server code", "Requested operation not supported on this system", "Requested nodes not in this partition",
    "Pathname of a file, directory or other parameter too long", "No eligible clusters for federated job", "Invalid mcs_label specified",
]  # fmt: skip
SIZES = [
    "Requested node configuration is not available", "More processors requested than permitted", "Node count specification invalid", POLICY,
    "Requested partition configuration not available now", "Requested time limit is invalid (missing or exceeds some limit)", "Task count specification invalid",
    "CPU count specification invalid", "Invalid generic resource (gres) specification", "Insufficient GRES available in allocation",
    "Memory required by task is not available", "Memory specification can not be satisfied", "Job size specification needs to be provided",
    "Invalid Trackable RESource (TRES) specification", "Requested topology configuration is not available", "Unspecified error",
    "a text of a later Slurm that nobody knows",
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in ((Kind.PASSING, PASSING), (Kind.WORDS, WORDS), (Kind.SIZE, SIZES)) for text in texts]
)
def test_each_text_of_slurm_has_its_kind(kind: Kind, text: str) -> None:
    """What is for good says what helps, and that a retry alone does not; what passes says neither."""
    found = read_refusal(FAILED + text + "\n", 1)
    assert found.kind is kind
    assert text in found.got
    assert (HOPELESS in found.step) is (kind is not Kind.PASSING)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}{POLICY}", Kind.FULL),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{FAILED}{POLICY}", Kind.FULL),
        (f"sbatch: error: MaxSubmitJobsPerAccount\n{FAILED}{POLICY}", Kind.SIZE),  # not a word that Slurm writes
        (f"sbatch: error: QOSMaxCpuPerJobLimit\n{FAILED}{POLICY}", Kind.SIZE),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{FAILED}{POLICY}", Kind.SIZE),
        (f"sbatch: error: You are over your quota of 10 TB, delete files first\n{FAILED}Unspecified error", Kind.SIZE),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Kind.PASSING),
        ("sbatch: unrecognized option '--nonsense=1'\nTry \"sbatch --help\" for more information", Kind.WORDS),
        ("sbatch: error: Invalid --exclude specification: a[", Kind.SIZE),
        ("sbatch: fatal: Could not establish a configuration source", Kind.PASSING),
        ('sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2"', Kind.PASSING),
        ("Killed", Kind.PASSING), ("", Kind.PASSING), ("bash: fork: retry: Resource temporarily unavailable", Kind.PASSING),
        ("sbatch: error while loading shared libraries: libmunge.so.2: cannot open shared object file", Kind.PASSING),
    ],
)  # fmt: skip
def test_other_words_have_theirs(said: str, kind: Kind) -> None:
    """A controller or a plug-in that said no would say it again; where nobody decided it is tried again."""
    assert read_refusal(said, 1).kind is kind


@pytest.mark.parametrize("said", ["", "\n", "x" * 100_000, "\x1b[31m\x00sbatch: error: \u202e", f"{FAILED}\udcff"])
def test_words_are_tamed(said: str) -> None:
    """They are shown on terminals and kept in a database."""
    found = read_refusal(said, 7)
    assert found.got
    assert len(found.got) <= 500
    assert found.got.isprintable()


def test_the_installed_slurm_has_no_text_that_is_taken_for_another_kind() -> None:
    """Every text of ours that the library here knows is spelt as it spells it."""
    listed = subprocess.run(["strings", "/usr/lib/x86_64-linux-gnu/slurm-wlm/libslurmfull.so"], capture_output=True, text=True, check=True).stdout
    known = set(listed.splitlines())
    assert len(known & {*PASSING, *WORDS, *SIZES}) > 50


class Says:
    """A transport whose every command answers the same."""

    def __init__(self, code: int, out: str, err: str) -> None:
        """Take the answer."""
        self.done = Done(code, out, err)

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:  # noqa: ARG002
        """Give it."""
        return self.done


def slurm(code: int, out: str, err: str) -> Slurm:
    """Return the commands of a site that answer so."""
    return Slurm(Site(name="here", scheduler=Scheduler(type="slurm")), Says(code, out, err))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "error"),
    [(PASSING[0], SchedulerError), (WORDS[0], RefusedError), (SIZES[0], TooLargeError), ("QOSMaxSubmitJobPerUserLimit", FullError)],
)
def test_each_kind_is_an_error_of_its_own(text: str, error: type[Exception]) -> None:
    """Callers tell them apart by class."""
    with pytest.raises(error) as caught:
        slurm(1, "", FAILED + text).submit("#!/bin/sh\n")
    assert type(caught.value) is error


@pytest.mark.parametrize("out", ["", "Welcome\n17\n", "17\nGoodbye\n", "17;alpha\n18\n", "job 17"])
def test_an_id_among_other_words_is_looked_for_by_name(out: str) -> None:
    """The job has our name: a number that stands anywhere is not believed."""
    with pytest.raises(NoIdError):
        slurm(0, out, "").submit("#!/bin/sh\n")


@pytest.mark.parametrize(
    ("code", "err", "fails"),
    [
        (0, "", False), (8, "scancel: error: Kill job error on job id 5: Unable to contact slurm controller (connect failure)", True),
        (0, "scancel: error: Kill job error on job id 5: Socket timed out on send/recv operation", True), (1, "", True),
        (1, "scancel: error: Kill job error on job id 5: Job/step already completing or completed", False),
        (1, "scancel: error: Kill job error on job id 5_3: Invalid job id specified\n", False),
        (1, "scancel: error: Kill job error on job id 5: Invalid job id specified\nscancel: error: Kill job error on job id 6: Access/permission denied", True),
    ],
)  # fmt: skip
def test_a_scancel_that_reached_nobody_is_an_error(code: int, err: str, fails: bool) -> None:
    """What ended already needs no cancelling."""
    if fails:
        with pytest.raises(SchedulerError, match="scancel failed"):
            slurm(code, "", err).cancel(["5"])
    else:
        slurm(code, "", err).cancel(["5"])
