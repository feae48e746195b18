"""A job as it was understood from its descriptor, and its tasks.

Everything is frozen and complete: defaults are filled in, units are settled (MiB, seconds, bytes), local inputs are
pinned by SHA-256. `document.py` turns a Job into the canonical JSON that is digested, and back. The small nouns are
NamedTuples: name every field when making one.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from nexapod_batch.model.publication import Publication

__all__ = [
    "MAX_TASKS", "Agreement", "Array", "Checkpoint", "Comparator", "CompareRule", "Container", "Dependency",
    "Domain", "Elements", "Input", "Isolation", "Job", "NumericClass", "Output", "PolicyName", "Program",
    "QuorumPolicy", "Resources", "Schedule", "TaskInputs", "Tier", "default_max_replicas",
]  # fmt: skip

#: The largest array that a descriptor may ask for.
MAX_TASKS = 10_000_000


class Tier(StrEnum):
    """The kind of machine: `any` only in a request, never on a node."""

    ANY = "any"
    CPU = "cpu"
    CONSUMER_GPU = "consumer-gpu"
    HPC = "hpc"


class Domain(StrEnum):
    """Who could fail or cheat together, from the narrowest to the widest."""

    RUN = "run"
    HOST = "host"
    NODE = "node"
    SITE = "site"
    OWNER = "owner"


class Isolation(StrEnum):
    """What a command could not reach, from the weakest to the strongest."""

    NONE = "none"  # all that the account of its runner can
    FILES = "files"  # what is the account's, but for the work folder
    CONTAINER = "container"  # the machine, but for the work folder and what was bound


class NumericClass(StrEnum):
    """What replicas must share so that their numbers can be compared (homogeneous redundancy)."""

    ANY = "any"
    OS_ARCH = "os-arch"
    CPU_MICROARCH = "cpu-microarch"
    GPU_MODEL = "gpu-model"
    NODE_CLASS = "node-class"


class Agreement(StrEnum):
    """What it takes for two versions of an output to agree."""

    BYTES = "bytes"  # their digests are equal
    NORMAL_FORM = "normal-form"  # the digests of their normal forms are equal, which nodes sign
    TOLERANCE = "tolerance"  # whoever has both compares them: closeness is no equivalence, and no digest tells it
    NOTHING = "nothing"  # they need not: the output has no vote


class Comparator(StrEnum):
    """How two versions of one output are compared: the table of all comparators.

    A line has the name in job files, what agreement means, the parameters of which at least one is needed, and the
    smallest value of `digits`. What a comparator does is in the module of its name in `compare.comparators`.
    """

    agreement: Agreement
    parameters: tuple[str, ...]
    min_digits: int

    def __new__(
        cls, name: str, agreement: Agreement = Agreement.BYTES, parameters: tuple[str, ...] = (), min_digits: int = 0
    ) -> Self:
        """Make a member that is its name, and knows the rest of its line."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.agreement, member.parameters, member.min_digits = agreement, parameters, min_digits
        return member

    EXACT = "exact", Agreement.BYTES
    CONTENT = "content", Agreement.NORMAL_FORM
    ROUND = "round", Agreement.NORMAL_FORM, ("digits",)
    SIGNIFICANT = "significant", Agreement.NORMAL_FORM, ("digits",), 1
    ALLCLOSE = "allclose", Agreement.TOLERANCE, ("rtol", "atol")
    NONE = "none", Agreement.NOTHING


class CompareRule(NamedTuple):
    """A comparator with its parameters; those that it does not use are None."""

    comparator: Comparator = Comparator.EXACT
    digits: int | None = None  # for round and significant
    rtol: float | None = None  # for allclose
    atol: float | None = None
    integers: str = "exact"  # exact | approximate: whether whole numbers are rounded, or may be close, as others are
    ignore: tuple[str, ...] = ()  # what of a file does not count: see `compare.ignoring`
    delimiter: str = ""  # of the cells of CSV; "" for the one that the first line shows
    decimal: str = ""  # "," where numbers in CSV have a decimal comma
    comments: str = ""  # how lines of CSV begin that are no rows
    quoted_numbers: bool = False  # whether what is in quotes, in CSV and JSON, is a number where it looks like one
    normalize: tuple[str, ...] = ()  # command that runs on the node on a copy: what it prints is compared in its place
    unordered: bool = False  # whether the lines of JSON Lines, or the rows of a table, may stand in any order

    @property
    def agreement(self) -> Agreement:
        """What it takes for two versions to agree: bytes of which a part does not count have a normal form."""
        if self.comparator is Comparator.EXACT and (self.ignore or self.normalize):
            return Agreement.NORMAL_FORM
        return self.comparator.agreement


