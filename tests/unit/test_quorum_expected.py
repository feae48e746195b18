"""What a statement may say of a replica: whatever contradicts the pinned job is found, whichever field says it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from nexapod_batch.model.job import (
    Array,
    Checkpoint,
    Comparator,
    CompareRule,
    Container,
    Domain,
    Input,
    Isolation,
    Job,
    Output,
    Program,
    QuorumPolicy,
    Resources,
)
from nexapod_batch.model.replica import Continuation, ReplicaName
from nexapod_batch.quorum.expected import MAX_SKEW_MS, Expected, Place, isolation_at_least
from nexapod_batch.trust.statement import (
    NO_DIGEST,
    NO_VOTE,
    ContainerUse,
    GpuUse,
    Normalizer,
    Outcome,
    SavedFile,
    Statement,
    Subject,
    unread_digest,
)
from nexapod_batch.wording import sentence

A, B, C, IMAGE = "a" * 64, "b" * 64, "c" * 64, "1" * 64
NOW = 1_800_000_000_000
PLACE = Place(backend="local", host="h", given_ms=NOW, received_ms=NOW + 10_000)
GPU = GpuUse(uuid="GPU-1", model="x")

JOB = Job(
    name="j",
    command=("true",),
    array=Array(ranges=((1, 9, 1),)),
    resources=Resources(disk_mib=1),
    quorum=QuorumPolicy(agree=2, distinct=(Domain.SITE, Domain.OWNER)),
    inputs=(Input(source="/x", target="in-{task}.txt", sha256=A), Input(source="/y", target="b", sha256=B)),
    outputs=(
        Output(path="out/{task}.txt"),
        Output(path="*.csv", rule=CompareRule(comparator=Comparator.SIGNIFICANT, digits=3)),
        Output(path="near.npy", rule=CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-3, atol=0.0)),
    ),
)
CONTAINED = replace(JOB, container=Container(image="docker://x", sha256=IMAGE))
NORMALIZING = replace(
    JOB, outputs=(Output(path="out/{task}.txt", rule=CompareRule(normalize=("cat",))), *JOB.outputs[1:])
)
USED = ContainerUse(image="docker://x", sha256=IMAGE, runtime="apptainer", version="1", mode="userns", network="none")
HONEST: dict[str, Any] = {
    "job_uuid": "u", "job_digest": C, "replica": ReplicaName(1, 7, 1), "nonce": "0" * 32, "agree": 2,
    "distinct": ("site", "owner"), "backend": "local", "native_id": "", "host": "h", "isolation": "none", "classes": {},
    "outcome": Outcome.OK, "detail": "", "exit_code": 0, "wall_ms": 90, "cpu_ms": 80, "max_rss_kib": 700,
    "output_bytes": 60, "started_ms": NOW + 1, "finished_ms": NOW + 100, "builder": "k",
    "subjects": (
        Subject(name="near.npy", sha256=A, normalized=NO_DIGEST, size=10), Subject(name="out/7.txt", sha256=A, size=10),
        Subject(name="x.csv", sha256=A, normalized=B, size=10), Subject(name="y.csv", sha256=A, normalized=B, size=10),
    ),
    "manifest": False, "inputs": (("in-{task}.txt", A), ("b", B)), "stdout_sha256": C, "stderr_sha256": C, "vote": A,
}  # fmt: skip


def statement(**changes: Any) -> Statement:
    """Return an honest statement, with changes."""
    return Statement(**{**HONEST, **changes})


def subjects(*changes: tuple[int, Any]) -> tuple[Subject, ...]:
    """Return the honest subjects; (index, None) leaves one out, (index, fields) changes one, (-1, subject) adds one."""
    found: list[Subject | None] = list(HONEST["subjects"])
    for index, change in changes:
        if index < 0:
            found.append(change)
        else:
            one = HONEST["subjects"][index]
            found[index] = None if change is None else one._replace(**change)
    return tuple(one for one in found if one is not None)


STDOUT = (Subject(name="stdout", sha256=C, size=4),)


HONESTLY: dict[str, tuple[Job, dict[str, Any]]] = {
    "as declared": (JOB, {}),
    "confined": (JOB, {"isolation": "files"}),
    "in its container": (CONTAINED, {"isolation": "container", "container": USED}),
    "bare where it may be": (
        replace(JOB, container=Container(image="docker://x", sha256=IMAGE, isolation="any")), {"isolation": "files"},
    ),
    "failed before its container began": (
        CONTAINED, {"outcome": Outcome.NODE, "exit_code": None, "subjects": STDOUT},
    ),
    "failed": (JOB, {"outcome": Outcome.FAILED, "exit_code": 3, "subjects": STDOUT}),
    "killed for what it left": (JOB, {"outcome": Outcome.FAILED, "exit_code": 0, "subjects": STDOUT}),
    "no outputs but stdout": (replace(JOB, outputs=()), {"subjects": STDOUT}),
    "a clock hours behind": (JOB, {"started_ms": NOW - 40_000_000, "finished_ms": NOW - 39_000_000}),
    "a clock hours ahead": (JOB, {"started_ms": NOW + 40_000_000, "finished_ms": NOW + 41_000_000}),
    "with its GPU": (replace(JOB, resources=Resources(gpus=1)), {"gpus": (GPU,)}),
    "by another program of its own": (JOB, {"program": Program("/opt/bin/true", "/opt/bin", C)}),
    "by a program that the job brought": (JOB, {"program": Program("b", "/bin", B)}),
    "by one of whose name it knows no digest": (JOB, {"program": Program("in-7.txt", "/bin", C)}),
    "by a program that cannot be read": (JOB, {"program": Program("b", "/bin", "")}),
    "many outputs": (JOB, {"manifest": True, "subjects": (Subject(name="manifest", sha256=A, normalized=B, size=9_000),)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(HONESTLY))
def test_what_honest_runners_sign_contradicts_nothing(kind: str) -> None:
    """Every way in which a replica may end, and clocks that are hours off."""
    job, changes = HONESTLY[kind]
    assert Expected(job).contradiction(statement(**changes), PLACE) is None


CONTAINER = {"isolation": "container", "container": USED}
SAVING = replace(JOB, checkpoint=Checkpoint(paths=("state",)))
SAVED = (SavedFile("state", A, 1),)
LIES: dict[str, tuple[Job, dict[str, Any], str]] = {
    "agree": (JOB, {"agree": 1}, "quorum policy"),
    "distinct": (JOB, {"distinct": ("run",)}, "quorum policy"),
    "distinct in another order": (JOB, {"distinct": ("owner", "site")}, "quorum policy"),
    "backend": (JOB, {"backend": "slurm"}, "backend"),
    "host of a machine that is known": (JOB, {"host": "other"}, "host"),
    "variables of a site, of which its node is none": (JOB, {"passed": (("A", A),)}, "variables of a site"),
    "another program than the job brought": (JOB, {"program": Program("b", "/bin", A)}, "program"),
    "no input": (JOB, {"inputs": ()}, "inputs"),
    "one input less": (JOB, {"inputs": HONEST["inputs"][:1]}, "inputs"),
    "one input more": (JOB, {"inputs": (*HONEST["inputs"], ("c", C))}, "inputs"),
    "another input": (JOB, {"inputs": (("in-{task}.txt", B), ("b", B))}, "inputs"),
    "inputs in another order": (JOB, {"inputs": HONEST["inputs"][::-1]}, "inputs"),
    "exit code 7": (JOB, {"exit_code": 7}, "exit code 7"),
    "no exit code": (JOB, {"exit_code": None}, "exit code None"),
    "no container, where there must be one": (CONTAINED, {}, "container"),
    "files, where there must be a container": (CONTAINED, {"isolation": "files"}, "container"),
    "a container, unnamed": (CONTAINED, {"isolation": "container"}, "contradict"),
    "an image beside isolation none": (CONTAINED, {"container": USED}, "contradict"),
    "a container that nobody asked for": (JOB, CONTAINER, "the job has none"),
    "another image": (CONTAINED, {**CONTAINER, "container": USED._replace(sha256="2" * 64)}, "another image"),
    "another image's name": (CONTAINED, {**CONTAINER, "container": USED._replace(image="docker://y")}, "another image"),
    "the host's network": (CONTAINED, {**CONTAINER, "container": USED._replace(network="host")}, "network was host"),
    "no network": (
        replace(JOB, container=Container(image="docker://x", sha256=IMAGE, network="host")), CONTAINER, "network was none",
    ),
    "a GPU that nobody asked for": (JOB, {"gpus": (GPU,)}, "GPUs"),
    "more GPUs": (replace(JOB, resources=Resources(gpus=1)), {"gpus": (GPU, GPU._replace(uuid="GPU-2"))}, "GPUs"),
    "one GPU twice": (replace(JOB, resources=Resources(gpus=2)), {"gpus": (GPU, GPU)}, "GPUs"),
    "an output more": (JOB, {"subjects": subjects((-1, Subject(name="evil.txt", sha256=A, size=1)))}, "no output 'evil"),
    "stdout beside outputs": (JOB, {"subjects": subjects((-1, STDOUT[0]))}, "no output 'stdout'"),
    "another task's output": (JOB, {"subjects": subjects((1, {"name": "out/8.txt"}))}, "no output 'out/8"),
    "an output less": (JOB, {"subjects": subjects((1, None))}, "no output for 'out/7.txt'"),
    "no file of a pattern": (JOB, {"subjects": subjects((2, None), (3, None))}, r"no output for '\*.csv'"),
    "a file of a pattern elsewhere": (JOB, {"subjects": subjects((2, {"name": "sub/x.csv"}))}, "no output 'sub/x"),
    "only stdout": (JOB, {"subjects": STDOUT}, "no output 'stdout'"),
    "a manifest of what is listed": (
        replace(JOB, outputs=JOB.outputs[:1]),
        {"manifest": True, "subjects": (Subject(name="manifest", sha256=A, normalized=B, size=9),)}, "one by one",
    ),
    "a normalised digest of exact bytes": (JOB, {"subjects": subjects((1, {"normalized": B}))}, "comparator"),
    "no normalised digest": (JOB, {"subjects": subjects((2, {"normalized": None}))}, "comparator"),
    "no digest, as for allclose": (JOB, {"subjects": subjects((2, {"normalized": NO_DIGEST}))}, "comparator"),
    "a digest of what is compared by value": (JOB, {"subjects": subjects((0, {"normalized": B}))}, "comparator"),
    "a command that normalises what is to be compared": (
        JOB, {"normalizers": (Normalizer("out/{task}.txt", ("cat",), ""),)}, "normalised",
    ),
    "no command where there is one": (NORMALIZING, {"subjects": subjects((1, {"normalized": B}))}, "normalised"),
    "another command": (
        NORMALIZING,
        {"subjects": subjects((1, {"normalized": B})), "normalizers": (Normalizer("out/{task}.txt", ("true",), ""),)},
        "normalised",
    ),
    "a command in an image": (
        NORMALIZING,
        {"subjects": subjects((1, {"normalized": B})), "normalizers": (Normalizer("out/{task}.txt", ("cat",), IMAGE),)},
        "normalised",
    ),
    "no digest of what was printed": (
        NORMALIZING, {"normalizers": (Normalizer("out/{task}.txt", ("cat",), ""),)}, "comparator",
    ),
    "outputs of a failure": (JOB, {"outcome": Outcome.FAILED, "exit_code": 1}, "stdout"),
    "another stdout of a failure": (
        JOB, {"outcome": Outcome.FAILED, "exit_code": 1, "subjects": (STDOUT[0]._replace(sha256=A),)}, "digests of stdout",
    ),
    "another stdout": (replace(JOB, outputs=()), {"subjects": (STDOUT[0]._replace(sha256=A),)}, "digests of stdout"),
    "files of a job without outputs": (replace(JOB, outputs=()), {}, "stdout"),
    "outputs without end": (
        JOB, {"subjects": subjects((1, {"size": 2**20})), "output_bytes": 2**30}, "larger than the job may have",
    ),
    "more outputs than it wrote": (JOB, {"output_bytes": 3}, "larger than all that it wrote"),
    "state of a job that saves none": (JOB, {"outcome": Outcome.PREEMPTED, "subjects": STDOUT, "saved": SAVED}, "saved files"),
    "state of what was not stopped": (SAVING, {"saved": SAVED}, "was not stopped"),
    "another file than the job saves": (SAVING, {"saved": (SAVED[0]._replace(name="b"),)}, "saved files"),
    "more state than it wrote": (SAVING, {"output_bytes": 70, "saved": (SAVED[0]._replace(size=71),)}, "saved files"),
    "going on from what the job does not save": (JOB, {"continues": Continuation(1, (("state", A),))}, "saved files"),
    "finished before it started": (JOB, {"finished_ms": NOW}, "before it started"),
    "started long before": (JOB, {"started_ms": NOW - MAX_SKEW_MS - 1}, "before it was launched"),
    "started in 1970": (JOB, {"started_ms": 0}, "before it was launched"),
    "finished long after": (JOB, {"finished_ms": NOW + MAX_SKEW_MS + 10_001}, "after its report came"),
    "ran for years": (JOB, {"wall_ms": 10**12}, "for longer"),
    "CPU time of no machine": (JOB, {"cpu_ms": 2**52}, "more than any machine"),
    "memory of no machine": (JOB, {"max_rss_kib": 2**52}, "more than any machine"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(LIES))
def test_what_contradicts_the_job_is_named(kind: str) -> None:
    """Each field that the job, the coordinator or the world settles, said otherwise."""
    job, changes, reason = LIES[kind]
    found = sentence(Expected(job).contradiction(statement(**changes), PLACE))
    assert re.search(reason, found), found


#: What only the node knows, or what another check settles: the answer itself, and whose statement it is.
NOT_SETTLED_HERE = {
    "job_uuid", "job_digest", "replica", "nonce", "builder", "native_id", "classes", "detail", "machine",
    "stderr_sha256", "vote", "trail", "possession",
}  # fmt: skip


def test_a_statement_that_names_the_commands_of_its_job_is_a_vote() -> None:
    """Those that normalise outputs, with what they came to."""
    said = statement(
        subjects=subjects((1, {"normalized": B})), normalizers=(Normalizer("out/{task}.txt", ("cat",), ""),)
    )
    assert Expected(NORMALIZING).contradiction(said, PLACE) is None


def test_every_field_is_settled_here_or_known_not_to_be() -> None:
    """A new field of a statement must be thought of: a lie about it is in the table, or it is listed as free."""
    lied_about = {name for _, changes, _ in LIES.values() for name in changes}
    assert set(Statement._fields) - lied_about - NOT_SETTLED_HERE == {"stdout_sha256"}  # compared with the subject's
    assert lied_about.isdisjoint(NOT_SETTLED_HERE)


def test_a_cluster_may_name_its_hosts() -> None:
    """Where the coordinator knows no single host, the node's word stands."""
    assert Expected(JOB).contradiction(statement(host="node17"), replace(PLACE, host=None)) is None


