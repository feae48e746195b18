"""The port of backends: what they are told, what they answer, and what they can do.

A backend does three things, each a Protocol of its own: it launches runners (`Launching`), it keeps their files
(`Files`), and it answers people who set a site up (`Administration`). `Backend` is all three. Where runners see the
folders of this side, `shared_folders.SharedFolders` is a ready implementation of the last two: such a backend writes
`launch`, `status` and `cancel`.

Every call may be repeated. Each raises SchedulerError, or OSError, for what may go well later; anything else that a
method raises is taken for a fault of the backend. A call has the time that `limits.call_timeout` gives it, one that
moves files (`MOVES_FILES`) that of `limits.transfer_timeout`; then `CallTimeoutError` is raised inside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path, PurePath

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.model.site import Site

__all__ = [
    "HOPELESS",
    "MOVES_FILES",
    "Administration",
    "Backend",
    "BackendState",
    "Ending",
    "Files",
    "Finding",
    "Launch",
    "LaunchStatus",
    "Launching",
    "Mark",
    "NodeContext",
    "Probing",
    "methods",
]


#: What the reason of a launch says that was refused for good: nothing changes by itself.
HOPELESS = "a retry alone would not help"
#: Methods that may take long because they move files, or wait for test jobs.
MOVES_FILES = frozenset({"stage", "collect", "fetch", "probe", "clear"})


class BackendState(StrEnum):
    """PSI/J's six states, and one for a launch that the backend never saw."""

    UNKNOWN = "UNKNOWN"  # not there: launch again
    NEW = "NEW"
    QUEUED = "QUEUED"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"  # the runner ended; what it did not report is lost
    FAILED = "FAILED"  # the runner or its host died
    CANCELED = "CANCELED"


class NodeContext(Struct, frozen=True, kw_only=True):
    """A node and where its files lie on this side."""

    node: Node
    spool: Path  # inbox/ claims/ cancel/ reports/ refused/ and node.json
    work: Path  # work folders
    state: Path  # what the backend itself keeps, for all nodes of the site
    remote_spool: PurePath  # the spool as the node's runners see it; another path when they are on another machine
    remote_work: PurePath
    site: Site | None = None  # None: this machine
    on: Site | None = None  # another site, whose scheduler starts what this one needs

    @property
    def its_site(self) -> Site:
        """Return the site, for a backend whose nodes all come from site files; ConfigError where there is none."""
        if self.site is None:
            hint = f"a node of backend {self.node.backend} comes from a site file"
            raise ConfigError(f"node {self.node.name} has no site", hint=hint)
        return self.site


class Launch(Struct, frozen=True, kw_only=True):
    """One launch for the backend: a key, the signed bundle, and what it needs."""

    key: str
    envelope: bytes  # DSSE envelope of the bundle
    seed: bytes  # of the key of this launch: lies beside the bundle until the runner takes it; b"" when it was taken
    job: Job
    replicas: int
    host_set: tuple[int, int] | None = None  # (i, n): only on the i-th of n disjoint sets of the node's hosts


class LaunchStatus(Struct, frozen=True, kw_only=True):
    """What the backend knows of a launch: state and why, and what the scheduler calls it.

    `reason` is a sentence for people; `code` names it for programs, as in `slurm.waits`: the backend, a dot, a word.
    """

    state: BackendState
    reason: str = ""
    code: str = ""  # "": a reason without a code of its own
    native: str = ""  # the scheduler's id of it
    native_state: str = ""  # the scheduler's word for its state
    native_reason: str = ""  # the scheduler's word for why
    hosts: tuple[str, ...] | None = None  # where a launch with a host set ran; None: not told yet; (): never told
    #: FAILED before anything of it began: why. Where a few in a row say the same, numbers aside, the node gets a rest.
    never_began: str = ""
    task_fault: bool = False  # FAILED: the task's own doing (over its time or memory, refused for good), not the node's
    anew: bool = False  # FAILED: it says nothing of any of its replicas: what did not report is placed anew


class Mark(StrEnum):
    """What a probe makes of what it found."""

    OK = "ok"
    WARN = "warn"  # works, and will surprise somebody
    FAIL = "fail"
    SKIP = "skip"  # not looked at, and why


class Finding(Struct, frozen=True, kw_only=True):
    """What one probe of a site found."""

    mark: Mark
    probe: str
    text: str  # what was found
    hint: str = ""  # what to do
    stops: bool = False  # FAIL: while this is so, no job there can end well
    unreachable: bool = False  # FAIL: the scheduler cannot be reached, so that nothing else can be found out