class Resources(Struct, frozen=True, kw_only=True):
    """What one replica of one task asks for; None means "not asked for"."""

    tier: Tier = Tier.ANY
    nodes: int | None = None
    ntasks: int | None = None
    cpus_per_task: int | None = None
    mem_mib: int | None = None  # MiB, for the whole replica
    gpus: int = 0
    gpu_type: str | None = None
    gpu_mem_mib: int | None = None  # MiB that each of its GPUs must have at least
    time_s: int | None = None  # wall-clock seconds
    disk_mib: int = 10_240  # MiB that a replica may write: outputs and logs together

    @property
    def ranks(self) -> int:
        """Processes that one replica starts together: more than one needs a launcher."""
        return max(self.ntasks or 1, self.nodes or 1)

    @property
    def cpus(self) -> int:
        """CPUs that one replica occupies."""
        return (self.ntasks or 1) * (self.cpus_per_task or 1)


class Container(NamedTuple):
    """The container image to run in: what the descriptor names, and the one file that it was resolved to."""

    image: str  # docker:// oras:// library:// https:// or a path to a .sif or sandbox folder; with a digest where known
    sha256: str = ""  # lower-case hex, of the SIF file; never empty once submitted
    network: str = "none"
    isolation: str = "container"  # container | any: whether a node that has no containers may run the command bare
    bind: tuple[str, ...] = ()  # folders of the host, "/data" to read, "/scratch:rw" to write