@pytest.mark.parametrize(("isolation", "least", "enough"), [
    ("none", "none", True), ("none", "files", False), ("none", "container", False), ("files", "none", True),
    ("files", "files", True), ("files", "container", False), ("container", "files", True), ("container", "container", True),
])  # fmt: skip
def test_isolation_has_an_order(isolation: Isolation, least: Isolation, enough: bool) -> None:
    """A container is more than files, and files are more than nothing."""
    assert isolation_at_least(isolation, least) is enough


HEAD, CHUNK, NESTED = "run.zarr/zarr.json", "run.zarr/T/c/0/0", "run.zarr/T/zarr.json"


def store(**normalized: str | None) -> tuple[Subject, ...]:
    """Return the files of a store, by default as an honest runner signs them, behind the other outputs."""
    given = {"head": B, "chunk": NO_VOTE, "nested": NO_VOTE, **normalized}
    named = (("chunk", CHUNK), ("nested", NESTED), ("head", HEAD))
    return (*subjects(), *[Subject(name=name, sha256=A, normalized=given[key], size=1) for key, name in named])


UNREAD = unread_digest(A)
STORE_RULES = {
    "significant": CompareRule(comparator=Comparator.SIGNIFICANT, digits=3), "allclose": JOB.outputs[2].rule,
    "exact": CompareRule(), "none": CompareRule(comparator=Comparator.NONE),
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "normalized", "right"),
    [
        ("significant", {}, True),
        ("significant", {"head": UNREAD, "chunk": UNREAD, "nested": UNREAD}, True),
        ("significant", {"head": NO_VOTE}, False),
        ("significant", {"head": None}, False),
        ("significant", {"head": NO_DIGEST}, False),
        ("significant", {"chunk": B}, False),
        ("significant", {"nested": B, "head": NO_VOTE}, False),
        ("significant", {"head": UNREAD}, False),
        ("significant", {"chunk": UNREAD}, False),
        ("significant", {"chunk": None}, False),
        ("allclose", {"head": NO_DIGEST}, True),
        ("allclose", {"head": B}, False),
        ("allclose", {"head": NO_VOTE}, False),
        ("allclose", {"head": NO_DIGEST, "chunk": NO_DIGEST}, False),
        ("exact", {"head": None, "chunk": None, "nested": None}, True),
        ("exact", {"head": None}, False),
        ("none", {"head": NO_VOTE}, True),
    ],
)
def test_one_file_of_a_store_has_its_digest(rule: str, normalized: dict[str, str | None], right: bool) -> None:
    """That which describes the root, as the rule has it; a node that leaves everything without a vote is refused."""
    job = replace(JOB, outputs=(*JOB.outputs, Output(path="run.zarr/**", rule=STORE_RULES[rule])))
    found = Expected(job).contradiction(statement(subjects=store(**normalized)), PLACE)
    assert (found is None) is right, found
