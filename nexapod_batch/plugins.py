"""The two doors for plug-ins, Backend and Runtime, and their loading by entry point.

Built-in plug-ins come through the same entry-point groups as a third party's. A duplicate name is an error, an
unknown name lists the known ones, and nothing is imported before it is asked for.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from nexapod_batch.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path, PurePath

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site

__all__ = [
    "Backend",
    "BackendState",
    "Device",
    "Execution",
    "Finding",
    "Launch",
    "LaunchStatus",
    "Mark",
    "NodeContext",
    "Probing",
    "Runtime",
    "RuntimeSettings",
    "Wrapped",
    "load",
    "names",
    "targets",
]

GROUPS = {"backend": "nexapod_batch.backends", "runtime": "nexapod_batch.runtimes"}


class BackendState(StrEnum):
    """PSI/J's six states, and one for a launch that the backend never saw."""

    UNKNOWN = "UNKNOWN"  # not there: launch again
    NEW = "NEW"
    QUEUED = "QUEUED"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"  # the runner ended; what it did not report is lost
    FAILED = "FAILED"  # the runner or its host died
    CANCELED = "CANCELED"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """A node and where its files lie on this side."""

    node: Node
    spool: Path  # inbox/ claims/ cancel/ reports/ refused/ and node.json
    work: Path  # work folders
    state: Path  # what the backend itself keeps, for all nodes of the site
    far_spool: PurePath  # the spool as the node's runners see it; another path when they are on another machine
    far_work: PurePath
    site: Site | None = None  # None: this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch for the backend: a key, the signed bundle, and what it needs."""

    key: str
    envelope: bytes  # DSSE envelope of the bundle
    job: Job
    replicas: int
    host_set: tuple[int, int] | None = None  # (i, n): only on the i-th of n disjoint sets of the node's hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchStatus:
    """What the backend knows of a launch: state, its own word for it, and why."""

    state: BackendState
    native: str = ""
    reason: str = ""
    hosts: tuple[str, ...] | None = None  # where a launch with a host set ran; None: not told yet; (): never told
    own_fault: bool = False  # FAILED: the task's own doing (over its time or memory, refused for good), not the node's