class Array(Struct, frozen=True, kw_only=True):
    """The tasks of a job: exactly one of `ranges`, `matrix` and `values` is not empty.

    Task indexes are the ids themselves for `ranges` (as in Slurm), else 0, 1, 2, ...
    """

    ranges: tuple[tuple[int, int, int], ...] = ()  # (first, last, step), last included, ascending, disjoint
    matrix: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (name, values); the last name varies fastest
    values: tuple[tuple[tuple[str, str], ...], ...] = ()  # one row of (name, value) for each task
    max_running: int | None = None  # Slurm's %N: replicas out at once

    def __len__(self) -> int:
        """Return the number of tasks."""
        if self.ranges:
            return sum((last - first) // step + 1 for first, last, step in self.ranges)
        if self.matrix:
            return prod(len(values) for _, values in self.matrix)
        return len(self.values)

    def indexes(self) -> Iterator[int]:
        """Yield every task index in ascending order."""
        if self.ranges:
            for first, last, step in self.ranges:
                yield from range(first, last + 1, step)
        else:
            yield from range(len(self))

    def __contains__(self, index: int) -> bool:
        """Say whether there is a task of this index."""
        if self.ranges:
            return any(first <= index <= last and (index - first) % step == 0 for first, last, step in self.ranges)
        return 0 <= index < len(self)

    def parameters(self, index: int) -> dict[str, str]:
        """Return the named values of one task; empty for ids. KeyError for an index that is not there."""
        if index not in self:
            raise KeyError(index)
        if self.values:
            return dict(self.values[index])
        found: dict[str, str] = {}
        for name, values in reversed(self.matrix):
            index, position = divmod(index, len(values))
            found[name] = values[position]
        return found

    def first(self, count: int) -> list[int]:
        """Return the first `count` indexes."""
        return list(islice(self.indexes(), count))


class PolicyName(StrEnum):
    """By what a task is decided: the table of all quorum policies. What each does is in `quorum.policies`."""

    STRICT = "strict"  # what `agree` distinct domains say and nobody can still outvote


def default_max_replicas(agree: int, replicas: int) -> int:
    """Return how many replicas a task may have in all where its job does not say."""
    return max(agree + 4, replicas)


class QuorumPolicy(NamedTuple):
    """When a task is accepted, and how far the coordinator goes to get there."""

    agree: int = 2
    replicas: int = 2
    max_replicas: int = 6  # see default_max_replicas
    max_errors: int = 3
    max_lost: int = 20
    deadline_s: int = 7 * 86_400  # seconds from the launch of a replica
    distinct: tuple[Domain, ...] = (Domain.NODE,)
    numeric_class: NumericClass = NumericClass.ANY
    min_isolation: Isolation = Isolation.NONE  # what ran with less has no vote
    policy: PolicyName = PolicyName.STRICT


class Input(NamedTuple):
    """A file that is staged into the work folder before the command starts."""

    source: str  # absolute path, or `job:41_7/path` for an output of another job
    target: str  # relative to the work folder
    sha256: str  # lower-case hex; pinned at submit for local files; "" until the job is accepted that it comes from
    executable: bool = False  # its owner could run it at submit
    only: int | None = None  # the one task that gets it; None: all do
    verdict: str = ""  # SHA-256, in hex, of the signed verdict that accepted it as an output of another job


class Elements(NamedTuple):
    """Inputs of single tasks that come, one after the other, from the same elements of other jobs.

    The document grows with them: its form of each time is found again by cutting inputs and tasks.
    """

    sources: tuple[Input, ...]  # with placeholders, as they were submitted
    tasks: tuple[int, ...] = ()  # those whose inputs are known, in the order in which they came to be
    forms: tuple[tuple[int, int], ...] = ()  # how many inputs and tasks each form of the document has


class Output(NamedTuple):
    """A file, or several by glob, that the command leaves in the work folder."""

    path: str  # relative to the work folder; may be a glob
    rule: CompareRule = CompareRule()
    optional: bool = False  # whether it may be missing; that it is there has a vote all the same, if it has one


class Dependency(NamedTuple):
    """Another job that must have ended in a state before this one starts."""

    job: int
    when: str = "accepted"  # accepted | ended | failed


class Schedule(NamedTuple):
    """When the job may run."""

    priority: int = 0
    hold: bool = False
    depends_on: tuple[Dependency, ...] = ()
    sites: tuple[str, ...] = ()  # only nodes of these; empty: of any


class Program(NamedTuple):
    """The program that a command starts, and by which PATH it was looked for.

    Made when a job is submitted, and by each node for what it starts: where they differ, results may.
    """

    file: str  # as it was found; relative to the work folder for what lies there; as named where nobody looked
    path: str  # PATH; "" for the one of a container's image
    sha256: str  # of the file's content; "" where it could not be read


class Checkpoint(NamedTuple):
    """How a command that is stopped before it is done goes on later, from the state that it saved."""

    paths: tuple[str, ...]  # of the files that a later attempt gets back, relative to the work folder; may be globs
    signal: str = ""  # that the command gets before its time is over: "USR1"; "" for none
    ahead_s: int = 0  # seconds before that
    exit_code: int = 85  # with which a command says that it saved its state and is not done (HTCondor's default)


class Job(Struct, frozen=True, kw_only=True):
    """One descriptor, parsed, checked and pinned. Exactly one of `command` and `script` is not empty."""

    name: str
    command: tuple[str, ...] = ()  # argv with {placeholders}
    script: str = ""  # text of an executable script; parameters reach it as NEXAPOD_* variables only
    workdir: str = "."  # where in the work folder the command runs
    stdin: str = ""  # target of the input that the command reads as its stdin; "" for nothing to read
    left_over: str = "wait"  # processes that the command leaves behind: wait for their end | kill
    home: str = "work"  # what HOME is: the work folder | account, the home of the account that runs it
    env: tuple[tuple[str, str], ...] = ()  # sorted by name
    labels: tuple[tuple[str, str], ...] = ()  # sorted by name
    resources: Resources = field(default_factory=Resources)
    container: Container | None = None
    array: Array | None = None
    quorum: QuorumPolicy = field(default_factory=QuorumPolicy)
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()  # empty: stdout, compared exactly
    schedule: Schedule = field(default_factory=Schedule)
    sites: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()  # [site.X.resources] as (X, ((key, value), ...))
    path: str = ""  # PATH of who submitted it, absolute folders only; "" where nobody noted it
    program: Program | None = None  # as it was where the job was submitted; None: nobody looked
    publication: Publication | None = None  # what catalogues are told; decides nothing
    elements: Elements | None = None  # inputs that tasks get as soon as those before them are accepted
    results_to: str = ""  # where accepted results are delivered to; "" for nowhere else than here
    checkpoint: Checkpoint | None = None  # None: what was stopped begins anew

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.array) if self.array else 1

    def task_indexes(self) -> Iterator[int]:
        """Yield the task indexes in ascending order; a job without an array has the one task 0."""
        if self.array:
            return self.array.indexes()
        return iter((0,))

    def parameters(self, index: int) -> Mapping[str, str]:
        """Return the named array values of a task."""
        if self.array:
            return self.array.parameters(index)
        return {}

    @property
    def has_open_inputs(self) -> bool:
        """Say whether it waits for outputs of other jobs."""
        waits = self.elements is not None and len(self.elements.tasks) < self.n_tasks
        return waits or any(not job_input.sha256 for job_input in self.inputs)


class TaskInputs:
    """The inputs of a job, by who gets them: first what is there for all tasks, then what is one task's own."""

    def __init__(self, inputs: tuple[Input, ...]) -> None:
        """Sort them once."""
        self._own: dict[int, list[Input]] = {}
        self._shared = inputs
        if any(job_input.only is not None for job_input in inputs):
            self._shared = tuple(job_input for job_input in inputs if job_input.only is None)
            for job_input in inputs:
                if job_input.only is not None:
                    self._own.setdefault(job_input.only, []).append(job_input)

    @property
    def alike(self) -> bool:
        """Say whether all tasks get the same."""
        return not self._own

    def of(self, task: int) -> tuple[Input, ...]:
        """Return the inputs of a task."""
        if not self._own:
            return self._shared
        return (*self._shared, *self._own.get(task, ()))