class Probing(Struct, frozen=True, kw_only=True):
    """How a site is to be probed."""

    sample: Job  # what would be run: its words for the site and its resources count
    jobs: bool  # whether test jobs may be started
    dry_run: bool  # call nothing, say what would be called
    timeout_s: float  # for each test job
    tell: Callable[[str], None]  # hears what is waited for


class Launching(Protocol):
    """Starts runners on a node, and tells what became of them. A launch key is launched at most once."""

    @property
    def signs_native(self) -> bool:
        """Say whether runners sign the very id that `launch` and `status` call native; False where it is not said.

        Then a statement with another one is no vote: its runner was not where it should be.
        """
        ...

    @property
    def starts_ranks(self) -> bool:
        """Say whether runners can start several ranks of one replica; True where it is not said."""
        ...

    def missing(self, site: Site) -> Sequence[str]:
        """Return the Python modules that a site needs here and that are not installed; may be left out.

        A job that needs the site is refused then, with the command that installs them, before anything is stored.
        """
        ...

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return how many of a job's replicas one launch should hold when `replicas` are placed at once; at least 1."""
        ...

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str | LaunchStatus]:
        """Hand over all launches; return launch key -> native id, or its status where it is over at once.

        Raises:
            SchedulerError: nothing could be handed over; it is tried again.

        """
        ...

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of every key asked for; restart what must run for reports to come."""
        ...

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Stop replicas by name, by launch key (None: the whole launch). What already ended is left alone."""
        ...

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove what is kept of launches that ended and whose reports were all taken in.

        But nobody may run them from a copy of their bundles, which hold until they expire.
        """
        ...

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove also what keeps launches from being run again: their bundles have expired."""
        ...


class Ending(Protocol):
    """Tells what its scheduler says of launches that were over for us before it said so. May be left out."""

    @property
    def tells_ends(self) -> bool:
        """Say whether `ends` is to be asked; False where it is not said."""
        ...

    def ends(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return of each launch that is over how its scheduler says that it ended; it is not forgotten before.

        COMPLETED: nothing speaks against its reports. FAILED: what it reported as well does not count, since something
        of it was killed; with `anew` it is not said of which replica. Any other state: not known yet, ask again.
        """
        ...


class Files(Protocol):
    """Keeps the files of a node: those that its runners need, and those that they leave."""

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Make the node's folders and write its `node.json`, where they are missing or say something else."""
        ...

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Put inputs (SHA-256 -> file here) where the node's runners can read them; return SHA-256 -> their path."""
        ...

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Remove what was staged but the `needed` (SHA-256); return how many files. What cannot be reached stays."""
        ...

    def collect(self, context: NodeContext) -> None:
        """Bring new reports into the spool here, where runners cannot write them there themselves."""
        ...

    def change_token(self, context: NodeContext) -> str | None:
        """Look, as cheaply as can be, whether there may be news where files lie elsewhere: then another text.

        None where that cannot be told without `collect`, or where the spool here is the runners' own.
        """
        ...

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove report segments that were taken in."""
        ...

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Bring the files of a reported replica into the work folder here, or the `logs` of any, as far as they go.

        Args:
            context: The node on which it ran.
            replica: Its name, as in `42_7.1`.
            logs: Whether its stdout and stderr are wanted, and nothing else.
            names: The only files of it that matter, where these are known.
            max_bytes: Bound of all files together.

        Raises:
            SchedulerError: Try again later.
            UnsafeOutputError: What is there is not to be brought here.

        """
        ...

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove the work folders of replicas, and the logs beside them."""
        ...


class Administration(Protocol):
    """Answers people who look at a site, set it up, or take it away."""

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
        """Return the text of a site file for what a draft reaches.

        Raises:
            SchedulerError: Nothing is reached, or nothing can be found out.

        """
        ...


class Backend(Launching, Ending, Files, Administration, Protocol):
    """What the entry-point group `nexapod_batch.backends` holds: a class, or function, that makes one of these."""


def methods() -> list[str]:
    """Return the names of all methods that a backend must have, sorted; properties, `missing`, `ends` may be absent."""
    ports = (Launching, Files, Administration)
    found = {name for port in ports for name, value in vars(port).items() if name[0] != "_" and callable(value)}
    return sorted(found - {"missing"})
