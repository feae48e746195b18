"""Slurm's words: every state and reason of its sources is known, and no other word does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexapod_backends.slurm.cli.limits import Limited, limited
from nexapod_backends.slurm.cli.states import STATES, Blame, end_in_words, read_state, reason_in_words

from nexapod_batch.plugins import BackendState

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
FLAGS = ["LAUNCH_FAILED", "POWER_UP_NODE", "RECONFIG_FAIL", "UPDATE_DB"]  # only in the complete form


def _lines(name: str) -> list[str]:
    return (GOLDEN / name).read_text("utf-8").split()


def test_every_word_of_every_version_is_known() -> None:
    """The words in the sources of Slurm 20.11 to 26.05, long and compact, are all in the table, and nothing else is."""
    assert {*_lines("states.txt"), *FLAGS} == set(STATES)


@pytest.mark.parametrize(
    ("word", "state", "ended", "blame"),
    [
        ("PENDING", BackendState.QUEUED, False, None),
        ("PD", BackendState.QUEUED, False, None),
        ("CONFIGURING", BackendState.QUEUED, False, None),
        ("REQUEUE_HOLD", BackendState.QUEUED, False, None),
        ("SPECIAL_EXIT", BackendState.QUEUED, False, None),
        ("REQUEUED", BackendState.QUEUED, False, None),
        ("RUNNING", BackendState.ACTIVE, False, None),
        ("SUSPENDED", BackendState.ACTIVE, False, None),
        ("STOPPED", BackendState.ACTIVE, False, None),
        ("COMPLETING", BackendState.ACTIVE, False, None),
        ("STAGE_OUT", BackendState.ACTIVE, False, None),
        ("COMPLETED", BackendState.COMPLETED, True, None),
        ("FAILED", BackendState.FAILED, True, None),
        ("TIMEOUT", BackendState.FAILED, True, Blame.TASK),
        ("OUT_OF_MEMORY", BackendState.FAILED, True, Blame.TASK),
        ("OOM", BackendState.FAILED, True, Blame.TASK),
        ("PREEMPTED", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("NODE_FAIL", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("BOOT_FAIL", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("DEADLINE", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("REVOKED", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("CANCELLED", BackendState.CANCELED, True, Blame.PERSON),
        ("CANCELLED by 1000", BackendState.CANCELED, True, Blame.PERSON),
        ("CANCELLED+", BackendState.CANCELED, True, Blame.PERSON),
        ("OUT_OF_ME+", BackendState.FAILED, True, Blame.TASK),
        ("  running ", BackendState.ACTIVE, False, None),
        ("PENDING,LAUNCH_FAILED", BackendState.QUEUED, False, None),
        ("FAILED,LAUNCH_FAILED", BackendState.FAILED, True, Blame.INFRASTRUCTURE),
        ("COMPLETED,COMPLETING", BackendState.ACTIVE, False, None),
        ("TIMEOUT,SOMETHING_NEW", BackendState.FAILED, True, Blame.TASK),
    ],
)
def test_state_means(word: str, state: BackendState, ended: bool, blame: Blame | None) -> None:
    """A word has the meaning that the core acts on, however Slurm decorates it."""
    found = read_state(word)
    assert (state, ended, blame, True) == (found.state, found.ended, found.blame, found.known)


@pytest.mark.parametrize("word", ["", "?", "WOBBLING", "COMPLET+", "CO+", "R+X", "UNINITIALISED", "+"])
def test_unknown_word_ends_nothing(word: str) -> None:
    """A word from a version to come is kept, ends nothing, blames nobody, and does not cause a second launch."""
    found = read_state(word)
    assert (word, False, False, None) == (found.native, found.known, found.ended, found.blame)
    assert found.state is not BackendState.UNKNOWN


@given(st.text(max_size=2_000))
def test_no_text_breaks_the_tables(text: str) -> None:
    """Whatever a command prints, there is an answer, short enough and fit for a terminal."""
    found = read_state(text)
    assert found.known or not found.ended
    for shown in (found.native, reason_in_words(text)):
        assert shown.isprintable()
        assert len(shown) <= 500


@pytest.mark.parametrize("word", _lines("reasons.txt"))
def test_every_reason_has_a_sentence(word: str) -> None:
    """Every reason code in the sources is put into words; `None` says nothing."""
    sentence = reason_in_words(word)
    assert (sentence == "") if word == "None" else (" " in sentence and word not in sentence)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("(Priority)", "jobs of higher priority go first"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "(n[1-3])"),
        ("ReqNodeNotAvail,_Reserved_for_maintenance", "maintenance"),
        ("ReqNodeNotAvail, May be reserved for other job", "reserved for others"),
        ("launch_failed_requeued_held", "release it with scontrol release"),
        ("launch failed requeued held", "release it with scontrol release"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions", "drained"),
        ("Reservation spring was deleted", "reservation spring was deleted"),
        ("AssocGrpCPUMinutesLimit", "the account has used up its CPU minutes"),
        ("QOSMaxJobsPerUserLimit", "your jobs have reached the QOS's limit (running jobs)"),
        ("QOSMinCpuNotSatisfied", "asks for less (CPUs) than the QOS demands"),
        ("MaxCpuRunMinsPerUser", "CPU minutes of running jobs"),
        ("uid 1000 not in group permitted to use this partition (big). groups allowed: hpc", "the partition big"),
        ("Job is at or exceeds QOS long's group max TRES(cpu) minutes of 5 with 6", "QOS long has used up its cpu"),
        (
            "Job is at or exceeds association (acc=phys/user=ada/part=) group wall limit 5 with 6",
            "account phys has used up",
        ),
        ("RaisedSignal:9(Killed)", "ended by signal 9"),
    ],
)
def test_reason_says(reason: str, words: str) -> None:
    """Reasons come as a code, a code with details, or as a text, with blanks or underscores."""
    assert words in reason_in_words(reason)


@pytest.mark.parametrize("reason", ["FluxCapacitorEmpty", "MaxFooPerBar", "{0} {evil}", "Grp"])
def test_unknown_reason_is_shown_as_it_is(reason: str) -> None:
    """A reason from a version to come is better than none."""
    assert reason == reason_in_words(reason)


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (Limited.JOB, "QOSMaxCpuPerJobLimit AssocMaxMemPerJob QOSMaxWallDurationPerJobLimit QOSMaxCpuMinutesPerJobLimit MaxGRESPerNode QOSTimeLimit (QOSMaxNodePerJobLimit)"),
        (Limited.USER, "QOSMaxCpuPerUserLimit QOSMaxMemoryPerUser QOSMaxGRESPerUser MaxCpuRunMinsPerUser"),
        (Limited.GROUP, "QOSGrpCpuLimit AssocGrpCpuLimit AssocGrpMemLimit QOSGrpGRES AssocGrpCPURunMinutesLimit QOSGrpNodeLimit MaxCpuPerAccount QOSMaxMemoryPerAccount"),
        (None, "QOSGrpJobsLimit QOSGrpSubmitJobsLimit AssocGrpCPUMinutesLimit QOSGrpWallLimit AssocGrpWallLimit QOSMaxJobsPerUserLimit QOSMinCpuNotSatisfied Priority"),
    ],
)  # fmt: skip
def test_whose_limit_a_reason_names(kind: Limited | None, reasons: str) -> None:
    """A smaller job helps where a size is limited, and not where a number is, or where something is used up."""
    assert {limited(reason) for reason in reasons.split()} == {kind}


@pytest.mark.parametrize(
    ("state", "code", "number", "wanted"),
    [
        ("FAILED", 3, 0, "FAILED (exit code 3)"), ("FAILED", 0, 9, "FAILED (ended by signal 9, SIGKILL)"), ("OUT_OF_MEMORY", 0, 125, "OUT_OF_MEMORY (ended by signal 125)"),
        ("FAILED", 139, None, "FAILED (ended by signal 11, SIGSEGV)"), ("NODE_FAIL", None, None, "NODE_FAIL"), ("COMPLETED", 0, 0, "COMPLETED"),
        ("FAILED", 0, 53, "FAILED (its log could not be opened there: is there room, and does the compute node see the folder?)"),
    ],
)  # fmt: skip
def test_how_a_job_ended_is_said_with_its_code_or_signal(state: str, code: int | None, number: int | None, wanted: str) -> None:
    """What the accounting tells of an end reaches the person."""
    assert end_in_words(state, code, number) == wanted