class Mark(StrEnum):
    """What a probe makes of what it found."""

    OK = "ok"
    WARN = "warn"  # works, and will surprise somebody
    FAIL = "fail"
    SKIP = "skip"  # not looked at, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one probe of a site found."""

    mark: Mark
    probe: str
    text: str  # what was found
    hint: str = ""  # what to do
    stops: bool = False  # FAIL: while this is so, no job there can end well
    unreachable: bool = False  # FAIL: the scheduler cannot be reached, so that nothing else can be found out


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How a site is to be probed."""

    sample: Job  # what would be run: its words for the site and its resources count
    jobs: bool  # whether test jobs may be started
    dry_run: bool  # call nothing, say what would be called
    timeout_s: float  # for each test job
    tell: Callable[[str], None]  # hears what is waited for


class Backend(Protocol):
    """Launches runners on a node. Every call may be repeated: a launch key is launched at most once."""

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make the node's folders and write its `node.json`, where they are missing or say something else."""
        ...

    def grain(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return how many of a job's replicas one launch should hold when so many are placed at once."""
        ...

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Put inputs (SHA-256 -> file here) where the node's runners can read them; return SHA-256 -> their path."""
        ...

    def collect(self, context: NodeContext) -> None:
        """Bring new reports into the spool here, where runners cannot write them there themselves."""
        ...

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove report segments that were taken in."""
        ...

    def fetch(self, context: NodeContext, replica: str, *, logs: bool = False) -> None:
        """Bring the files of a reported replica into the work folder here, or the `logs` of any, as far as they go.

        SchedulerError: try again later.
        """
        ...

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove the work folders of replicas, and the logs beside them."""
        ...

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Hand over all launches; return launch key -> native id. SchedulerError when nothing could be handed over."""
        ...

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of every key asked for; restart what must run for reports to come."""
        ...

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Stop replicas by name, by launch key (None: the whole launch). What already ended is left alone."""
        ...

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove what is kept of launches that ended and whose reports were all taken in."""
        ...

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:
        """Return, for people, exactly what a launch would do: script, argv or call.

        With `ask`, and what the scheduler says of it, where it can be asked without launching anything.
        """
        ...

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Yield what is found out about a site, all of whose nodes are given; what a test job leaves is removed."""
        ...

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove everything of ours from a site, all of whose nodes are given and none of which has work."""
        ...

    def discover(self, site: Site) -> str:
        """Return the text of a site file for what a draft reaches; SchedulerError when nothing is reached."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU that a replica may use."""

    uuid: str  # as its driver spells it
    vendor: str  # nvidia | amd


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What a node says of its containers: `container` of its node.json."""

    program: str = ""  # the runtime's program, a name or a path; "" looks for it in PATH
    binds: tuple[str, ...] = ()  # folders that a job may have bound, "/data" read-only, "/scratch:rw" to write


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution, before a runtime wraps it. Paths are the host's."""

    job: Job
    command: Sequence[str]  # argv, placeholders filled in
    root: str  # the replica's work folder
    folder: str  # where the command runs: root, or below it
    env: Mapping[str, str]  # the command's whole environment
    path: str  # PATH in which the runtime looks for its own program
    image: str | None = None  # the container's image file, its digest checked
    script: str | None = None  # the file that `command` runs, where it lies outside the work folder
    devices: tuple[Device, ...] = ()  # GPUs that this replica has to itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What the runner starts."""

    argv: list[str]  # argv[0] is looked up as the command's would be
    env: Mapping[str, str]  # of the process that the runner starts
    isolation: str = "none"  # what holds: none | container


class Runtime(Protocol):
    """Wraps the command of a replica; one for a process, told once what the node says of it."""

    def settle(self, settings: RuntimeSettings) -> None:
        """Hear what the node says. PluginError when the runtime cannot work here at all is said by `wrap`."""
        ...

    def wrap(self, execution: Execution) -> Wrapped:
        """Return what to start so that the command runs; PluginError when this machine cannot."""
        ...


def names(kind: str) -> list[str]:
    """Return the names of all installed plug-ins of a kind (`backend` or `runtime`), sorted."""
    return sorted({point.name for point in _points(kind)})


def targets(kind: str) -> dict[str, str]:
    """Return where each installed plug-in of a kind is defined: name -> `module:attribute`; only unambiguous ones."""
    found: dict[str, set[str]] = {}
    for point in _points(kind):
        found.setdefault(point.name, set()).add(point.value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def load(kind: str, name: str, known: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - the caller names the Protocol
    """Return a new plug-in; PluginError when it is unknown, ambiguous or cannot be imported.

    `known` are `targets` that were looked up before, which saves looking through everything that is installed.
    """
    module, _, attribute = (known or {}).get(name, "").partition(":")
    if attribute:
        with suppress(ImportError, AttributeError):  # another version was installed since
            return getattr(import_module(module), attribute)()
    found = {point.value: point for point in _points(kind) if point.name == name}
    if not found:
        installed = ", ".join(names(kind)) or "none"
        raise PluginError(f"unknown {kind}", got=repr(name), wanted=f"one of: {installed}")
    if len(found) > 1:
        raise PluginError(f"two plug-ins call themselves {kind} {name!r}", got=", ".join(sorted(found)), wanted="one")
    (point,) = found.values()
    try:
        return point.load()()
    except ImportError as error:
        raise PluginError(f"{kind} {name!r} cannot be loaded", got=str(error), hint="install its extra") from error


def _points(kind: str) -> Any:  # noqa: ANN401
    from importlib.metadata import entry_points  # noqa: PLC0415 - 30 ms that most commands do not need

    return entry_points(group=GROUPS[kind])
